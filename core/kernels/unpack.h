// The inner loops of core/dequantize: a row of codes to numbers and back.

#ifndef WINDLASS_CORE_KERNELS_UNPACK_H_
#define WINDLASS_CORE_KERNELS_UNPACK_H_

#include <cstdint>

#include "windlass/core/dtype.h"

namespace windlass {

// What an element's code means.
enum class ElementCode {
  kFloat,  // as its dtype says
  // Four bits, two to a byte, the low ones first:
  kFp4,              // E2M1: 0, 0.5, 1, 1.5, 2, 3, 4, 6, and -0 to -6
  kFp4PositiveZero,  // the same, but that code 8 is +0
  kInt4,             // the code - 8
};

// Multiplies elements [first, first + count) of a row of codes by the scales of
// their blocks, in F32, and rounds them once to `to`. A block is `block`
// elements; `first` is element `in_block` of its own, whose scale is the first
// of `scales`. `from` is the codes' dtype where they are floats; both dtypes
// must be convertible (float_convert.h).
void UnpackRow(ElementCode code, DType from, const char* codes, int64_t first,
               int64_t count, const float* scales, int64_t in_block,
               int64_t block, DType to, char* out);

// 2^(code - 127) in F32 for each code; infinity for 255, and zero for 0 where
// `zero_is_zero`.
void DecodeExponents(const uint8_t* codes, int64_t count, bool zero_is_zero,
                     float* out);

// Quantises `groups` groups of 32 numbers, as QuantizeInt4 says: 16 bytes of
// `packed` and a scale (not rounded) for each. False where a number is NaN or a
// scale is too large for F16.
bool PackInt4(const float* in, int64_t groups, char* packed, float* scales);

}  // namespace windlass

#endif  // WINDLASS_CORE_KERNELS_UNPACK_H_
