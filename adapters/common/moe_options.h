// What a mixture-of-experts adapter must know of its model, out of config.json
// and the adapter's options.

#ifndef WINDLASS_ADAPTERS_COMMON_MOE_OPTIONS_H_
#define WINDLASS_ADAPTERS_COMMON_MOE_OPTIONS_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/dtype.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/layout_op.h"
#include "windlass/core/model_config.h"

namespace windlass {

struct MoeOptions {
  LayoutDim experts;       // E: n_routed_experts
  LayoutDim intermediate;  // I: moe_inter_dim
  LayoutDim hidden;        // H: expert_dim; of any size where no field says it
  // The adapter's dtype: what merged and dequantised tensors are cast to.
  // Unset, where neither option nor config says it: as their parts are.
  std::optional<DType> dtype;
  // _uses_model_prefix: whether split experts are named "model.layers...".
  // Unset: as the native name at hand is.
  std::optional<bool> uses_model_prefix;
  std::string expert_layout = "per_expert";  // or "fused"
  // Unset: 0.19 for writing, by shapes for reading.
  std::optional<std::string> peft_layout;
  // Gate and up may have different lora_A; the gate's is taken.
  bool gate_lora_a = false;
  // A rank of the mesh's ep_shard has a share of each expert.
  bool ep_shard = false;
  // Whether config.json says that a layer is a mixture; null where it does not
  // say.
  std::function<bool(int64_t layer)> sparse;
};

// The options that ReadMoeOptions understands, for AdapterInfo.
std::vector<AdapterOption> MoeAdapterOptions();

// The same but for uses_model_prefix, which says too little where a language
// model is a part of another model. `expert_layout` is the default, which such
// an adapter sets itself.
std::vector<AdapterOption> NestedMoeAdapterOptions(
    std::string expert_layout = "per_expert");

// And those for experts that have one form in HF, and no LoRA.
std::vector<AdapterOption> FusedMoeAdapterOptions();

// E is read from whichever of its known fields is there, I from
// `intermediate_field`. NotFound or InvalidArgument names the field of
// config.json or the option.
absl::StatusOr<MoeOptions> ReadMoeOptions(
    const ModelConfig& config, const JsonFields& options,
    absl::string_view intermediate_field = "moe_intermediate_size");

// Option `dtype`, or the config's, or none.
absl::StatusOr<std::optional<DType>> ReadDTypeOption(const ModelConfig& config,
                                                     const JsonFields& options);

}  // namespace windlass

#endif  // WINDLASS_ADAPTERS_COMMON_MOE_OPTIONS_H_
