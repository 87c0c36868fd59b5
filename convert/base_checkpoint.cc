#include "windlass/convert/base_checkpoint.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "windlass/convert/output_dtypes.h"
#include "windlass/core/dtype.h"
#include "windlass/core/quantised_names.h"
#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

// Codes, or what tells how to read them.
bool MayBePacking(const std::string& name, DType dtype) {
  return (DTypeBits(dtype) <= 8 && dtype != DType::kBool) ||
         !DescribeQuantisedName(name).empty();
}

}  // namespace

absl::StatusOr<StateDict> FillFrom(const StateDict& base,
                                   const StateDict& tensors,
                                   std::vector<std::string>* filled) {
  StateDict whole = tensors.Copy();
  const bool base_is_packed = FindCodes(base) != nullptr;
  const bool takes_codes = !base_is_packed || FindCodes(tensors) != nullptr;
  for (const auto& [name, tensor] : base) {
    if (tensors.Contains(name)) continue;
    if (!takes_codes && MayBePacking(name, tensor.dtype())) {
      return absl::InvalidArgumentError(absl::StrCat(
          "tensor \"", name, "\": found ", tensor.ToString(),
          " of a quantised model, expected none: what shall be filled is not "
          "quantised"));
    }
    WINDLASS_RETURN_IF_ERROR(whole.Insert(name, tensor));
    filled->push_back(name);
  }
  return whole;
}

absl::StatusOr<StateDict> InOrderOf(const StateDict& base,
                                    const StateDict& tensors) {
  StateDict ordered;
  ordered.Reserve(tensors.size());
  for (const NamedTensor& named : base) {
    const Tensor* const tensor = tensors.Find(named.name);
    if (tensor == nullptr) continue;
    WINDLASS_RETURN_IF_ERROR(ordered.Insert(named.name, *tensor));
  }
  for (const auto& [name, tensor] : tensors) {
    if (base.Contains(name)) continue;
    WINDLASS_RETURN_IF_ERROR(ordered.Insert(name, tensor));
  }
  return ordered;
}

std::vector<std::string> DifferencesFrom(const StateDict& base,
                                         const StateDict& tensors) {
  std::vector<std::string> differences;
  for (const auto& [name, expected] : base) {
    const Tensor* const found = tensors.Find(name);
    if (found == nullptr) {
      differences.push_back(absl::StrCat(
          "tensor \"", name, "\": found none, expected ", expected.ToString()));
    } else if (found->shape() != expected.shape() ||
               (found->dtype() != expected.dtype() &&
                !(IsValue(found->dtype()) && IsValue(expected.dtype())))) {
      differences.push_back(absl::StrCat("tensor \"", name, "\": found ",
                                         found->ToString(), ", expected ",
                                         expected.ToString()));
    }
  }
  for (const auto& [name, found] : tensors) {
    if (base.Contains(name)) continue;
    differences.push_back(absl::StrCat("tensor \"", name, "\": found ",
                                       found.ToString(), ", expected none"));
  }
  return differences;
}

}  // namespace windlass
