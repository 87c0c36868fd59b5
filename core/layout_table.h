// LayoutTable: one declaration of how a model family's tensors are called and
// laid out in Hugging Face's checkpoints and in the native model. Both
// directions follow from it, and it is checked when it is built.
//
//   const LayoutDim E = {"E", experts, "config.json: field \"num_experts\""};
//   const LayoutDim I = {"I", intermediate, "config.json: field \"...\""};
//   const LayoutDim H = {"H", -1, ""};
//   LayoutTable table;
//   table
//       .Map({"{p*}layers.{l}.mlp.experts.{e}.gate_proj.weight",
//             "{p*}layers.{l}.mlp.experts.{e}.up_proj.weight"},
//            {"{p*}layers.{l}.mlp.experts.gate_and_up_projs"},
//            {layout::Shapes({{I, H}, {I, H}}), layout::Transpose(),
//             layout::Concat(-1, {I.size, I.size}), layout::Stack("e", E),
//             layout::Cast(dtype)})
//       .Map({"{p*}layers.{l}.mlp.experts.{e}.down_proj.weight"},
//            {"{p*}layers.{l}.mlp.experts.down_projs"},
//            {layout::Shapes({{H, I}}), layout::Transpose(),
//             layout::Stack("e", E), layout::Cast(dtype)})
//       .Rename("{p*}mlp.shared_expert.{r*}", "{p*}mlp.shared_experts.{r*}");
//   absl::StatusOr<std::unique_ptr<StateDictAdapter>> adapter =
//       MakeLayoutAdapter({table});
//
// name_pattern.h says what a pattern is, layout_op.h what operations there are.
// What no row matches passes under its own name.
//
// An adapter is a list of stages in the order from HF to native: tables, rules
// for names that are no segments (NameRules), and stages below a prefix
// (Under). Each tensor goes through them one by one; what is grouped stands, in
// the output, where the last of its parts stood.

#ifndef WINDLASS_CORE_LAYOUT_TABLE_H_
#define WINDLASS_CORE_LAYOUT_TABLE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "windlass/core/dtype.h"
#include "windlass/core/key_rewriter.h"
#include "windlass/core/layout_op.h"
#include "windlass/core/regex.h"
#include "windlass/core/state_dict.h"
#include "windlass/core/state_dict_adapter.h"

namespace windlass {

// Several HF forms of what is one thing in the native layout.
struct LayoutChoice {
  // The option's name, for messages: "expert_layout".
  std::string name;
  // The form that is written.
  std::string on_export;
  // The form that is written with ToHfOptions::v4_compatible; empty where that
  // does not matter.
  std::string on_v4_export;
  // Which form an input has, where the names alone do not say it (rows of
  // different forms may share HF names then). Null: all forms are read, side by
  // side.
  std::function<absl::StatusOr<std::string>(const StateDict& hf)> detect;
  // Which form a whole native model is written in, where that can be seen of
  // it. Null: on_export.
  std::function<std::string(const StateDict& native)> detect_on_export = {};
};

// A declaration; a value. The functions return the table itself.
class LayoutTable {
 public:
  // One tensor, bytes untouched.
  LayoutTable& Rename(std::string hf, std::string native);

  // HF tensors to native ones by `ops`, and back. All names have the same
  // captures, but for the one that a Stack is over.
  LayoutTable& Map(std::vector<std::string> hf, std::vector<std::string> native,
                   std::vector<LayoutOp> ops);

  // As Map, of one HF tensor and others that may lie beside it: a scale for
  // instance. The operations are given those that the file has. A companion
  // whose tensor is missing goes on under its own name. In a first stage only.
  // To HF the tensor alone is written, or as many companions as operations give
  // beside it.
  LayoutTable& Decode(std::string hf, std::vector<std::string> companions,
                      std::string native, std::vector<LayoutOp> ops);

  // Tensors that the other layout does not have.
  LayoutTable& DropHf(std::string hf);
  LayoutTable& DropNative(std::string native);

  // A native tensor that HF may leave out: where no input has the name, it is
  // made of the first HF tensor that matches `from`, and stands at the end. In
  // a first stage only. To HF it is a tensor like all others.
  LayoutTable& Synthesize(std::string native, std::string from,
                          std::vector<LayoutOp> ops);

  // The row before: its native tensors stand at the end, ordered by captures
  // as they first came, then by row.
  LayoutTable& AtEnd();
  // The same, in the order in which they came; all such rows of a table alike.
  LayoutTable& AtEndAsTheyCome();

  // The same of its HF tensors, on the way to HF.
  LayoutTable& AtEndInHf();

  // The row before is for one direction; the other has what it says elsewhere,
  // or passes the name.
  LayoutTable& OnlyToNative();
  LayoutTable& OnlyToHf();

  // The rows so far belong together: where one of their native tensors is made
  // for some captures, all of them have to be.
  LayoutTable& Together();

  // Rows from here on take only what none before takes: a rule and, before it,
  // its exceptions.
  LayoutTable& Else();

  // Rows of which `choice` has one set at a time.
  LayoutTable& OneOf(LayoutChoice choice,
                     std::vector<std::pair<std::string, LayoutTable>> forms);

  // The rows of another table, after those of this one.
  LayoutTable& Append(const LayoutTable& other);

  // Nothing with a segment "experts" in its name may pass unmatched, and a
  // layer that has `router` (a pattern with {l}), or whose router would be
  // called so and that `sparse` says to be a mixture, has experts.
  struct Experts {
    std::string router;
    // `layer` is what its names start with, "model.layers.3.".
    std::function<bool(absl::string_view layer, int64_t number)> sparse;
  };
  LayoutTable& ClosedExperts(Experts experts);

  // No HF name may pass unmatched.
  LayoutTable& Closed();

  // What the rows are; for layout_table.cc and for documentation.
  struct Row {
    enum class Kind { kMap, kDropHf, kDropNative, kSynthesize };
    Kind kind = Kind::kMap;
    std::vector<std::string> hf;
    std::vector<std::string> native;
    std::vector<LayoutOp> ops;
    int companions = 0;  // the last names of `hf`
    bool at_end = false;
    bool at_end_in_hf = false;
    bool as_they_come = false;  // at the end
    bool to_native = true;      // the directions that it is for
    bool to_hf = true;
    int tier = 0;
    int set = -1;  // of rows that belong together
    // Forms that the row belongs to: index of a choice, name of the form.
    std::vector<std::pair<int, std::string>> forms;

    // "a, b -> c"
    std::string ToString() const;
  };
  const std::vector<Row>& rows() const { return rows_; }
  const std::vector<LayoutChoice>& choices() const { return choices_; }
  const std::optional<Experts>& experts() const { return experts_; }
  bool closed() const { return closed_; }

 private:
  LayoutTable& Add(Row row);

  std::vector<Row> rows_;
  std::vector<LayoutChoice> choices_;
  std::optional<Experts> experts_;
  bool closed_ = false;
  int tier_ = 0;
  int sets_ = 0;
};

// Names that are changed by rules of KeyRewriter, each way by its own, and
// parameters whose dtype is held by a rule for their names.
struct NameRules {
  KeyRewriter to_native;
  KeyRewriter to_hf;
  // Floats of these names (as they are in the layout that is made, both ways)
  // are of the dtype. Not `held_in_hf`: on the way to native alone.
  NameFilter held_names;
  DType held = DType::kF32;
  bool held_in_hf = true;
  // A few HF names that the rules change, for documentation and tests.
  std::vector<std::string> examples;
};

class LayoutStage;

// Stages for the HF names that start with `hf`, which are given to them without
// it; their native names get `native`. All else passes.
struct Under {
  std::string hf;
  std::string native;
  std::vector<LayoutStage> stages;
};

// A stage of an adapter. Immutable, cheap to copy.
class LayoutStage {
 public:
  class Impl;

  LayoutStage(const LayoutTable& table);  // NOLINT: implicit on purpose
  LayoutStage(const NameRules& rules);    // NOLINT
  LayoutStage(const Under& under);        // NOLINT

  const std::shared_ptr<const Impl>& impl() const { return impl_; }

 private:
  std::shared_ptr<const Impl> impl_;
};

// Whether a table among the stages is closed about experts.
bool KnowExperts(const std::vector<LayoutStage>& stages);

struct LayoutTraits {
  // How the reference's adapter applies exclude_key_regex, and to which names.
  NameFilter::Anchor exclude_anchor = NameFilter::Anchor::kMatch;
  bool exclude_native = false;
  bool write_through = false;
};

// The adapter of these stages, in the order from HF to native. InvalidArgument
// names the row that is wrong: captures that do not agree, two rows that match
// one name or write one name, operations that do not fit.
absl::StatusOr<std::unique_ptr<StateDictAdapter>> MakeLayoutAdapter(
    std::vector<LayoutStage> stages, LayoutTraits traits = {});

}  // namespace windlass

#endif  // WINDLASS_CORE_LAYOUT_TABLE_H_
