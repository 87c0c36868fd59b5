#include "windlass/core/kernels/transpose.h"

#include <algorithm>
#include <cstring>

namespace windlass {
namespace {

template <int kBytes>
void TransposeBlock(const char* in, int64_t rows, int64_t cols,
                    int64_t in_stride, char* out, int64_t out_stride) {
  for (int64_t col = 0; col < cols; ++col) {
    for (int64_t row = 0; row < rows; ++row) {
      std::memcpy(out + col * out_stride + row * kBytes,
                  in + row * in_stride + col * kBytes, kBytes);
    }
  }
}

template <int kBytes>
void Transpose(const char* in, int64_t rows, int64_t cols, int64_t in_stride,
               char* out, int64_t out_stride) {
  // A block's rows are a cache line wide on either side.
  constexpr int64_t kBlock = 64 / kBytes;
  for (int64_t col = 0; col < cols; col += kBlock) {
    for (int64_t row = 0; row < rows; row += kBlock) {
      TransposeBlock<kBytes>(in + row * in_stride + col * kBytes,
                             std::min(kBlock, rows - row),
                             std::min(kBlock, cols - col), in_stride,
                             out + col * out_stride + row * kBytes, out_stride);
    }
  }
}

}  // namespace

void TransposeMatrix(int element_bytes, const char* in, int64_t rows,
                     int64_t cols, int64_t in_stride, char* out,
                     int64_t out_stride) {
  switch (element_bytes) {
    case 1:
      return Transpose<1>(in, rows, cols, in_stride, out, out_stride);
    case 2:
      return Transpose<2>(in, rows, cols, in_stride, out, out_stride);
    case 4:
      return Transpose<4>(in, rows, cols, in_stride, out, out_stride);
    default:
      return Transpose<8>(in, rows, cols, in_stride, out, out_stride);
  }
}

}  // namespace windlass
