#include "windlass/convert/output_dtypes.h"

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "windlass/core/quantised_names.h"
#include "windlass/core/status_macros.h"
#include "windlass/core/tensor_ops.h"

namespace windlass {
namespace {

DType DTypeOf(const NamedTensor& named, const OutputDTypes& dtypes) {
  const DType own = named.tensor.dtype();
  if (!IsValue(own)) return own;
  const auto published = dtypes.published.find(named.name);
  const DType as_published =
      published == dtypes.published.end() ? own : published->second;
  if (dtypes.asked.has_value()) {
    const auto forced = dtypes.forced.find(named.name);
    if (forced != dtypes.forced.end()) return forced->second;
    const bool published_f32 =
        published != dtypes.published.end() && as_published == DType::kF32;
    return published_f32 ? DType::kF32 : *dtypes.asked;
  }
  if (dtypes.as_they_are.contains(named.name)) return own;
  if (dtypes.like != nullptr) {
    const Tensor* const like = dtypes.like->Find(named.name);
    if (like != nullptr) return IsValue(like->dtype()) ? like->dtype() : own;
  }
  return IsValue(as_published) ? as_published : own;
}

}  // namespace

bool IsValue(DType dtype) { return IsFloat(dtype) && DTypeBits(dtype) > 8; }

absl::StatusOr<StateDict> CastTensors(const StateDict& tensors,
                                      const OutputDTypes& dtypes) {
  StateDict cast;
  cast.Reserve(tensors.size());
  for (const NamedTensor& named : tensors) {
    absl::StatusOr<Tensor> tensor = Cast(named.tensor, DTypeOf(named, dtypes));
    if (!tensor.ok()) {
      return Annotate(tensor.status(), "tensor \"", named.name, "\"");
    }
    WINDLASS_RETURN_IF_ERROR(cast.Insert(named.name, *std::move(tensor)));
  }
  return cast;
}

const NamedTensor* FindPacked(const StateDict& tensors) {
  const auto found = absl::c_find_if(tensors, [](const NamedTensor& named) {
    const DType dtype = named.tensor.dtype();
    if (IsFloat(dtype)) return DTypeBits(dtype) <= 8;
    return dtype != DType::kBool && named.tensor.rank() >= 2 &&
           (DTypeBits(dtype) <= 8 || IsQuantisedName(named.name));
  });
  return found == tensors.end() ? nullptr : &*found;
}

const NamedTensor* FindCodes(const StateDict& tensors) {
  const NamedTensor* codes = nullptr;
  const NamedTensor* scale = nullptr;
  for (const NamedTensor& named : tensors) {
    if (IsQuantisedName(named.name)) return &named;
    const DType dtype = named.tensor.dtype();
    if (dtype == DType::kF8E8M0 || !DescribeQuantisedName(named.name).empty()) {
      scale = &named;
    }
    if (codes == nullptr && DTypeBits(dtype) <= 8 && dtype != DType::kBool &&
        (IsFloat(dtype) || named.tensor.rank() >= 2)) {
      codes = &named;
    }
  }
  return scale == nullptr ? nullptr : codes;
}

}  // namespace windlass
