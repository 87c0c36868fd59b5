// FP8 weights with a scale per 128 x 128 block, as DeepSeek publishes them:
// X.weight [M, N] of F8_E4M3 and X.weight_scale_inv [ceil(M/128), ceil(N/128)].

#ifndef WINDLASS_ADAPTERS_COMMON_BLOCK_FP8_H_
#define WINDLASS_ADAPTERS_COMMON_BLOCK_FP8_H_

#include "absl/status/statusor.h"
#include "windlass/adapters/common/layout_step.h"
#include "windlass/core/dtype.h"
#include "windlass/core/state_dict.h"
#include "windlass/core/state_dict_adapter.h"

namespace windlass {

// On the way to native every weight that has a scale is multiplied with it and
// the scale goes away; on the way to HF nothing is quantised. An FP8 weight
// without a scale, and a scale with fewer blocks than its weight, are errors;
// blocks beyond the weight are ignored.
class BlockFp8Step : public LayoutStep {
 public:
  explicit BlockFp8Step(DType dtype) : dtype_(dtype) {}

  absl::StatusOr<StateDict> FromHf(const StateDict& hf,
                                   const FromHfOptions& options) const override;

 private:
  const DType dtype_;
};

}  // namespace windlass

#endif  // WINDLASS_ADAPTERS_COMMON_BLOCK_FP8_H_
