#include "windlass/core/kernels/transpose.h"

#include <algorithm>
#include <cstring>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

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

// Rows and columns that Tile handles at once; 1 where there is no fast way.
template <int kBytes>
constexpr int64_t kTile = 1;

template <int kBytes>
void Tile(const char* in, int64_t, char* out, int64_t) {
  std::memcpy(out, in, kBytes);
}

#ifdef __SSE2__
__m128i Load(const char* in) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(in));
}

void Store(char* out, __m128i value) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), value);
}

template <>
constexpr int64_t kTile<2> = 8;

// Eight rows of eight: pairs, then fours, then eights of rows are interleaved.
template <>
void Tile<2>(const char* in, int64_t in_stride, char* out, int64_t out_stride) {
  __m128i row[8], pair[8], four[8];
  for (int i = 0; i < 8; ++i) row[i] = Load(in + i * in_stride);
  for (int i = 0; i < 4; ++i) {
    pair[2 * i] = _mm_unpacklo_epi16(row[2 * i], row[2 * i + 1]);
    pair[2 * i + 1] = _mm_unpackhi_epi16(row[2 * i], row[2 * i + 1]);
  }
  for (int i = 0; i < 2; ++i) {
    for (int half = 0; half < 2; ++half) {
      const __m128i a = pair[4 * i + half], b = pair[4 * i + 2 + half];
      four[4 * i + 2 * half] = _mm_unpacklo_epi32(a, b);
      four[4 * i + 2 * half + 1] = _mm_unpackhi_epi32(a, b);
    }
  }
  for (int i = 0; i < 4; ++i) {
    Store(out + 2 * i * out_stride, _mm_unpacklo_epi64(four[i], four[4 + i]));
    Store(out + (2 * i + 1) * out_stride,
          _mm_unpackhi_epi64(four[i], four[4 + i]));
  }
}

template <>
constexpr int64_t kTile<4> = 4;

template <>
void Tile<4>(const char* in, int64_t in_stride, char* out, int64_t out_stride) {
  __m128i row[4], pair[4];
  for (int i = 0; i < 4; ++i) row[i] = Load(in + i * in_stride);
  for (int i = 0; i < 2; ++i) {
    pair[2 * i] = _mm_unpacklo_epi32(row[2 * i], row[2 * i + 1]);
    pair[2 * i + 1] = _mm_unpackhi_epi32(row[2 * i], row[2 * i + 1]);
  }
  for (int i = 0; i < 2; ++i) {
    Store(out + 2 * i * out_stride, _mm_unpacklo_epi64(pair[i], pair[2 + i]));
    Store(out + (2 * i + 1) * out_stride,
          _mm_unpackhi_epi64(pair[i], pair[2 + i]));
  }
}
#endif  // __SSE2__

template <int kBytes>
void Transpose(const char* in, int64_t rows, int64_t cols, int64_t in_stride,
               char* out, int64_t out_stride) {
  constexpr int64_t kSide = kTile<kBytes>;
  if (kSide == 1) {
    // A block's rows are a cache line wide on either side.
    constexpr int64_t kBlock = 64 / kBytes;
    for (int64_t col = 0; col < cols; col += kBlock) {
      for (int64_t row = 0; row < rows; row += kBlock) {
        TransposeBlock<kBytes>(
            in + row * in_stride + col * kBytes, std::min(kBlock, rows - row),
            std::min(kBlock, cols - col), in_stride,
            out + col * out_stride + row * kBytes, out_stride);
      }
    }
    return;
  }
  // Along the output's rows, so that its cache lines are filled one after the
  // other.
  const int64_t whole_rows = rows / kSide * kSide;
  const int64_t whole_cols = cols / kSide * kSide;
  for (int64_t col = 0; col < whole_cols; col += kSide) {
    for (int64_t row = 0; row < whole_rows; row += kSide) {
      Tile<kBytes>(in + row * in_stride + col * kBytes, in_stride,
                   out + col * out_stride + row * kBytes, out_stride);
    }
  }
  TransposeBlock<kBytes>(in + whole_rows * in_stride, rows - whole_rows,
                         whole_cols, in_stride, out + whole_rows * kBytes,
                         out_stride);
  TransposeBlock<kBytes>(in + whole_cols * kBytes, rows, cols - whole_cols,
                         in_stride, out + whole_cols * out_stride, out_stride);
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
