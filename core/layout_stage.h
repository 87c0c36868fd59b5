// What a stage of an adapter does with the tensors of one conversion: they are
// pushed into it one by one, and it pushes what it makes of them into the next.
// Only core/layout_*.cc need this.

#ifndef WINDLASS_CORE_LAYOUT_STAGE_H_
#define WINDLASS_CORE_LAYOUT_STAGE_H_

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "windlass/core/layout_table.h"
#include "windlass/core/state_dict.h"
#include "windlass/core/state_dict_adapter.h"

namespace windlass {

// One conversion.
struct LayoutRun {
  bool to_hf = false;
  // convert_single_tensor_to_hf: the input is a tensor out of a model.
  bool single = false;
  bool v4_compatible = false;
  bool optimizer_state = false;
  DeviceMesh mesh;
  const StateDict* input = nullptr;
};

// A tensor on its way. `origin` is the input that it comes from, or the last of
// those.
struct LayoutItem {
  std::string name;
  Tensor tensor;
  const NamedTensor* origin = nullptr;
};

// A name on its way.
struct LayoutName {
  explicit LayoutName(std::string n) : name(std::move(n)) {}

  std::string name;
  // Nothing of this name comes out.
  bool dropped = false;
  // It was dropped, or given another name, by more than a rule for any name.
  bool known = false;
  // Set where a stage holds its dtype.
  std::optional<DType> held;
};

class LayoutSink {
 public:
  virtual ~LayoutSink() = default;
  virtual absl::Status Push(LayoutItem item) = 0;
  // After the last tensor. Does not finish the sink behind it.
  virtual absl::Status Finish() { return absl::OkStatus(); }
};

class LayoutStage::Impl {
 public:
  virtual ~Impl() = default;

  // The first mistake of the declaration. `first`: the stage sees the names of
  // the input, but for a prefix.
  virtual absl::Status Check(bool first) const = 0;

  // `prefix` is what the stage's names lack of those of the run's input; null
  // where a stage before has changed them. `run` and `next` outlive the sink.
  // Null where the stage has nothing to do in this run.
  virtual absl::StatusOr<std::unique_ptr<LayoutSink>> Start(
      const LayoutRun& run, std::optional<std::string> prefix,
      LayoutSink* next) const = 0;

  // Takes a name through this stage, as far as it is a matter of names.
  virtual void TakeName(bool to_hf, LayoutName* name) const = 0;

  // What the stage is made of; the others are null.
  virtual const LayoutTable* table() const { return nullptr; }
  virtual const NameRules* rules() const { return nullptr; }
  virtual const Under* under() const { return nullptr; }
};

// Takes a name through stages, in the order of the direction, until it is
// dropped.
void TakeName(const std::vector<LayoutStage>& stages, bool to_hf,
              LayoutName* name);

// The stage of a table (layout_table.cc has the others). What is wrong with the
// table is said by Check.
std::shared_ptr<const LayoutStage::Impl> CompileTable(LayoutTable table);

}  // namespace windlass

#endif  // WINDLASS_CORE_LAYOUT_STAGE_H_
