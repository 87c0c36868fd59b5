// Transposition of a matrix that lies in memory.

#ifndef WINDLASS_CORE_KERNELS_TRANSPOSE_H_
#define WINDLASS_CORE_KERNELS_TRANSPOSE_H_

#include <cstdint>

namespace windlass {

// Writes the transpose of `in` (rows x cols) to `out` (cols x rows). Strides
// are bytes from a row to the next; elements take 1, 2, 4 or 8 bytes; nothing
// needs alignment; the two do not overlap. Cache-blocked.
void TransposeMatrix(int element_bytes, const char* in, int64_t rows,
                     int64_t cols, int64_t in_stride, char* out,
                     int64_t out_stride);

}  // namespace windlass

#endif  // WINDLASS_CORE_KERNELS_TRANSPOSE_H_
