#include "windlass/core/layout_table.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "windlass/core/layout_stage.h"
#include "windlass/core/status_macros.h"
#include "windlass/core/tensor_ops.h"

namespace windlass {

LayoutTable& LayoutTable::Add(Row row) {
  row.tier = tier_;
  rows_.push_back(std::move(row));
  return *this;
}

LayoutTable& LayoutTable::Rename(std::string hf, std::string native) {
  return Map({std::move(hf)}, {std::move(native)}, {});
}

LayoutTable& LayoutTable::Map(std::vector<std::string> hf,
                              std::vector<std::string> native,
                              std::vector<LayoutOp> ops) {
  Row row;
  row.hf = std::move(hf);
  row.native = std::move(native);
  row.ops = std::move(ops);
  return Add(std::move(row));
}

LayoutTable& LayoutTable::Decode(std::string hf,
                                 std::vector<std::string> companions,
                                 std::string native,
                                 std::vector<LayoutOp> ops) {
  Row row;
  row.companions = companions.size();
  row.hf = std::move(companions);
  row.hf.insert(row.hf.begin(), std::move(hf));
  row.native = {std::move(native)};
  row.ops = std::move(ops);
  return Add(std::move(row));
}

LayoutTable& LayoutTable::DropHf(std::string hf) {
  Row row;
  row.kind = Row::Kind::kDropHf;
  row.hf = {std::move(hf)};
  return Add(std::move(row));
}

LayoutTable& LayoutTable::DropNative(std::string native) {
  Row row;
  row.kind = Row::Kind::kDropNative;
  row.native = {std::move(native)};
  return Add(std::move(row));
}

LayoutTable& LayoutTable::Synthesize(std::string native, std::string from,
                                     std::vector<LayoutOp> ops) {
  Row row;
  row.kind = Row::Kind::kSynthesize;
  row.hf = {std::move(from)};
  row.native = {std::move(native)};
  row.ops = std::move(ops);
  row.at_end = true;
  return Add(std::move(row));
}

LayoutTable& LayoutTable::AtEnd() {
  if (!rows_.empty()) rows_.back().at_end = true;
  return *this;
}

LayoutTable& LayoutTable::AtEndInHf() {
  if (!rows_.empty()) rows_.back().at_end_in_hf = true;
  return *this;
}

LayoutTable& LayoutTable::AtEndAsTheyCome() {
  if (!rows_.empty()) rows_.back().as_they_come = true;
  return AtEnd();
}

LayoutTable& LayoutTable::OnlyToNative() {
  if (!rows_.empty()) rows_.back().to_hf = false;
  return *this;
}

LayoutTable& LayoutTable::OnlyToHf() {
  if (!rows_.empty()) rows_.back().to_native = false;
  return *this;
}

LayoutTable& LayoutTable::Together() {
  for (Row& row : rows_) row.set = sets_;
  ++sets_;
  return *this;
}

LayoutTable& LayoutTable::Else() {
  ++tier_;
  return *this;
}

LayoutTable& LayoutTable::OneOf(
    LayoutChoice choice,
    std::vector<std::pair<std::string, LayoutTable>> forms) {
  const int index = choices_.size();
  choices_.push_back(std::move(choice));
  for (const auto& [form, table] : forms) {
    const size_t first = rows_.size();
    Append(table);
    for (size_t i = first; i < rows_.size(); ++i) {
      rows_[i].forms.emplace_back(index, form);
    }
  }
  return *this;
}

LayoutTable& LayoutTable::Append(const LayoutTable& other) {
  const int choices = choices_.size();
  choices_.insert(choices_.end(), other.choices_.begin(), other.choices_.end());
  for (Row row : other.rows_) {
    row.tier += tier_;
    if (row.set >= 0) row.set += sets_;
    for (auto& [choice, form] : row.forms) choice += choices;
    rows_.push_back(std::move(row));
  }
  sets_ += other.sets_;
  if (other.experts_.has_value()) experts_ = other.experts_;
  closed_ = closed_ || other.closed_;
  return *this;
}

LayoutTable& LayoutTable::ClosedExperts(Experts experts) {
  experts_ = std::move(experts);
  return *this;
}

LayoutTable& LayoutTable::Closed() {
  closed_ = true;
  return *this;
}

std::string LayoutTable::Row::ToString() const {
  return absl::StrCat(hf.empty() ? "nothing" : absl::StrJoin(hf, ", "),
                      kind == Kind::kSynthesize ? " also -> " : " -> ",
                      native.empty() ? "nothing" : absl::StrJoin(native, ", "));
}

namespace {

class NameRulesStage : public LayoutStage::Impl {
 public:
  explicit NameRulesStage(const NameRules& rules) : rules_(rules) {}

  absl::Status Check(bool) const override { return absl::OkStatus(); }

  absl::StatusOr<std::unique_ptr<LayoutSink>> Start(
      const LayoutRun& run, std::optional<std::string>,
      LayoutSink* next) const override {
    return std::make_unique<Sink>(rules_, run, next);
  }

  void TakeName(bool to_hf, LayoutName* name) const override {
    if ((rules_.held_in_hf || to_hf) && rules_.held_names.Matches(name->name)) {
      name->held = rules_.held;
    }
    const KeyRewriter& rewriter = to_hf ? rules_.to_hf : rules_.to_native;
    std::string other = rewriter.Rewrite(name->name);
    name->known = name->known || other != name->name;
    name->name = std::move(other);
  }

  const NameRules* rules() const override { return &rules_; }

 private:
  class Sink : public LayoutSink {
   public:
    Sink(const NameRules& rules, const LayoutRun& run, LayoutSink* next)
        : rules_(rules),
          to_hf_(run.to_hf),
          holds_(!run.optimizer_state && (rules.held_in_hf || !run.to_hf)),
          next_(next) {}

    absl::Status Push(LayoutItem item) override {
      item.name = (to_hf_ ? rules_.to_hf : rules_.to_native).Rewrite(item.name);
      if (holds_ && IsFloat(item.tensor.dtype()) &&
          rules_.held_names.Matches(item.name)) {
        absl::StatusOr<Tensor> cast = Cast(item.tensor, rules_.held);
        if (!cast.ok()) {
          return Annotate(cast.status(), "tensor \"", item.origin->name, "\"");
        }
        item.tensor = *std::move(cast);
      }
      return next_->Push(std::move(item));
    }

   private:
    const NameRules& rules_;
    const bool to_hf_;
    const bool holds_;
    LayoutSink* const next_;
  };

  const NameRules rules_;
};

// Stages one behind the other; the sink of the first, which finishes all.
class Chain : public LayoutSink {
 public:
  static absl::StatusOr<std::unique_ptr<LayoutSink>> Start(
      const std::vector<LayoutStage>& stages, const LayoutRun& run,
      std::optional<std::string> prefix, LayoutSink* last) {
    auto chain = std::make_unique<Chain>();
    const size_t count = stages.size();
    chain->sinks_.resize(count);
    chain->first_ = last;
    // Backwards: each sink needs the one behind it.
    for (size_t i = count; i-- > 0;) {
      const LayoutStage& stage = stages[run.to_hf ? count - 1 - i : i];
      WINDLASS_ASSIGN_OR_RETURN(
          chain->sinks_[i],
          stage.impl()->Start(run, i == 0 ? prefix : std::nullopt,
                              chain->first_));
      if (chain->sinks_[i] != nullptr) chain->first_ = chain->sinks_[i].get();
    }
    return chain;
  }

  absl::Status Push(LayoutItem item) override {
    return first_->Push(std::move(item));
  }
  absl::Status Finish() override {
    for (const auto& sink : sinks_) {
      if (sink != nullptr) WINDLASS_RETURN_IF_ERROR(sink->Finish());
    }
    return absl::OkStatus();
  }

 private:
  std::vector<std::unique_ptr<LayoutSink>> sinks_;
  LayoutSink* first_ = nullptr;
};

absl::Status CheckStages(const std::vector<LayoutStage>& stages, bool first) {
  for (const LayoutStage& stage : stages) {
    WINDLASS_RETURN_IF_ERROR(stage.impl()->Check(first));
    first = false;
  }
  return absl::OkStatus();
}

class UnderStage : public LayoutStage::Impl {
 public:
  explicit UnderStage(Under under) : under_(std::move(under)) {}

  absl::Status Check(bool first) const override {
    return CheckStages(under_.stages, first);
  }

  absl::StatusOr<std::unique_ptr<LayoutSink>> Start(
      const LayoutRun& run, std::optional<std::string> prefix,
      LayoutSink* next) const override {
    auto sink = std::make_unique<Sink>(under_, run.to_hf, next);
    if (prefix.has_value() && !run.to_hf) absl::StrAppend(&*prefix, under_.hf);
    WINDLASS_ASSIGN_OR_RETURN(
        sink->inner,
        Chain::Start(under_.stages, run, std::move(prefix), &sink->outer));
    return sink;
  }

  void TakeName(bool to_hf, LayoutName* name) const override {
    const std::string& before = to_hf ? under_.native : under_.hf;
    if (!absl::StartsWith(name->name, before)) return;
    name->name.erase(0, before.size());
    windlass::TakeName(under_.stages, to_hf, name);
    name->name.insert(0, to_hf ? under_.hf : under_.native);
  }

  const Under* under() const override { return &under_; }

 private:
  // Puts the prefix before what the stages gave.
  struct Outer : LayoutSink {
    absl::Status Push(LayoutItem item) override {
      item.name.insert(0, prefix);
      return next->Push(std::move(item));
    }
    std::string prefix;
    LayoutSink* next = nullptr;
  };

  struct Sink : LayoutSink {
    Sink(const Under& under, bool to_hf, LayoutSink* next)
        : prefix(to_hf ? under.native : under.hf) {
      outer.prefix = to_hf ? under.hf : under.native;
      outer.next = next;
    }
    absl::Status Push(LayoutItem item) override {
      if (!absl::StartsWith(item.name, prefix)) {
        return outer.next->Push(std::move(item));
      }
      item.name.erase(0, prefix.size());
      return inner->Push(std::move(item));
    }
    absl::Status Finish() override { return inner->Finish(); }

    const std::string prefix;
    Outer outer;
    std::unique_ptr<LayoutSink> inner;
  };

  const Under under_;
};

class LayoutAdapter : public StateDictAdapter {
 public:
  LayoutAdapter(std::vector<LayoutStage> stages, LayoutTraits traits)
      : stages_(std::move(stages)), traits_(traits) {}

  absl::StatusOr<StateDict> ToHf(const StateDict& state_dict,
                                 const ToHfOptions& options) const override {
    return Convert(state_dict, options, /*single=*/false);
  }

  absl::StatusOr<StateDict> FromHf(
      const StateDict& hf, const FromHfOptions& options) const override {
    LayoutRun run;
    run.mesh = options.device_mesh;
    run.optimizer_state = options.optimizer_state;
    run.input = &hf;
    Collector collector;
    return Run(run, &collector);
  }

  absl::StatusOr<std::vector<NamedTensor>> ConvertSingleTensorToHf(
      absl::string_view fqn, const Tensor& tensor,
      const ToHfOptions& options) const override {
    StateDict one;
    WINDLASS_RETURN_IF_ERROR(one.Insert(std::string(fqn), tensor));
    WINDLASS_ASSIGN_OR_RETURN(const StateDict hf,
                              Convert(one, options, /*single=*/true));
    return std::vector<NamedTensor>(hf.begin(), hf.end());
  }

  std::vector<std::pair<std::string, DType>> ForcedHfDtypeMapping(
      const StateDict& hf_state_dict) const override {
    return Forced(hf_state_dict, /*to_hf=*/false);
  }

  std::vector<std::pair<std::string, DType>> ForcedNativeDtypeMapping(
      const StateDict& state_dict) const override {
    return Forced(state_dict, /*to_hf=*/true);
  }

  bool SupportsWriteThroughCheckpointLoad() const override {
    return traits_.write_through;
  }

  const std::vector<LayoutStage>* stages() const override { return &stages_; }

 private:
  struct Collector : LayoutSink {
    absl::Status Push(LayoutItem item) override {
      if (excluded.Matches(item.name)) return absl::OkStatus();
      return builder.Add(std::move(item.name), std::move(item.tensor),
                         item.origin->name);
    }
    StateDictBuilder builder;
    NameFilter excluded;
  };

  // By what becomes of the names on the way that starts with them.
  std::vector<std::pair<std::string, DType>> Forced(const StateDict& tensors,
                                                    bool to_hf) const {
    std::vector<std::pair<std::string, DType>> forced;
    for (const auto& [name, tensor] : tensors) {
      if (!IsFloat(tensor.dtype())) continue;
      LayoutName taken{name};
      TakeName(stages_, to_hf, &taken);
      if (taken.held.has_value()) forced.emplace_back(name, *taken.held);
    }
    return forced;
  }

  absl::StatusOr<StateDict> Convert(const StateDict& native,
                                    const ToHfOptions& options,
                                    bool single) const {
    LayoutRun run;
    run.to_hf = true;
    run.single = single;
    run.v4_compatible = options.v4_compatible;
    run.mesh = options.device_mesh;
    run.optimizer_state = options.optimizer_state;
    run.input = &native;
    Collector collector;
    const NameFilter excluded =
        options.exclude_key_regex.With(traits_.exclude_anchor);
    if (!traits_.exclude_native) {
      collector.excluded = excluded;
      return Run(run, &collector);
    }
    return Run(run, &collector, excluded);
  }

  absl::StatusOr<StateDict> Run(const LayoutRun& run, Collector* collector,
                                const NameFilter& excluded = {}) const {
    WINDLASS_RETURN_IF_ERROR(CheckMesh(run.mesh));
    WINDLASS_ASSIGN_OR_RETURN(
        const std::unique_ptr<LayoutSink> chain,
        Chain::Start(stages_, run, std::string(), collector));
    for (const NamedTensor& named : *run.input) {
      if (excluded.Matches(named.name)) continue;
      WINDLASS_RETURN_IF_ERROR(chain->Push({named.name, named.tensor, &named}));
    }
    WINDLASS_RETURN_IF_ERROR(chain->Finish());
    return std::move(collector->builder).Build();
  }

  const std::vector<LayoutStage> stages_;
  const LayoutTraits traits_;
};

}  // namespace

void TakeName(const std::vector<LayoutStage>& stages, bool to_hf,
              LayoutName* name) {
  const size_t count = stages.size();
  for (size_t i = 0; i < count && !name->dropped; ++i) {
    stages[to_hf ? count - 1 - i : i].impl()->TakeName(to_hf, name);
  }
}

LayoutStage::LayoutStage(const LayoutTable& table)
    : impl_(CompileTable(table)) {}
LayoutStage::LayoutStage(const NameRules& rules)
    : impl_(std::make_shared<NameRulesStage>(rules)) {}
LayoutStage::LayoutStage(const Under& under)
    : impl_(std::make_shared<UnderStage>(under)) {}

bool KnowExperts(const std::vector<LayoutStage>& stages) {
  for (const LayoutStage& stage : stages) {
    const LayoutStage::Impl& impl = *stage.impl();
    if ((impl.table() != nullptr && impl.table()->experts().has_value()) ||
        (impl.under() != nullptr && KnowExperts(impl.under()->stages))) {
      return true;
    }
  }
  return false;
}

absl::StatusOr<std::unique_ptr<StateDictAdapter>> MakeLayoutAdapter(
    std::vector<LayoutStage> stages, LayoutTraits traits) {
  WINDLASS_RETURN_IF_ERROR(CheckStages(stages, /*first=*/true));
  return std::make_unique<LayoutAdapter>(std::move(stages), traits);
}

}  // namespace windlass
