// Lazy operations on tensors. Each checks dtypes and shapes when it is called
// (InvalidArgument says what was found and what was expected) and returns a
// Tensor whose bytes are computed when somebody reads them, piece by piece.
//
// They compose without temporaries: the merge of 128 experts,
//
//   Stack({Concat({Transpose(gate0), Transpose(up0)}, 1), ...})
//
// is one source that reads each input byte once and writes it to its place.

#ifndef WINDLASS_CORE_TENSOR_OPS_H_
#define WINDLASS_CORE_TENSOR_OPS_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "windlass/core/dtype.h"
#include "windlass/core/tensor.h"

namespace windlass {

// Every element converted as kernels/float_convert.h says. Float dtypes of
// whole bytes; the same dtype gives the same tensor back, whatever it is.
absl::StatusOr<Tensor> Cast(const Tensor& tensor, DType dtype);

// Cast to F8_E4M3 of what has no scale: reading fails with InvalidArgument
// where an element is NaN or above 464, the largest that has a code.
absl::StatusOr<Tensor> CastToFp8(const Tensor& tensor);

// The same bytes under another shape of as many elements.
absl::StatusOr<Tensor> Reshape(const Tensor& tensor, Shape shape);

// The last two dimensions exchanged: [..., m, n] to [..., n, m]. Its own
// inverse. Dtypes of whole bytes.
absl::StatusOr<Tensor> Transpose(const Tensor& tensor);

// Elements [begin, end) of dimension `dim`.
absl::StatusOr<Tensor> Slice(const Tensor& tensor, int dim, int64_t begin,
                             int64_t end);

// Tensors one after the other along dimension `dim`; at least one, all of one
// dtype and, but for `dim`, one shape. Slice takes them apart again.
absl::StatusOr<Tensor> Concat(absl::Span<const Tensor> tensors, int dim);

// Tensors of one dtype and shape under a new outermost dimension. Select takes
// them apart again.
absl::StatusOr<Tensor> Stack(absl::Span<const Tensor> tensors);

// Element `index` of the outermost dimension, which goes away.
absl::StatusOr<Tensor> Select(const Tensor& tensor, int64_t index);

// One value everywhere: a float dtype of whole bytes, U8, or zeros of any dtype
// of whole bytes. It has no input.
absl::StatusOr<Tensor> Fill(DType dtype, Shape shape, double value);

// Zeros at the end of dimension `dim`, up to `size` elements. Slice takes them
// off again.
absl::StatusOr<Tensor> Pad(const Tensor& tensor, int dim, int64_t size);

// The halves of dimension `dim`, element by element in turn: [a0, a1, b0, b1]
// to [a0, b0, a1, b1]; and back. Runs of the dimensions after `dim` are moved:
// where those are short and the tensor is a transpose, interleave first.
absl::StatusOr<Tensor> Interleave(const Tensor& tensor, int dim);
absl::StatusOr<Tensor> Deinterleave(const Tensor& tensor, int dim);

// Dequantize (dequantize.h) in square blocks, of a matrix: element (i, j) is
// F32(weight[i, j]) * F32(scale[i / block, j / block]), rounded once to
// `dtype`. `scale` is [ceil(M / block), ceil(N / block)].
absl::StatusOr<Tensor> DequantizeBlocks(const Tensor& weight,
                                        const Tensor& scale, int64_t block,
                                        DType dtype);

}  // namespace windlass

#endif  // WINDLASS_CORE_TENSOR_OPS_H_
