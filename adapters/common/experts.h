// Experts: a matrix each in Hugging Face's layout, grouped in the native one.
//
//   HF      P layers.L.mlp.experts.e.gate_proj.weight   [I, H]
//           P layers.L.mlp.experts.e.up_proj.weight     [I, H]
//           P layers.L.mlp.experts.e.down_proj.weight   [H, I]
//   native  P layers.L.mlp.experts.gate_and_up_projs    [E, H, 2I]
//           P layers.L.mlp.experts.down_projs           [E, I, H]
//
// The reference: components/moe/state_dict_mixin.py
// (MoESplitExpertsStateDictMixin).

#ifndef WINDLASS_ADAPTERS_COMMON_EXPERTS_H_
#define WINDLASS_ADAPTERS_COMMON_EXPERTS_H_

#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "windlass/adapters/common/layout_step.h"
#include "windlass/adapters/common/moe_options.h"
#include "windlass/core/state_dict.h"
#include "windlass/core/state_dict_adapter.h"

namespace windlass {

// Merges and splits expert weights; an expert-parallel rank gets its own
// experts only. On the way to native:
//  - an incomplete set of a layer's experts, an expert that the config does not
//    know, and an FP8 expert without its scale are errors;
//  - the grouped tensor stands where the last of its experts stood;
//  - `_scale_inv` tensors that belong to no FP8 weight are dropped.
class ExpertsStep : public LayoutStep {
 public:
  explicit ExpertsStep(MoeOptions moe) : moe_(std::move(moe)) {}

  absl::Status ToHf(const NamedTensor& native, const ToHfOptions& options,
                    std::vector<NamedTensor>* hf) const override;
  absl::StatusOr<StateDict> FromHf(const StateDict& hf,
                                   const FromHfOptions& options) const override;

 private:
  const MoeOptions moe_;
};

}  // namespace windlass

#endif  // WINDLASS_ADAPTERS_COMMON_EXPERTS_H_
