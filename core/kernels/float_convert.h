// Bit-exact conversion between floating-point dtypes, in blocks.
//
// Everything goes through F32, as it does in torch (F64 to BF16 rounds twice
// there, and so here): decoding is exact for every dtype of 32 bits or less,
// encoding rounds to nearest even. NaN stays NaN. What is too large becomes
// infinity, or NaN where the dtype has no infinity (F8_E4M3 above 464, the FNUZ
// dtypes, F8_E8M0). The floating-point mode of the calling thread, flushing of
// subnormal numbers and direction of rounding, makes no difference.

#ifndef WINDLASS_CORE_KERNELS_FLOAT_CONVERT_H_
#define WINDLASS_CORE_KERNELS_FLOAT_CONVERT_H_

#include <cstdint>

#include "windlass/core/dtype.h"

namespace windlass {

// True for the dtypes below: every float dtype of whole bytes.
bool IsConvertible(DType dtype);

// Converts `count` elements from `in` to `out`, which do not overlap. Both
// dtypes must be convertible. Neither pointer needs alignment.
void DecodeToF32(DType dtype, const char* in, int64_t count, float* out);
void EncodeFromF32(DType dtype, const float* in, int64_t count, char* out);
void ConvertFloats(DType from, const char* in, int64_t count, DType to,
                   char* out);

// The same with every element multiplied by `scale` in F32 on its way.
void ScaleFloats(DType from, const char* in, int64_t count, float scale,
                 DType to, char* out);

}  // namespace windlass

#endif  // WINDLASS_CORE_KERNELS_FLOAT_CONVERT_H_
