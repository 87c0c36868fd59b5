// Tensors out of what checkpoints of training jobs keep of them: boxes that
// several ranks wrote, and views of a storage that several tensors share.
//
//   absl::StatusOr<Tensor> whole = Assemble(
//       DType::kBF16, {9, 10}, {{{0, 0}, a}, {{5, 0}, b}});
//   absl::StatusOr<Tensor> view = Strided(storage, {8, 6}, {1, 8}, 0);
//
// Both are lazy, as tensor_ops.h is, and check all when they are called.

#ifndef WINDLASS_CORE_ASSEMBLE_H_
#define WINDLASS_CORE_ASSEMBLE_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "windlass/core/dtype.h"
#include "windlass/core/tensor.h"

namespace windlass {

// A part of a larger tensor: elements [offsets, offsets + tensor.shape()).
struct Box {
  Shape offsets;
  Tensor tensor;
};

// The tensor that the boxes make, in any order and arrangement. A single box is
// the tensor itself; whatever else is read in the longest runs that the boxes
// have. InvalidArgument names the box that reaches outside, is of another dtype
// or rank, or overlaps another, and the elements that no box has; Unimplemented
// for boxes that would have to be cut into very many parts, which no sharding
// gives. Dtypes of whole bytes.
absl::StatusOr<Tensor> Assemble(DType dtype, const Shape& shape,
                                const std::vector<Box>& boxes);

// Element (i, j, ...) is element offset + i * strides[0] + j * strides[1] + ...
// of `storage`, which has one dimension. A contiguous view of what lies
// verbatim stays so. InvalidArgument where strides are not one a dimension or
// negative, OutOfRange where the view reaches outside the storage. Dtypes of
// whole bytes.
absl::StatusOr<Tensor> Strided(const Tensor& storage, Shape shape,
                               absl::Span<const int64_t> strides,
                               int64_t offset);

}  // namespace windlass

#endif  // WINDLASS_CORE_ASSEMBLE_H_
