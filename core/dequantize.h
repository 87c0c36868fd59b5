// Numbers that are packed in codes with scales, unpacked lazily; and INT4 from
// numbers. As tensor_ops.h: each function checks dtypes and shapes when it is
// called (InvalidArgument) and returns a Tensor whose bytes are computed when
// somebody reads them.
//
// Every element is its code's value times its block's scale, a product in F32
// that is rounded once to the dtype that is asked for.
//
//   absl::StatusOr<Tensor> w =
//       Dequantize(codes, scales, MxFp4Format(), DType::kBF16);

#ifndef WINDLASS_CORE_DEQUANTIZE_H_
#define WINDLASS_CORE_DEQUANTIZE_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "windlass/core/dtype.h"
#include "windlass/core/kernels/unpack.h"
#include "windlass/core/tensor.h"

namespace windlass {

// How scales are written.
enum class ScaleCode {
  kFloat,  // as their dtype says: F32, BF16, F16, F8_E8M0...
  // A byte e (U8 or F8_E8M0, read alike) for 2^(e - 127):
  kExponent,          // in F32; 255 is infinity
  kExponentInTarget,  // rounded to the result's dtype first
  kExponentOrZero,    // in F32; 0 is zero, 255 is infinity
};

// The extent of a block that is the whole dimension, whatever it is.
inline constexpr int64_t kWholeDimension = 0;

struct PackedFormat {
  ElementCode element = ElementCode::kFloat;
  ScaleCode scale = ScaleCode::kFloat;
  // Elements that share a scale: their extents in the last dimensions, the
  // outermost first. In the dimensions before each index has its own.
  Shape block;
};

// FP8 with a scale for each `block` x `block` elements of the last two
// dimensions: DeepSeek-V3 and most others.
PackedFormat BlockFormat(int64_t block = 128);

// A scale for all of a tensor of `rank` dimensions: Mistral 3.
PackedFormat PerTensorFormat(int rank);

// A scale for each index of the outermost of `rank` dimensions: Mistral 4.
PackedFormat PerExpertFormat(int rank);

// MXFP8: FP8 with an exponent for 32 elements of a row: MiniMax-M3.
PackedFormat MxFp8Format();

// MXFP4: two elements a byte, an exponent for 32 of a row: GPT-OSS (whose
// blocks [..., G, 16] are reshaped to [..., 16 G] first), Kimi-K3.
PackedFormat MxFp4Format();

// The same with another zero, as code and as scale: DeepSeek-V4.
PackedFormat DeepSeekFp4Format();

// INT4, eight elements in an I32, a scale for `group` elements of a row:
// Kimi-K2.5.
PackedFormat Int4Format(int64_t group);

// `codes` unpacked: their shape, with the last dimension as many times longer
// as elements are packed in one of theirs. Codes of four bits lie in U8, I8,
// I32 or F4, the low ones first. `scales` has the shape of the blocks, the last
// of which may reach beyond the tensor; dimensions of 1 may be missing.
absl::StatusOr<Tensor> Dequantize(const Tensor& codes, const Tensor& scales,
                                  const PackedFormat& format, DType dtype);

// `tensor`, whose reading fails with InvalidArgument where `shape`, I32 or I64
// [rank], holds another shape than its own: packed weights say theirs.
absl::StatusOr<Tensor> ExpectShape(const Tensor& tensor, const Tensor& shape);

// Every element times the scale of its index in the outermost dimension, in
// the dtype that torch promotes both to. Float dtypes of 16 and 32 bits;
// `scales` has one dimension.
absl::StatusOr<Tensor> MulOuter(const Tensor& tensor, const Tensor& scales);

// What Kimi-K2.5 stores for a weight [..., N].
struct Int4Tensors {
  Tensor packed;  // I32 [..., N / 8]
  Tensor scales;  // F16 [..., G], G = N / 32 rounded up
};

// A group of N / G elements of a row, 32 as a rule, has the scale
// s = max(|w|) / 7, 1e-10 at least; an element is w / s, rounded to nearest
// even, between -8 and 7, plus 8. N is a multiple of 8 and of G, a group an
// even number; float dtypes of whole bytes. Reading fails with InvalidArgument
// where a weight is NaN or its scale is too large for F16.
absl::StatusOr<Int4Tensors> QuantizeInt4(const Tensor& weight);

}  // namespace windlass

#endif  // WINDLASS_CORE_DEQUANTIZE_H_
