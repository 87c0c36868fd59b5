// Two tensors that have to be the same.

#ifndef WINDLASS_ADAPTERS_COMMON_EQUAL_TENSORS_H_
#define WINDLASS_ADAPTERS_COMMON_EQUAL_TENSORS_H_

#include <string>

#include "absl/status/statusor.h"
#include "windlass/core/tensor.h"

namespace windlass {

// `a`, which gives an error wherever it is read and `b` has other bytes:
// InvalidArgument names both. Dtypes and shapes are compared at once.
absl::StatusOr<Tensor> Equal(const Tensor& a, std::string a_name,
                             const Tensor& b, std::string b_name);

}  // namespace windlass

#endif  // WINDLASS_ADAPTERS_COMMON_EQUAL_TENSORS_H_
