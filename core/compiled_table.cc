// A LayoutTable at work: patterns compiled, rows looked up by name, tensors
// grouped.

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <tuple>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "windlass/core/layout_stage.h"
#include "windlass/core/name_pattern.h"
#include "windlass/core/quantised_names.h"
#include "windlass/core/status_macros.h"
#include "windlass/core/tensor_ops.h"

namespace windlass {
namespace {

using Row = LayoutTable::Row;

std::string Quoted(absl::string_view name) {
  return absl::StrCat("tensor \"", name, "\"");
}

bool HasSegment(absl::string_view name, absl::string_view segment) {
  for (size_t at = name.find(segment); at != name.npos;
       at = name.find(segment, at + 1)) {
    const size_t end = at + segment.size();
    if ((at == 0 || name[at - 1] == '.') &&
        (end == name.size() || name[end] == '.')) {
      return true;
    }
  }
  return false;
}

struct CompiledRow {
  Row row;
  NamePattern::Pair names;
  // Operations before and behind the stack, which is in neither. To native,
  // transposes wait until there is one tensor instead of hundreds.
  std::vector<LayoutOp> before;
  std::vector<LayoutOp> behind;
  std::vector<LayoutOp> forward_before;
  std::vector<LayoutOp> forward_behind;
  std::vector<std::vector<LayoutDim>> shapes;
  std::optional<LayoutDim> count;  // of the stack
  int over = -1;                   // its capture
  std::optional<DType> held;
  // One tensor, called alike in both layouts.
  bool keeps_name = false;
  // Of a tensor that is not packed nothing changes.
  bool unpacks = false;
  bool is_expert = false;
  bool is_lora = false;

  // HF tensors that are needed for each element.
  int parts() const { return row.hf.size() - row.companions; }
  // Whether a name ends as that of a companion.
  bool MayBeCompanion(absl::string_view name) const {
    return std::any_of(names.left.end() - row.companions, names.left.end(),
                       [name](const NamePattern& companion) {
                         return absl::EndsWith(name, companion.tail());
                       });
  }
  std::string Said() const {
    return absl::StrCat(" (row ", row.ToString(), ")");
  }
};

// Where a name was found.
struct Found {
  const CompiledRow* row = nullptr;
  int part = 0;
  NameCaptures captures;
};

// The last `count` segments of a name; all of it where it has no more.
absl::string_view LastSegments(absl::string_view name, int count) {
  size_t begin = name.size();
  for (; count > 0; --count) {
    const size_t dot = begin == 0 ? name.npos : name.rfind('.', begin - 1);
    if (dot == name.npos) return name;
    begin = dot;
  }
  return name.substr(begin + 1);
}

// How many segments all matches of a pattern end with alike.
int KnownSegments(const NamePattern& pattern) {
  const absl::string_view tail = pattern.tail();
  return absl::c_count(tail, '.') + (tail == pattern.text() ? 1 : 0);
}

// All patterns of one layout, by the last segments of the names that match.
class Names {
 public:
  void Add(const CompiledRow* row, int part, const NamePattern* pattern) {
    candidates_.push_back({row, part, pattern});
  }

  // After the last Add.
  void Index() {
    for (const Candidate& candidate : candidates_) {
      const absl::string_view tail = candidate.pattern->tail();
      const int known = KnownSegments(*candidate.pattern);
      if (known >= 2) by_two_[LastSegments(tail, 2)];
      if (known >= 1) by_one_[LastSegments(tail, 1)];
    }
    // In each list, in the order of rows, which is that of tiers, whatever may
    // match its names.
    const auto may_match = [this](absl::string_view ending, int segments) {
      std::vector<const Candidate*> list;
      for (const Candidate& candidate : candidates_) {
        const int known = std::min(KnownSegments(*candidate.pattern), segments);
        if (known == 0 || LastSegments(candidate.pattern->tail(), known) ==
                              LastSegments(ending, known)) {
          list.push_back(&candidate);
        }
      }
      return list;
    };
    for (auto& [ending, list] : by_two_) list = may_match(ending, 2);
    for (auto& [ending, list] : by_one_) list = may_match(ending, 1);
    others_ = may_match("", 0);
  }

  // `active`: by row. False where no row has the name.
  bool Find(absl::string_view name, const std::vector<bool>& active,
            const CompiledRow* first, Found* found) const {
    for (const Candidate* candidate : MayMatch(name)) {
      if (!active[candidate->row - first] ||
          !candidate->pattern->Match(name, &found->captures)) {
        continue;
      }
      found->row = candidate->row;
      found->part = candidate->part;
      return true;
    }
    return false;
  }

 private:
  struct Candidate {
    const CompiledRow* row;
    int part;
    const NamePattern* pattern;
  };
  using List = std::vector<const Candidate*>;

  const List& MayMatch(absl::string_view name) const {
    const auto two = by_two_.find(LastSegments(name, 2));
    if (two != by_two_.end()) return two->second;
    const auto one = by_one_.find(LastSegments(name, 1));
    return one != by_one_.end() ? one->second : others_;
  }

  std::vector<Candidate> candidates_;
  absl::flat_hash_map<absl::string_view, List> by_two_;
  absl::flat_hash_map<absl::string_view, List> by_one_;
  List others_;
};

// A tensor that waits for others.
struct Part {
  int64_t number = 0;  // of the stack's capture
  int part = 0;
  Tensor tensor;
  const NamedTensor* origin = nullptr;
};

struct Group {
  const CompiledRow* row = nullptr;
  std::string name;       // of the first part
  NameCaptures captures;  // of that name
  std::vector<Part> parts;
  bool done = false;
  // Where the parts came from, once they are merged; by number, then by part.
  std::vector<const NamedTensor*> merged;
  // Extents by the names of dimensions.
  std::vector<std::pair<absl::string_view, int64_t>> dims;
};

// Whether the captures differ in that of the stack alone.
bool SameGroup(const CompiledRow& row, const NameCaptures& a,
               const NameCaptures& b) {
  const int count = row.names.slots.size();
  for (int slot = 0; slot < count; ++slot) {
    if (slot != row.over && (a.values[slot].text != b.values[slot].text ||
                             a.values[slot].number != b.values[slot].number)) {
      return false;
    }
  }
  return true;
}

absl::Status CheckShape(const std::vector<LayoutDim>& expected,
                        const Tensor& tensor, Group* group) {
  if (tensor.rank() != static_cast<int>(expected.size())) {
    return absl::InvalidArgumentError(
        absl::StrCat("found ", tensor.ToString(), ", expected ",
                     expected.size(), " dimensions"));
  }
  for (int dim = 0; dim < tensor.rank(); ++dim) {
    const LayoutDim& want = expected[dim];
    const int64_t have = tensor.shape()[dim];
    int64_t size = want.size;
    if (size < 0) {
      if (want.name.empty()) continue;
      auto known = absl::c_find_if(
          group->dims, [&](const auto& d) { return d.first == want.name; });
      if (known == group->dims.end()) {
        group->dims.emplace_back(want.name, have);
        continue;
      }
      size = known->second;
    }
    if (have == size) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "found ", tensor.ToString(), ", expected ", size, " in dimension ", dim,
        want.size < 0 ? " as its like" : absl::StrCat(" (", want.origin, ")")));
  }
  return absl::OkStatus();
}

// A message is only made where there is one.
absl::Status Named(absl::Status status, absl::string_view name) {
  return status.ok() ? status : Annotate(status, Quoted(name));
}

absl::Status Apply(const LayoutOp& op, bool forward,
                   const LayoutContext& context, std::vector<Tensor>* tensors);

// What an optimizer keeps of parameters is not cast as they are. An operation
// that computes numbers does so of parameters alone, but may have nothing to
// do.
absl::Status ApplyToState(const LayoutOp& op, bool forward,
                          LayoutContext context, std::vector<Tensor>* tensors) {
  if (op.casts) return absl::OkStatus();
  context.optimizer_state = false;
  if (op.kind == LayoutOp::Kind::kExact) {
    return Apply(op, forward, context, tensors);
  }
  std::vector<Tensor> made = *tensors;
  WINDLASS_RETURN_IF_ERROR(Apply(op, forward, context, &made));
  if (absl::c_equal(made, *tensors, [](const Tensor& a, const Tensor& b) {
        return a.source() == b.source();
      })) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      Quoted(context.names.front()), ": found a parameter that is computed (",
      op.name, "), expected one that an optimizer's state can follow"));
}

// Runs an operation; an error names the tensor of those in `names` that it is
// about, or the first.
absl::Status Apply(const LayoutOp& op, bool forward,
                   const LayoutContext& context, std::vector<Tensor>* tensors) {
  if (context.optimizer_state) {
    return ApplyToState(op, forward, context, tensors);
  }
  const std::vector<absl::string_view>& names = context.names;
  const LayoutOp::Function& function = forward ? op.forward : op.backward;
  if (op.takes != 0 || op.gives != 0) {
    return Named(function(context, tensors), names.front());
  }
  if (tensors->size() == 1) {
    return Named(function(context, tensors), names.front());
  }
  std::vector<Tensor> one(1);
  for (size_t i = 0; i < tensors->size(); ++i) {
    one[0] = std::move((*tensors)[i]);
    const absl::Status status = function(context, &one);
    if (!status.ok()) {
      return Annotate(status, Quoted(names[i < names.size() ? i : 0]));
    }
    (*tensors)[i] = std::move(one[0]);
  }
  return absl::OkStatus();
}

class CompiledTable : public LayoutStage::Impl {
 public:
  explicit CompiledTable(LayoutTable table);

  absl::Status Check(bool first) const override;
  absl::StatusOr<std::unique_ptr<LayoutSink>> Start(
      const LayoutRun& run, std::optional<std::string> prefix,
      LayoutSink* next) const override;
  void TakeName(bool to_hf, LayoutName* name) const override;

  const LayoutTable* table() const override { return &table_; }
  const std::vector<CompiledRow>& rows() const { return rows_; }
  // Which rows make a tensor that files may leave out.
  const std::vector<size_t>& synthesized() const { return synthesized_; }
  const Names& names(bool to_hf) const { return to_hf ? native_ : hf_; }
  // Whether no choice has the rows in unlike forms.
  static bool OfOneForm(const Row& a, const Row& b);
  // Whether one row alone is at the end.
  bool only_at_end(bool in_hf) const {
    return absl::c_count_if(rows_, [in_hf](const CompiledRow& row) {
             return in_hf ? row.row.at_end_in_hf : row.row.at_end;
           }) == 1;
  }
  const NamePattern* router() const {
    return router_.left.empty() ? nullptr : &router_.left[0];
  }

 private:
  absl::Status Compile();
  absl::Status CompileRow(const Row& row, CompiledRow* compiled) const;
  static absl::Status CheckOps(const CompiledRow& row);
  static absl::Status CheckCaptures(const CompiledRow& row);
  absl::Status CheckOverlaps() const;
  bool MayMeet(const Row& a, const Row& b, bool hf) const;

  LayoutTable table_;
  std::vector<CompiledRow> rows_;
  std::vector<bool> always_;  // rows that a name alone can tell to be at work
  std::vector<size_t> synthesized_;
  Names hf_;
  Names native_;
  NamePattern::Pair router_;
  absl::Status status_;
};

CompiledTable::CompiledTable(LayoutTable table) : table_(std::move(table)) {
  status_ = Compile();
}

absl::Status CompiledTable::Compile() {
  rows_.resize(table_.rows().size());
  always_.assign(rows_.size(), true);
  for (size_t i = 0; i < rows_.size(); ++i) {
    WINDLASS_RETURN_IF_ERROR(Annotate(CompileRow(table_.rows()[i], &rows_[i]),
                                      "row ", table_.rows()[i].ToString()));
  }
  // Rows lie where they will stay: the index points to them.
  for (const CompiledRow& row : rows_) {
    // What a form does in one direction says nothing of a name.
    if (!row.row.forms.empty() && !row.row.to_native) {
      always_[&row - rows_.data()] = false;
    }
    if (row.row.kind == Row::Kind::kSynthesize) {
      synthesized_.push_back(&row - rows_.data());
      continue;
    }
    for (size_t i = 0; i < row.names.left.size() && row.row.to_native; ++i) {
      hf_.Add(&row, i, &row.names.left[i]);
    }
    for (size_t i = 0; i < row.names.right.size() && row.row.to_hf; ++i) {
      native_.Add(&row, i, &row.names.right[i]);
    }
  }
  hf_.Index();
  native_.Index();
  if (table_.experts().has_value() && !table_.experts()->router.empty()) {
    WINDLASS_ASSIGN_OR_RETURN(
        router_, NamePattern::Compile({table_.experts()->router}, {}));
  }
  return CheckOverlaps();
}

// Moves a transpose before the stack behind it, where that makes no difference.
void TransposeLate(CompiledRow* row) {
  std::vector<LayoutOp>& ops = row->forward_before;
  const auto turn = std::find_if(
      ops.begin(), ops.end(), [](const LayoutOp& op) { return op.transposes; });
  if (turn == ops.end() ||
      !std::all_of(turn + 1, ops.end(), [](const LayoutOp& op) {
        return op.before_transpose != nullptr;
      })) {
    return;
  }
  for (auto op = turn + 1; op != ops.end(); ++op) {
    *op = LayoutOp(*op->before_transpose);
  }
  row->forward_behind.insert(row->forward_behind.begin(), *turn);
  ops.erase(turn);
}

absl::Status CompiledTable::CompileRow(const Row& row,
                                       CompiledRow* compiled) const {
  compiled->row = row;
  const bool only_native = row.kind == Row::Kind::kDropNative;
  WINDLASS_ASSIGN_OR_RETURN(
      compiled->names,
      NamePattern::Compile(
          only_native ? row.native : row.hf,
          only_native ? std::vector<std::string>() : row.native));
  if (only_native) compiled->names.left.swap(compiled->names.right);
  const auto cast_first = [](std::vector<LayoutOp>* ops) {
    // Each element is then moved once.
    for (size_t i = ops->size(); i-- > 1;) {
      for (size_t j = i; j > 0 && (*ops)[j].kind == LayoutOp::Kind::kLossy &&
                         (*ops)[j - 1].moves && (*ops)[j - 1].shapes.empty();
           --j) {
        std::swap((*ops)[j], (*ops)[j - 1]);
      }
    }
  };
  std::vector<LayoutOp> ops = row.ops;
  cast_first(&ops);
  for (LayoutOp& op : ops) {
    if (op.held.has_value()) compiled->held = op.held;
    if (!op.shapes.empty()) {
      compiled->shapes = op.shapes;
      continue;
    }
    if (!op.over.empty()) {
      const auto slot = absl::c_find(compiled->names.slots, op.over);
      if (compiled->count.has_value()) {
        return absl::InvalidArgumentError("is stacked twice");
      }
      if (slot == compiled->names.slots.end()) {
        return absl::InvalidArgumentError(absl::StrCat(
            "is stacked over \"", op.over, "\", which no name captures"));
      }
      compiled->over = slot - compiled->names.slots.begin();
      compiled->count = op.count;
      continue;
    }
    (compiled->count.has_value() ? compiled->behind : compiled->before)
        .push_back(std::move(op));
  }
  compiled->forward_before = compiled->before;
  compiled->forward_behind = compiled->behind;
  if (compiled->over >= 0) TransposeLate(compiled);
  compiled->keeps_name = !row.hf.empty() && row.native.size() == 1 &&
                         row.native[0] == row.hf[0] && !row.at_end &&
                         !row.at_end_in_hf && row.set < 0;
  compiled->unpacks =
      compiled->keeps_name && row.companions > 0 &&
      absl::c_all_of(row.ops, [](const LayoutOp& op) { return op.unpacks; });
  // Either layout may call them so.
  for (const auto* names : {&row.hf, &row.native}) {
    for (const std::string& name : *names) {
      compiled->is_expert |= HasSegment(name, "experts");
      compiled->is_lora |= absl::StrContains(name, "lora_");
    }
  }
  WINDLASS_RETURN_IF_ERROR(CheckOps(*compiled));
  return CheckCaptures(*compiled);
}

absl::Status CompiledTable::CheckOps(const CompiledRow& row) {
  if (row.row.kind == Row::Kind::kDropHf ||
      row.row.kind == Row::Kind::kDropNative) {
    return absl::OkStatus();
  }
  if (!row.shapes.empty() &&
      row.shapes.size() != static_cast<size_t>(row.parts())) {
    return absl::InvalidArgumentError(absl::StrCat(
        "has ", row.shapes.size(), " shapes for ", row.parts(), " tensors"));
  }
  int tensors = row.parts();
  for (const auto* ops : {&row.before, &row.behind}) {
    for (const LayoutOp& op : *ops) {
      if (op.takes != 0 && op.takes != tensors) {
        return absl::InvalidArgumentError(
            absl::StrCat("gives ", tensors, " tensors to \"", op.name,
                         "\", which takes ", op.takes));
      }
      if (op.gives != 0) tensors = op.gives;
    }
  }
  if (tensors != static_cast<int>(row.names.right.size())) {
    return absl::InvalidArgumentError(
        absl::StrCat("makes ", tensors, " tensors for ", row.names.right.size(),
                     " native names"));
  }
  return absl::OkStatus();
}

absl::Status CompiledTable::CheckCaptures(const CompiledRow& row) {
  // What is made of the first tensor that matches lacks what the others have.
  if (row.names.right.empty() || row.names.left.empty() ||
      row.row.kind == Row::Kind::kSynthesize) {
    return absl::OkStatus();
  }
  for (size_t slot = 0; slot < row.names.slots.size(); ++slot) {
    const bool over = static_cast<int>(slot) == row.over;
    for (const NamePattern& hf : row.names.left) {
      if (hf.Has(slot)) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("\"", hf.text(), "\" lacks the capture \"",
                       row.names.slots[slot], "\""));
    }
    for (const NamePattern& native : row.names.right) {
      if (native.Has(slot) != over) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("\"", native.text(), "\" ",
                       over ? "has the capture that is stacked over, \""
                            : "lacks the capture \"",
                       row.names.slots[slot], "\""));
    }
  }
  return absl::OkStatus();
}

// Whether a choice that matters has the rows in unlike forms.
template <typename Matters>
bool AreUnlike(const Row& a, const Row& b, Matters matters) {
  for (const auto& [choice, form] : a.forms) {
    for (const auto& [other, other_form] : b.forms) {
      if (choice == other && form != other_form && matters(choice)) return true;
    }
  }
  return false;
}

bool CompiledTable::OfOneForm(const Row& a, const Row& b) {
  return !AreUnlike(a, b, [](int) { return true; });
}

// Whether both rows may be at work at once.
bool CompiledTable::MayMeet(const Row& a, const Row& b, bool hf) const {
  return a.tier == b.tier && !AreUnlike(a, b, [&](int choice) {
           return !hf || table_.choices()[choice].detect != nullptr;
         });
}

absl::Status CompiledTable::CheckOverlaps() const {
  struct Name {
    const CompiledRow* row;
    const NamePattern* pattern;
  };
  for (const bool hf : {true, false}) {
    std::vector<Name> names;
    for (const CompiledRow& row : rows_) {
      if (row.row.kind == Row::Kind::kSynthesize ||
          !(hf ? row.row.to_native : row.row.to_hf)) {
        continue;
      }
      for (const NamePattern& pattern : hf ? row.names.left : row.names.right) {
        names.push_back({&row, &pattern});
      }
    }
    for (size_t i = 0; i < names.size(); ++i) {
      for (size_t j = i + 1; j < names.size(); ++j) {
        if (!MayMeet(names[i].row->row, names[j].row->row, hf) ||
            !NamePattern::Overlap(*names[i].pattern, *names[j].pattern)) {
          continue;
        }
        return absl::InvalidArgumentError(absl::StrCat(
            hf ? "HF" : "native", " names match two rows: \"",
            names[i].pattern->text(), "\" and \"", names[j].pattern->text(),
            "\" (rows ", names[i].row->row.ToString(), " and ",
            names[j].row->row.ToString(), ")"));
      }
    }
  }
  return absl::OkStatus();
}

absl::Status CompiledTable::Check(bool first) const {
  WINDLASS_RETURN_IF_ERROR(status_);
  if (first) return absl::OkStatus();
  for (const CompiledRow& row : rows_) {
    if (row.row.companions > 0 || row.row.kind == Row::Kind::kSynthesize) {
      return absl::InvalidArgumentError(absl::StrCat(
          "row ", row.row.ToString(),
          ": looks other tensors up, which only a first stage can"));
    }
  }
  return absl::OkStatus();
}

// Whether the pattern is a capture and nothing else.
bool MatchesAnyName(const NamePattern& pattern) {
  const absl::string_view text = pattern.text();
  return absl::StartsWith(text, "{") && text.find('}') == text.size() - 1;
}

void CompiledTable::TakeName(bool to_hf, LayoutName* name) const {
  Found found;
  if (!names(to_hf).Find(name->name, always_, rows_.data(), &found)) return;
  const CompiledRow& row = *found.row;
  if (row.held.has_value()) name->held = row.held;
  const auto& own = to_hf ? row.names.right : row.names.left;
  const auto& others = to_hf ? row.names.left : row.names.right;
  name->dropped = others.empty();
  std::string other;
  if (!name->dropped) {
    // One of many stands for all of them.
    if (to_hf && row.over >= 0) found.captures.values[row.over] = {"0", 0};
    const bool paired = found.part < static_cast<int>(others.size());
    others[paired ? found.part : 0].AppendName(found.captures, &other);
  }
  name->known =
      name->known || (other != name->name && !MatchesAnyName(own[found.part]));
  if (!name->dropped) name->name = std::move(other);
}

// What is not taken by any row and yet is of an expert, by its name.
absl::string_view DescribeUnknown(absl::string_view name) {
  const absl::string_view quantised = DescribeQuantisedName(name);
  return quantised.empty() ? "a name that no row has" : quantised;
}

// "model.layers.3." of "model.layers.3.mlp.gate.weight"; empty where there is
// none. `number` is 3.
absl::string_view LayerOf(absl::string_view name, int64_t* number) {
  constexpr absl::string_view kLayers = "layers.";
  for (size_t at = name.find(kLayers); at != name.npos;
       at = name.find(kLayers, at + 1)) {
    size_t end = at + kLayers.size();
    *number = 0;
    const size_t digits = end;
    while (end < name.size() && name[end] >= '0' && name[end] <= '9' &&
           end - digits < 9) {
      *number = *number * 10 + (name[end++] - '0');
    }
    if (end > digits && end < name.size() && name[end] == '.') {
      return name.substr(0, end + 1);
    }
  }
  return "";
}

class TableSink : public LayoutSink {
 public:
  TableSink(const CompiledTable& table, const LayoutRun& run,
            std::optional<std::string> prefix, std::vector<bool> active,
            LayoutSink* next)
      : table_(table),
        run_(run),
        prefix_(std::move(prefix)),
        active_(std::move(active)),
        next_(next),
        groups_(table.rows().size()),
        last_(table.rows().size()),
        companions_(table.rows().size()),
        context_{run.mesh, run.optimizer_state, {}} {}

  absl::Status Push(LayoutItem item) override;
  absl::Status Finish() override;

 private:
  // Which experts this run has.
  std::pair<int64_t, int64_t> ShareOf(const CompiledRow& row) const {
    return RankShare(row.count->size, run_.mesh);
  }

  // The captures of `found` point into the item's name.
  absl::Status PushHf(const Found& found, LayoutItem& item);
  absl::Status PushNative(const Found& found, LayoutItem& item);
  absl::Status PushDecoded(const Found& found, LayoutItem& item);
  absl::Status PushPart(const Found& found, LayoutItem& item);
  absl::Status Passes(LayoutItem& item);
  absl::Status Synthesize(const LayoutItem& item);

  std::unique_ptr<Group> NewGroup(const CompiledRow& row,
                                  const NamePattern& pattern,
                                  const std::string& name) {
    auto group = std::make_unique<Group>();
    group->row = &row;
    group->name = name;
    pattern.Match(group->name, &group->captures);
    order_.push_back(group.get());
    return group;
  }
  absl::Status Merge(Group* group);
  void Forget(Group* group);
  absl::Status CheckParts(Group* group);
  // Rows without a stack, of the tensors in tensors_ and the names in context_.
  absl::Status Forward(const CompiledRow& row, const NameCaptures& captures,
                       const NamedTensor* origin);
  // Puts a tensor there.
  void Take(Tensor tensor, const NamedTensor* origin) {
    tensors_.push_back(std::move(tensor));
    context_.names.push_back(origin->name);
  }
  void TakeNone() {
    tensors_.clear();
    context_.names.clear();
  }
  // Forward of one tensor.
  absl::Status ForwardOne(const CompiledRow& row, const NameCaptures& captures,
                          Tensor tensor, const NamedTensor* origin);
  bool HasCompanions(const CompiledRow& row);
  absl::Status EmitNative(const CompiledRow& row, const NameCaptures& captures,
                          const NamedTensor* origin);
  absl::Status Emit(const CompiledRow& row, const NameCaptures& captures,
                    bool at_end, LayoutItem item);
  absl::Status Backward(const CompiledRow& row, NameCaptures captures,
                        const NamedTensor* origin);
  absl::Status EmitHf(const CompiledRow& row, const NameCaptures& captures,
                      std::vector<Tensor> tensors, const NamedTensor* origin,
                      Group* dims);

  int BlockOf(const CompiledRow& row, const NameCaptures& captures);
  absl::Status CheckSets() const;
  absl::Status Twice(const Group& group, const Part& part) const;
  std::string PartName(const Group& group, int64_t number, int part) const;
  int64_t Missing(const Group& group, std::vector<std::string>* names,
                  std::string* beside) const;
  absl::Status Incomplete() const;
  // The layer that the name is of; null where it is of none.
  struct Layer;
  Layer* ObserveLayer(absl::string_view name, bool experts, bool lora);
  absl::Status CheckOneForm(const CompiledRow& row, const NamedTensor& origin,
                            Layer* layer) const;
  bool MayHaveRouter(const std::string& layer) const;
  absl::Status CheckLayers() const;

  const Tensor* FindInput(absl::string_view name) const {
    return prefix_->empty() ? run_.input->Find(name)
                            : run_.input->Find(absl::StrCat(*prefix_, name));
  }

  const CompiledTable& table_;
  const LayoutRun& run_;
  const std::optional<std::string> prefix_;
  const std::vector<bool> active_;
  LayoutSink* const next_;

  std::vector<absl::flat_hash_map<std::string, std::unique_ptr<Group>>> groups_;
  std::vector<Group*> order_;
  // By row, the group of the tensor before: its like come close together.
  std::vector<Group*> last_;
  // Whether the input has names that end as a row's companions do; by row.
  std::vector<std::optional<bool>> companions_;
  // Room that is used again and again.
  std::vector<Tensor> tensors_;
  LayoutContext context_;

  struct Deferred {
    int block;
    int row;
    LayoutItem item;
  };
  std::vector<Deferred> deferred_;
  absl::flat_hash_map<std::string, int> blocks_;
  absl::flat_hash_set<std::string> synthesized_;

  // By set of rows and block, what was made of it.
  struct Made {
    const CompiledRow* row;
    int name;
    std::string native;
  };
  std::map<std::pair<int, int>, std::vector<Made>> sets_;

  struct Layer {
    int64_t number = 0;
    bool router = false;
    bool experts = false;
    bool weights = false;
    std::string example;
    // The first of its experts' tensors, and the first of their LoRA.
    std::array<const CompiledRow*, 2> rows = {};
    std::array<const NamedTensor*, 2> origins = {};
  };
  std::map<std::string, Layer, std::less<>> layers_;
  std::string last_layer_;
  Layer* layer_ = nullptr;
};

// Whether a tensor may be one that the row unpacks, or a companion of it.
bool HasPacked(const StateDict& input, const CompiledRow& row) {
  return absl::c_any_of(input, [&row](const NamedTensor& named) {
    return DTypeBits(named.tensor.dtype()) <= 8 ||
           row.MayBeCompanion(named.name);
  });
}

absl::StatusOr<std::unique_ptr<LayoutSink>> CompiledTable::Start(
    const LayoutRun& run, std::optional<std::string> prefix,
    LayoutSink* next) const {
  // For each choice, the one form that is at work; empty for all of them.
  std::vector<std::string> forms;
  for (const LayoutChoice& choice : table_.choices()) {
    if (run.to_hf && choice.detect_on_export != nullptr && !run.single) {
      forms.push_back(choice.detect_on_export(*run.input));
    } else if (run.to_hf) {
      forms.push_back(run.v4_compatible && !choice.on_v4_export.empty()
                          ? choice.on_v4_export
                          : choice.on_export);
    } else if (choice.detect != nullptr) {
      WINDLASS_ASSIGN_OR_RETURN(std::string form, choice.detect(*run.input));
      forms.push_back(std::move(form));
    } else {
      forms.emplace_back();
    }
  }
  std::vector<bool> active;
  bool idle = !table_.experts().has_value() && !table_.closed();
  for (const CompiledRow& row : rows_) {
    const bool directed = run.to_hf ? row.row.to_hf : row.row.to_native;
    active.push_back(
        directed && absl::c_all_of(row.row.forms, [&](const auto& form) {
          return forms[form.first].empty() || forms[form.first] == form.second;
        }));
    // A row with nothing to do may still be an exception to others.
    idle =
        idle && (!active.back() ||
                 (row.unpacks && (run.to_hf || !HasPacked(*run.input, row))));
  }
  if (idle) return nullptr;
  return std::make_unique<TableSink>(*this, run, std::move(prefix),
                                     std::move(active), next);
}

absl::Status TableSink::Push(LayoutItem item) {
  Found found;
  if (!run_.to_hf) WINDLASS_RETURN_IF_ERROR(Synthesize(item));
  if (!table_.names(run_.to_hf)
           .Find(item.name, active_, table_.rows().data(), &found)) {
    return Passes(item);
  }
  switch (found.row->row.kind) {
    case Row::Kind::kDropHf:
    case Row::Kind::kDropNative:
      return absl::OkStatus();
    case Row::Kind::kSynthesize:
      return Passes(item);
    case Row::Kind::kMap:
      break;
  }
  return run_.to_hf ? PushNative(found, item) : PushHf(found, item);
}

absl::Status TableSink::Passes(LayoutItem& item) {
  if (table_.table()->closed() && !run_.to_hf) {
    return absl::InvalidArgumentError(absl::StrCat(
        Quoted(item.origin->name),
        ": found a name that no row has, expected one that this adapter "
        "knows"));
  }
  if (table_.table()->experts().has_value()) {
    if (HasSegment(item.name, "experts")) {
      std::vector<std::string> known;
      for (const CompiledRow& row : table_.rows()) {
        const auto& names = run_.to_hf ? row.row.native : row.row.hf;
        for (const std::string& name : names) {
          if (HasSegment(name, "experts")) known.push_back(name);
        }
      }
      return absl::InvalidArgumentError(absl::StrCat(
          Quoted(item.origin->name), ": found ", DescribeUnknown(item.name),
          " where experts are expected: ", absl::StrJoin(known, ", ")));
    }
    if (!run_.to_hf) {
      ObserveLayer(item.name, /*experts=*/false,
                   absl::StrContains(item.name, ".lora_"));
    }
  }
  return next_->Push(std::move(item));
}

absl::Status TableSink::Synthesize(const LayoutItem& item) {
  for (const size_t i : table_.synthesized()) {
    const CompiledRow& row = table_.rows()[i];
    if (!active_[i]) continue;
    NameCaptures captures;
    if (!row.names.left[0].Match(item.name, &captures)) continue;
    std::string name;
    row.names.right[0].AppendName(captures, &name);
    if (FindInput(name) != nullptr || !synthesized_.insert(name).second) {
      continue;
    }
    if (run_.optimizer_state) {
      return absl::InvalidArgumentError(absl::StrCat(
          Quoted(name),
          ": found no state, expected one: the parameter is made of \"",
          item.origin->name, "\"", row.Said()));
    }
    WINDLASS_RETURN_IF_ERROR(
        ForwardOne(row, captures, item.tensor, item.origin));
  }
  return absl::OkStatus();
}

absl::Status TableSink::PushHf(const Found& found, LayoutItem& item) {
  const CompiledRow& row = *found.row;
  if (table_.table()->experts().has_value()) {
    Layer* layer = ObserveLayer(item.name, row.is_expert, row.is_lora);
    if (layer != nullptr && row.is_expert) {
      WINDLASS_RETURN_IF_ERROR(CheckOneForm(row, *item.origin, layer));
    }
  }
  if (row.row.companions > 0) return PushDecoded(found, item);
  if (row.parts() > 1 || row.over >= 0) return PushPart(found, item);
  return ForwardOne(row, found.captures, std::move(item.tensor), item.origin);
}

absl::Status TableSink::PushDecoded(const Found& found, LayoutItem& item) {
  const CompiledRow& row = *found.row;
  std::string name;  // of a companion
  if (found.part > 0) {
    row.names.left[0].AppendName(found.captures, &name);
    if (FindInput(name) != nullptr) return absl::OkStatus();
    return Passes(item);
  }
  TakeNone();
  Take(std::move(item.tensor), item.origin);
  for (int i = 1; i <= row.row.companions && HasCompanions(row); ++i) {
    name.clear();
    row.names.left[i].AppendName(found.captures, &name);
    const Tensor* tensor = FindInput(name);
    if (tensor != nullptr) Take(*tensor, item.origin);
  }
  if (!row.keeps_name) return Forward(row, found.captures, item.origin);
  for (const LayoutOp& op : row.forward_before) {
    WINDLASS_RETURN_IF_ERROR(Apply(op, true, context_, &tensors_));
  }
  item.tensor = std::move(tensors_[0]);
  return next_->Push(std::move(item));
}

bool TableSink::HasCompanions(const CompiledRow& row) {
  std::optional<bool>& has = companions_[&row - table_.rows().data()];
  if (!has.has_value()) {
    // One look at all names spares one for each tensor.
    has = absl::c_any_of(*run_.input, [&row](const NamedTensor& named) {
      return row.MayBeCompanion(named.name);
    });
  }
  return *has;
}

absl::Status TableSink::PushPart(const Found& found, LayoutItem& item) {
  const CompiledRow& row = *found.row;
  const int64_t number =
      row.over >= 0 ? found.captures.values[row.over].number : 0;
  if (row.over >= 0) {
    if (number >= row.count->size) {
      return absl::InvalidArgumentError(absl::StrCat(
          Quoted(item.origin->name), ": found expert ", number, ", expected ",
          row.count->size, " experts (", row.count->origin, ")"));
    }
    const auto [begin, end] = ShareOf(row);
    if (number < begin || number >= end) return absl::OkStatus();
  }
  const size_t index = &row - table_.rows().data();
  Group*& group = last_[index];
  if (group == nullptr || !SameGroup(row, group->captures, found.captures)) {
    std::string name;
    row.names.right[0].AppendName(found.captures, &name);
    std::unique_ptr<Group>& known = groups_[index][name];
    if (known == nullptr) {
      known = NewGroup(row, row.names.left[found.part], item.name);
    }
    group = known.get();
  }
  Part part{number, found.part, std::move(item.tensor), item.origin};
  if (group->done) return Twice(*group, part);
  if (!row.shapes.empty()) {
    WINDLASS_RETURN_IF_ERROR(
        Named(CheckShape(row.shapes[found.part], part.tensor, group),
              part.origin->name));
  }
  group->parts.push_back(std::move(part));
  int64_t elements = 1;
  if (row.over >= 0) {
    const auto [begin, end] = ShareOf(row);
    elements = end - begin;
  }
  // No product: a config may say anything.
  if (static_cast<int64_t>(group->parts.size()) / row.parts() < elements) {
    return absl::OkStatus();
  }
  return Merge(group);
}

// The parts are sorted and each there once.
absl::Status TableSink::CheckParts(Group* group) {
  const auto before = [](const Part& a, const Part& b) {
    return std::tie(a.number, a.part) < std::tie(b.number, b.part);
  };
  if (!absl::c_is_sorted(group->parts, before)) {
    absl::c_stable_sort(group->parts, before);
  }
  for (size_t i = 1; i < group->parts.size(); ++i) {
    const Part& a = group->parts[i - 1];
    const Part& b = group->parts[i];
    if (a.number != b.number || a.part != b.part) continue;
    return absl::AlreadyExistsError(
        absl::StrCat("tensors \"", a.origin->name, "\" and \"", b.origin->name,
                     "\" are one and the same", group->row->Said()));
  }
  return absl::OkStatus();
}

absl::Status TableSink::Merge(Group* group) {
  const CompiledRow& row = *group->row;
  const NamedTensor* origin = group->parts.back().origin;
  WINDLASS_RETURN_IF_ERROR(CheckParts(group));
  group->done = true;
  std::vector<Part> parts = std::move(group->parts);
  group->parts = {};
  group->merged.reserve(parts.size());
  for (const Part& part : parts) group->merged.push_back(part.origin);
  if (row.over < 0) {
    TakeNone();
    for (Part& part : parts) Take(std::move(part.tensor), part.origin);
    WINDLASS_RETURN_IF_ERROR(Forward(row, group->captures, origin));
    Forget(group);
    return absl::OkStatus();
  }
  // By native name, its elements.
  std::vector<std::vector<Tensor>> columns;
  const size_t step = row.parts();
  for (size_t i = 0; i < parts.size(); i += step) {
    TakeNone();
    for (size_t k = i; k < i + step; ++k) {
      Take(std::move(parts[k].tensor), parts[k].origin);
    }
    for (const LayoutOp& op : row.forward_before) {
      WINDLASS_RETURN_IF_ERROR(Apply(op, true, context_, &tensors_));
    }
    columns.resize(tensors_.size());
    for (size_t k = 0; k < tensors_.size(); ++k) {
      if (i == 0) columns[k].reserve(parts.size() / step);
      columns[k].push_back(std::move(tensors_[k]));
    }
  }
  TakeNone();
  context_.names = {origin->name};
  for (const std::vector<Tensor>& column : columns) {
    absl::StatusOr<Tensor> stacked = Stack(column);
    if (!stacked.ok()) return Annotate(stacked.status(), Quoted(origin->name));
    tensors_.push_back(*std::move(stacked));
  }
  for (const LayoutOp& op : row.forward_behind) {
    WINDLASS_RETURN_IF_ERROR(Apply(op, true, context_, &tensors_));
  }
  return EmitNative(row, group->captures, origin);
}

absl::Status TableSink::ForwardOne(const CompiledRow& row,
                                   const NameCaptures& captures, Tensor tensor,
                                   const NamedTensor* origin) {
  if (!row.shapes.empty()) {
    Group dims;
    WINDLASS_RETURN_IF_ERROR(
        Named(CheckShape(row.shapes[0], tensor, &dims), origin->name));
  }
  TakeNone();
  Take(std::move(tensor), origin);
  return Forward(row, captures, origin);
}

absl::Status TableSink::Forward(const CompiledRow& row,
                                const NameCaptures& captures,
                                const NamedTensor* origin) {
  for (const LayoutOp& op : row.forward_before) {
    WINDLASS_RETURN_IF_ERROR(Apply(op, true, context_, &tensors_));
  }
  return EmitNative(row, captures, origin);
}

// A model of a hundred thousand packed weights has as many groups of a few
// tensors, one after the other; what repeats one collides with it by name.
void TableSink::Forget(Group* group) {
  if (order_.back() != group) return;
  order_.pop_back();
  const size_t index = group->row - table_.rows().data();
  std::string name;
  group->row->names.right[0].AppendName(group->captures, &name);
  last_[index] = nullptr;
  groups_[index].erase(name);
}

// One number for all that have these captures, but for that of a stack.
int TableSink::BlockOf(const CompiledRow& row, const NameCaptures& captures) {
  std::string block;
  for (size_t slot = 0; slot < row.names.slots.size(); ++slot) {
    if (static_cast<int>(slot) == row.over) continue;
    absl::StrAppend(&block, captures.values[slot].text, "|",
                    captures.values[slot].number, "|");
  }
  return blocks_.try_emplace(std::move(block), blocks_.size()).first->second;
}

absl::Status TableSink::CheckSets() const {
  for (const auto& [key, made] : sets_) {
    const Made& first = made.front();
    for (const CompiledRow& row : table_.rows()) {
      if (row.row.set != key.first || row.row.forms != first.row->row.forms) {
        continue;
      }
      for (size_t i = 0; i < row.row.native.size(); ++i) {
        if (absl::c_any_of(made, [&](const Made& m) {
              return m.row->row.native[m.name] == row.row.native[i];
            })) {
          continue;
        }
        NameCaptures captures;
        first.row->names.right[first.name].Match(first.native, &captures);
        const std::string number =
            row.over < 0 ? "" : absl::StrCat(ShareOf(row).first);
        if (row.over >= 0) captures.values[row.over] = {number, 0};
        std::string missing;
        row.names.left[0].AppendName(captures, &missing);
        return absl::InvalidArgumentError(absl::StrCat(
            "tensors are missing: found no \"", prefix_.value_or(""), missing,
            "\" nor its like, expected them beside what makes \"", first.native,
            "\"", row.Said()));
      }
    }
  }
  return absl::OkStatus();
}

absl::Status TableSink::EmitNative(const CompiledRow& row,
                                   const NameCaptures& captures,
                                   const NamedTensor* origin) {
  for (size_t i = 0; i < tensors_.size(); ++i) {
    LayoutItem item{"", std::move(tensors_[i]), origin};
    row.names.right[i].AppendName(captures, &item.name);
    if (row.row.set >= 0) {
      sets_[{row.row.set, BlockOf(row, captures)}].push_back(
          {&row, static_cast<int>(i), item.name});
    }
    WINDLASS_RETURN_IF_ERROR(
        Emit(row, captures, row.row.at_end, std::move(item)));
  }
  return absl::OkStatus();
}

absl::Status TableSink::Emit(const CompiledRow& row,
                             const NameCaptures& captures, bool at_end,
                             LayoutItem item) {
  if (!at_end) return next_->Push(std::move(item));
  // Of one row, they stand as they come.
  const bool as_they_come = row.row.as_they_come && !run_.to_hf;
  const bool one = as_they_come || table_.only_at_end(run_.to_hf);
  const int index = &row - table_.rows().data();
  deferred_.push_back({one ? 0 : BlockOf(row, captures),
                       as_they_come ? 0 : index, std::move(item)});
  return absl::OkStatus();
}

absl::Status TableSink::PushNative(const Found& found, LayoutItem& item) {
  const CompiledRow& row = *found.row;
  if (row.names.right.size() == 1) {
    TakeNone();
    Take(std::move(item.tensor), item.origin);
    return Backward(row, found.captures, item.origin);
  }
  if (run_.single) return next_->Push(std::move(item));
  std::string name;
  row.names.left[0].AppendName(found.captures, &name);
  auto& group = groups_[&row - table_.rows().data()][name];
  if (group == nullptr) {
    group = NewGroup(row, row.names.right[found.part], item.name);
  }
  Part part{0, found.part, std::move(item.tensor), item.origin};
  if (group->done) return Twice(*group, part);
  group->parts.push_back(std::move(part));
  if (group->parts.size() < row.names.right.size()) return absl::OkStatus();
  WINDLASS_RETURN_IF_ERROR(CheckParts(group.get()));
  group->done = true;
  TakeNone();
  for (Part& part : group->parts) {
    group->merged.push_back(part.origin);
    Take(std::move(part.tensor), part.origin);
  }
  group->parts.clear();
  return Backward(row, group->captures, item.origin);
}

absl::Status TableSink::Backward(const CompiledRow& row, NameCaptures captures,
                                 const NamedTensor* origin) {
  for (auto op = row.behind.rbegin(); op != row.behind.rend(); ++op) {
    WINDLASS_RETURN_IF_ERROR(Apply(*op, false, context_, &tensors_));
  }
  Group dims;
  int64_t begin = 0, end = 1;
  if (row.over >= 0) {
    std::tie(begin, end) = ShareOf(row);
    for (const Tensor& tensor : tensors_) {
      // A count that takes no byte is nobody's proof.
      if (tensor.rank() > 0 && tensor.shape()[0] == end - begin &&
          (tensor.bytes() > 0 || begin == end)) {
        continue;
      }
      return absl::InvalidArgumentError(absl::StrCat(
          Quoted(origin->name), ": found ", tensor.ToString(), ", expected ",
          end - begin, " experts in dimension 0 (", row.count->origin, ")"));
    }
  }
  for (int64_t number = begin; number < end; ++number) {
    std::vector<Tensor> element = tensors_;
    std::string text;
    if (row.over >= 0) {
      text = absl::StrCat(number);
      captures.values[row.over] = {text, number};
      for (Tensor& tensor : element) {
        WINDLASS_ASSIGN_OR_RETURN(tensor, Select(tensor, number - begin));
      }
    }
    for (auto op = row.before.rbegin(); op != row.before.rend(); ++op) {
      WINDLASS_RETURN_IF_ERROR(Apply(*op, false, context_, &element));
    }
    WINDLASS_RETURN_IF_ERROR(
        EmitHf(row, captures, std::move(element), origin, &dims));
  }
  return absl::OkStatus();
}

absl::Status TableSink::EmitHf(const CompiledRow& row,
                               const NameCaptures& captures,
                               std::vector<Tensor> tensors,
                               const NamedTensor* origin, Group* dims) {
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (i < row.shapes.size()) {
      const absl::Status shape = CheckShape(row.shapes[i], tensors[i], dims);
      if (!shape.ok()) {
        return Annotate(shape, Quoted(origin->name), " gives \"",
                        row.names.left[i].text(), "\"");
      }
    }
    LayoutItem item{"", std::move(tensors[i]), origin};
    row.names.left[i].AppendName(captures, &item.name);
    WINDLASS_RETURN_IF_ERROR(
        Emit(row, captures, row.row.at_end_in_hf, std::move(item)));
  }
  return absl::OkStatus();
}

// A part of a group that is done came again.
absl::Status TableSink::Twice(const Group& group, const Part& part) const {
  const CompiledRow& row = *group.row;
  const int64_t begin = row.over >= 0 ? ShareOf(row).first : 0;
  const NamedTensor* first =
      group.merged[(part.number - begin) * row.parts() + part.part];
  return absl::AlreadyExistsError(
      absl::StrCat("tensors \"", first->name, "\" and \"", part.origin->name,
                   "\" are one and the same", row.Said()));
}

// What the part of a group is called here.
std::string TableSink::PartName(const Group& group, int64_t number,
                                int part) const {
  const CompiledRow& row = *group.row;
  NameCaptures captures = group.captures;
  const std::string text = absl::StrCat(number);
  if (row.over >= 0) captures.values[row.over] = {text, number};
  std::string name;
  (run_.to_hf ? row.names.right : row.names.left)[part].AppendName(captures,
                                                                   &name);
  return name;
}

// Up to five names of the group's that are missing, and how many there are.
int64_t TableSink::Missing(const Group& group, std::vector<std::string>* names,
                           std::string* beside) const {
  const CompiledRow& row = *group.row;
  const Part& known = group.parts.front();
  // What stages before this one took off the names.
  absl::string_view lead = known.origin->name;
  if (!absl::ConsumeSuffix(&lead, PartName(group, known.number, known.part))) {
    if (beside->empty()) *beside = absl::StrCat(" beside \"", lead, "\"");
    lead = "";
  }
  absl::flat_hash_set<std::pair<int64_t, int>> there;
  for (const Part& part : group.parts) there.emplace(part.number, part.part);
  const int parts = (run_.to_hf ? row.names.right : row.names.left).size();
  int64_t begin = 0, end = 1;
  if (row.over >= 0) std::tie(begin, end) = ShareOf(row);
  for (int64_t e = begin; e < end && names->size() < 5; ++e) {
    for (int i = 0; i < parts && names->size() < 5; ++i) {
      if (there.contains({e, i})) continue;
      names->push_back(absl::StrCat("\"", lead, PartName(group, e, i), "\""));
    }
  }
  // Enough to say "many", whatever the config says.
  constexpr int64_t kMany = int64_t{1} << 40;
  return std::min(end - begin, kMany) * parts - there.size();
}

absl::Status TableSink::Incomplete() const {
  std::vector<std::string> missing;
  // A tensor that is there, where the names here are not the input's.
  std::string beside;
  int64_t more = 0;
  const CompiledRow* first = nullptr;
  for (const Group* group : order_) {
    if (group->done) continue;
    if (first == nullptr) first = group->row;
    more += Missing(*group, &missing, &beside);
  }
  if (missing.empty()) return absl::OkStatus();
  more -= missing.size();
  return absl::InvalidArgumentError(absl::StrCat(
      "tensors are missing: found no ", absl::StrJoin(missing, ", "),
      more > 0 ? absl::StrCat(" and ", more, " more") : "", beside,
      first->count.has_value()
          ? absl::StrCat(", expected ", first->count->size, " experts (",
                         first->count->origin, ")")
          : "",
      first->Said()));
}

TableSink::Layer* TableSink::ObserveLayer(absl::string_view name, bool experts,
                                          bool lora) {
  if (layer_ == nullptr || !absl::StartsWith(name, last_layer_)) {
    int64_t number = 0;
    const absl::string_view layer = LayerOf(name, &number);
    if (layer.empty()) return nullptr;
    last_layer_ = std::string(layer);
    layer_ = &layers_[last_layer_];
    layer_->number = number;
  }
  if (experts) layer_->experts = true;
  if (!lora) layer_->weights = true;
  NameCaptures captures;
  if (!layer_->router && table_.router() != nullptr &&
      table_.router()->Match(name, &captures)) {
    layer_->router = true;
    layer_->example = std::string(name);
  }
  return layer_;
}

// A layer's experts lie there in one form, or it is half of two models.
absl::Status TableSink::CheckOneForm(const CompiledRow& row,
                                     const NamedTensor& origin,
                                     Layer* layer) const {
  const CompiledRow*& first = layer->rows[row.is_lora];
  if (first == nullptr) {
    first = &row;
    layer->origins[row.is_lora] = &origin;
  }
  if (!CompiledTable::OfOneForm(first->row, row.row)) {
    return absl::AlreadyExistsError(absl::StrCat(
        "tensors \"", layer->origins[row.is_lora]->name, "\" and \"",
        origin.name, "\": found two forms of experts in one layer, expected ",
        "one (rows ", first->row.ToString(), " and ", row.row.ToString(), ")"));
  }
  return absl::OkStatus();
}

// Whether the layer is of those that mixtures are among: an encoder's layers
// have numbers, too.
bool TableSink::MayHaveRouter(const std::string& layer) const {
  if (table_.router() == nullptr) return true;
  NameCaptures captures;
  return table_.router()->Match(
      absl::StrCat(layer.substr(0, layer.size() - 1), table_.router()->tail()),
      &captures);
}

absl::Status TableSink::CheckLayers() const {
  const auto& experts = table_.table()->experts();
  if (!experts.has_value() || run_.to_hf) return absl::OkStatus();
  for (const auto& [name, layer] : layers_) {
    if (layer.experts || !layer.weights) continue;
    const bool sparse = experts->sparse != nullptr &&
                        experts->sparse(name, layer.number) &&
                        MayHaveRouter(name);
    if (!layer.router && !sparse) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "layer \"", prefix_.value_or(""), name, "\": found ",
        layer.router ? absl::StrCat("the router \"", layer.example, "\"")
                     : "a layer that the config says to be a mixture",
        " and no experts that this adapter knows"));
  }
  return absl::OkStatus();
}

absl::Status TableSink::Finish() {
  for (Group* group : order_) {
    if (!group->done) WINDLASS_RETURN_IF_ERROR(CheckParts(group));
  }
  WINDLASS_RETURN_IF_ERROR(Incomplete());
  if (!run_.optimizer_state) {
    WINDLASS_RETURN_IF_ERROR(CheckSets());
    WINDLASS_RETURN_IF_ERROR(CheckLayers());
  }
  absl::c_stable_sort(deferred_, [](const Deferred& a, const Deferred& b) {
    return std::tie(a.block, a.row) < std::tie(b.block, b.row);
  });
  for (Deferred& deferred : deferred_) {
    WINDLASS_RETURN_IF_ERROR(next_->Push(std::move(deferred.item)));
  }
  return absl::OkStatus();
}

}  // namespace

std::shared_ptr<const LayoutStage::Impl> CompileTable(LayoutTable table) {
  return std::make_shared<CompiledTable>(std::move(table));
}

}  // namespace windlass
