// LoRA of grouped experts, in the two forms that PEFT files have.
//
// Native, under P = "...layers.L.mlp.experts":
//   P.lora_gate_and_up_A [E, H, r]   P.lora_gate_and_up_B [E, r, 2I]
//   P.lora_down_A        [E, I, r]   P.lora_down_B        [E, r, H]
// Per expert (transformers 4; gate and up share their A):
//   P.e.gate_proj.lora_A.weight [r, H]   P.e.gate_proj.lora_B.weight [I, r]
//   P.e.up_proj.*  likewise              P.e.down_proj.*
// ParamWrapper (PEFT's target_parameters; down is the outer wrapper):
//   P.base_layer.lora_A.weight [E*r, 2I]   P.base_layer.lora_B.weight [H, r*E]
//   P.lora_A.weight            [E*r, H]    P.lora_B.weight            [I, r*E]
// Row e*r+k of a lora_A and column k*E+e of a lora_B are expert e's.

#ifndef WINDLASS_ADAPTERS_COMMON_EXPERT_LORA_H_
#define WINDLASS_ADAPTERS_COMMON_EXPERT_LORA_H_

#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "windlass/adapters/common/layout_step.h"
#include "windlass/adapters/common/moe_options.h"
#include "windlass/core/state_dict.h"
#include "windlass/core/state_dict_adapter.h"

namespace windlass {

// Reads both forms; the native tensors stand at the end, after all others.
// An expert that is missing from a set, and a rank that does not divide, are
// errors.
class ExpertLoraStep : public LayoutStep {
 public:
  // `param_wrapper` is the form written unless v4_compatible asks for the other
  // (the reference's _v5_peft_target_parameters).
  ExpertLoraStep(MoeOptions moe, bool param_wrapper)
      : moe_(std::move(moe)), param_wrapper_(param_wrapper) {}

  absl::Status ToHf(const NamedTensor& native, const ToHfOptions& options,
                    std::vector<NamedTensor>* hf) const override;
  absl::StatusOr<StateDict> FromHf(const StateDict& hf,
                                   const FromHfOptions& options) const override;

 private:
  const MoeOptions moe_;
  const bool param_wrapper_;
};

}  // namespace windlass

#endif  // WINDLASS_ADAPTERS_COMMON_EXPERT_LORA_H_
