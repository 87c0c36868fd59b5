// Parameters that stay in F32: the gates of GatedDeltaNet layers.
//
// Native modules keep `A_log` and `dt_bias` in a holder of their own,
// `linear_attn._fp32_params.A_log`; Hugging Face has the bare name. The
// reference's helpers are in components/models/common/gated_delta_net_fp32.py.

#ifndef WINDLASS_ADAPTERS_COMMON_FP32_PARAMS_H_
#define WINDLASS_ADAPTERS_COMMON_FP32_PARAMS_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "windlass/adapters/common/layout_step.h"
#include "windlass/core/dtype.h"
#include "windlass/core/state_dict.h"
#include "windlass/core/tensor.h"

namespace windlass {

// _strip_fp32_prefix: ".linear_attn._fp32_params.X" to ".linear_attn.X", one
// level of each holder, whatever X is.
std::string StripFp32Prefix(absl::string_view key);

// _route_to_fp32_holder: puts A_log and dt_bias (a suffix test, without regard
// to dots) of the last ".linear_attn." into the holder. A key that has a holder
// anywhere stays as it is.
std::string RouteToFp32Holder(absl::string_view key);

// Whether the key is of a gate, in the holder or not.
bool IsFp32Param(absl::string_view key);

// A gate of any float dtype as F32 (F64 is rounded); all else as it is.
absl::StatusOr<Tensor> UpcastFp32Param(absl::string_view key,
                                       const Tensor& tensor);

// forced_hf_dtype_mapping: every gate of a float dtype, as F32.
std::vector<std::pair<std::string, DType>> Fp32ParamDTypes(
    const StateDict& hf_state_dict);

// Strips and routes, and upcasts both ways.
class Fp32ParamsStep : public OneToOneStep {
 public:
  // Without `route`, HF names stay bare on the way to native.
  explicit Fp32ParamsStep(bool route) : route_(route) {}

  std::string HfName(absl::string_view native) const override {
    return StripFp32Prefix(native);
  }
  std::string NativeName(absl::string_view hf) const override {
    return route_ ? RouteToFp32Holder(hf) : std::string(hf);
  }
  absl::StatusOr<Tensor> Convert(absl::string_view name,
                                 const Tensor& tensor) const override {
    return UpcastFp32Param(name, tensor);
  }

 private:
  const bool route_;
};

}  // namespace windlass

#endif  // WINDLASS_ADAPTERS_COMMON_FP32_PARAMS_H_
