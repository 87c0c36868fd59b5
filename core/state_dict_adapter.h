// StateDictAdapter: the code that maps one model family between layouts.
//
// "hf" is what Hugging Face checkpoints hold on disk, "native" what NeMo
// Automodel's modules hold. The interface mirrors the reference's base class
// (nemo_automodel.components.checkpoint.state_dict_adapter.StateDictAdapter)
// method by method. An adapter only rewrites names and builds lazy tensors; it
// reads no byte of them.

#ifndef WINDLASS_CORE_STATE_DICT_ADAPTER_H_
#define WINDLASS_CORE_STATE_DICT_ADAPTER_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "windlass/core/dtype.h"
#include "windlass/core/regex.h"
#include "windlass/core/state_dict.h"
#include "windlass/core/tensor.h"

namespace windlass {

class LayoutStage;

// The expert-parallel dimension of the reference's device mesh: which share of
// the experts a native state dict holds. The default is all of them.
struct DeviceMesh {
  int ep_size = 1;
  int ep_rank = 0;
  // ep_shard: each expert's second dimension is cut as well, into equal shares.
  // Some adapters alone do that, as in the reference.
  int ep_shard_size = 1;
  int ep_shard_rank = 0;
};

// InvalidArgument for sizes below one and ranks that are not below their size.
absl::Status CheckMesh(const DeviceMesh& mesh);

// The reference's default exclude_key_regex: what TransformerEngine keeps
// beside its parameters.
inline constexpr char kExtraStates[] = ".*_extra_state.*";

struct ToHfOptions {
  // The reference's exclude_key_regex: HF keys that match are dropped.
  NameFilter exclude_key_regex;
  // How expert LoRA is written: true for a key an expert (PEFT of transformers
  // 4), false for what the adapter prefers.
  bool v4_compatible = false;
  // The share of the experts that the native state dict holds.
  DeviceMesh device_mesh;
  // As in FromHfOptions.
  bool optimizer_state = false;
};

struct FromHfOptions {
  // The share of the experts that the native state dict shall hold.
  DeviceMesh device_mesh;
  // The tensors are not the parameters of these names but what an optimizer
  // keeps of them (a moment). They go where the parameters' elements go and are
  // not cast; InvalidArgument names one whose numbers the adapter computes.
  // Parameters may be missing: those that were not trained have no state.
  bool optimizer_state = false;
};

// Implementations are immutable after construction and thread-safe. They leave
// their inputs as they are. Errors: AlreadyExists where two names become one;
// InvalidArgument names the tensor that does not fit the model's config, or
// that belongs to an incomplete set.
class StateDictAdapter {
 public:
  virtual ~StateDictAdapter() = default;

  // to_hf: native to HF.
  virtual absl::StatusOr<StateDict> ToHf(const StateDict& state_dict,
                                         const ToHfOptions& options) const = 0;

  // from_hf: HF to native.
  virtual absl::StatusOr<StateDict> FromHf(
      const StateDict& hf_state_dict, const FromHfOptions& options) const = 0;

  // convert_single_tensor_to_hf: what ToHf makes of this one tensor; empty
  // where it is dropped.
  virtual absl::StatusOr<std::vector<NamedTensor>> ConvertSingleTensorToHf(
      absl::string_view fqn, const Tensor& tensor,
      const ToHfOptions& options) const = 0;

  // get_hf_state_dict_keys: the names that ToHf gives, in its order, without
  // the extra states of TransformerEngine.
  virtual absl::StatusOr<std::vector<std::string>> GetHfStateDictKeys(
      const StateDict& state_dict) const;

  // forced_hf_dtype_mapping: the HF keys whose dtype on disk is the adapter's
  // to say, whatever the original checkpoint had.
  virtual std::vector<std::pair<std::string, DType>> ForcedHfDtypeMapping(
      const StateDict& hf_state_dict) const;

  // The same of native names, for what the reference's modules hold.
  virtual std::vector<std::pair<std::string, DType>> ForcedNativeDtypeMapping(
      const StateDict& state_dict) const;

  // supports_write_through_checkpoint_load: true where every HF tensor has the
  // bytes, or a view of the bytes, of one native tensor.
  virtual bool SupportsWriteThroughCheckpointLoad() const { return false; }

  // The stages that the adapter is made of, from HF to native; none where it is
  // not made of tables. For documentation and tests.
  virtual const std::vector<LayoutStage>* stages() const { return nullptr; }
};

}  // namespace windlass

#endif  // WINDLASS_CORE_STATE_DICT_ADAPTER_H_
