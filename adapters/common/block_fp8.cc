#include "windlass/adapters/common/block_fp8.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "windlass/core/status_macros.h"
#include "windlass/core/tensor_ops.h"

namespace windlass {
namespace {

constexpr int64_t kBlock = 128;
constexpr absl::string_view kScaleSuffix = "_scale_inv";

// The blocks of `scale` that `weight` has.
absl::StatusOr<Tensor> Trim(const Tensor& scale, const Tensor& weight) {
  Tensor trimmed = scale;
  for (int dim = 0; dim < 2 && weight.rank() == 2 && scale.rank() == 2; ++dim) {
    const int64_t blocks = (weight.shape()[dim] + kBlock - 1) / kBlock;
    if (blocks >= scale.shape()[dim]) continue;
    WINDLASS_ASSIGN_OR_RETURN(trimmed, Slice(trimmed, dim, 0, blocks));
  }
  return trimmed;
}

absl::StatusOr<Tensor> Dequantize(const Tensor& weight, const Tensor& scale,
                                  DType dtype) {
  WINDLASS_ASSIGN_OR_RETURN(const Tensor trimmed, Trim(scale, weight));
  return DequantizeBlocks(weight, trimmed, kBlock, dtype);
}

}  // namespace

absl::StatusOr<StateDict> BlockFp8Step::FromHf(const StateDict& hf,
                                               const FromHfOptions&) const {
  StateDictBuilder native;
  for (const auto& [name, tensor] : hf) {
    // A weight's scale goes with the weight.
    if (absl::EndsWith(name, ".weight_scale_inv") &&
        hf.Contains(absl::StripSuffix(name, kScaleSuffix))) {
      continue;
    }
    if (!absl::EndsWith(name, ".weight")) {
      WINDLASS_RETURN_IF_ERROR(native.Add(name, tensor, name));
      continue;
    }
    const Tensor* scale = hf.Find(absl::StrCat(name, kScaleSuffix));
    if (scale == nullptr) {
      if (tensor.dtype() == DType::kF8E4M3) {
        return absl::InvalidArgumentError(absl::StrCat(
            "tensor \"", name, "\": found ", tensor.ToString(),
            " without a scale, expected \"", name, kScaleSuffix, "\" too"));
      }
      WINDLASS_RETURN_IF_ERROR(native.Add(name, tensor, name));
      continue;
    }
    absl::StatusOr<Tensor> values = Dequantize(tensor, *scale, dtype_);
    if (!values.ok()) {
      return Annotate(values.status(), "tensor \"", name, "\"");
    }
    WINDLASS_RETURN_IF_ERROR(native.Add(name, *std::move(values), name));
  }
  return std::move(native).Build();
}

}  // namespace windlass
