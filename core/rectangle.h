// How operations walk over the regions that they are asked for.

#ifndef WINDLASS_CORE_RECTANGLE_H_
#define WINDLASS_CORE_RECTANGLE_H_

#include <cstdint>
#include <memory>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "windlass/core/tensor.h"

namespace windlass {

// Bytes of input that an operation holds at a time; a few of these fit a core's
// second-level cache.
inline constexpr int64_t kScratchBytes = 256 << 10;

inline std::unique_ptr<char[]> Scratch(int64_t bytes) {
  return std::unique_ptr<char[]>(new char[bytes]);
}

// Columns [col, col + col_bytes) of rows [row, row + rows) of a row-major
// matrix, and where they go.
struct Rectangle {
  int64_t row;
  int64_t rows;
  int64_t col;
  int64_t col_bytes;
  char* to;
  int64_t to_stride;
};

using RectangleFn = absl::FunctionRef<absl::Status(const Rectangle&)>;

// Cuts any region of a matrix with `width` bytes a row into rectangles.
absl::Status ForEachRectangle(const Region& region, int64_t width, char* to,
                              int64_t to_stride, RectangleFn fn);

}  // namespace windlass

#endif  // WINDLASS_CORE_RECTANGLE_H_
