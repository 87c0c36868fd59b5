#include "windlass/adapters/common/fp32_params.h"

#include "absl/strings/match.h"
#include "re2/re2.h"
#include "windlass/core/regex.h"
#include "windlass/core/tensor_ops.h"

namespace windlass {

std::string StripFp32Prefix(absl::string_view key) {
  static const RE2* const holder =
      new RE2(R"((\.linear_attn)\._fp32_params\.)");
  std::string name(key);
  RE2::GlobalReplace(&name, *holder, R"(\1.)");
  return name;
}

std::string RouteToFp32Holder(absl::string_view key) {
  // The greedy first group ends with the last ".linear_attn.".
  static const RE2* const gate =
      new RE2(R"((?s)(.*\.linear_attn\.)(.*(?:A_log|dt_bias)))");
  std::string name(key);
  std::string before, after;
  if (!IsFp32Param(key) || absl::StrContains(key, "._fp32_params.") ||
      !RE2::FullMatch(ToRe2(key), *gate, &before, &after)) {
    return name;
  }
  return before + "_fp32_params." + after;
}

bool IsFp32Param(absl::string_view key) {
  return (absl::EndsWith(key, "A_log") || absl::EndsWith(key, "dt_bias")) &&
         absl::StrContains(key, ".linear_attn.");
}

absl::StatusOr<Tensor> UpcastFp32Param(absl::string_view key,
                                       const Tensor& tensor) {
  if (!IsFp32Param(key) || !IsFloat(tensor.dtype())) return tensor;
  return Cast(tensor, DType::kF32);
}

std::vector<std::pair<std::string, DType>> Fp32ParamDTypes(
    const StateDict& hf_state_dict) {
  std::vector<std::pair<std::string, DType>> forced;
  for (const auto& [name, tensor] : hf_state_dict) {
    if (IsFp32Param(name) && IsFloat(tensor.dtype())) {
      forced.emplace_back(name, DType::kF32);
    }
  }
  return forced;
}

}  // namespace windlass
