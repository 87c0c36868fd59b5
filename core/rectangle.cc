#include "windlass/core/rectangle.h"

#include <algorithm>

#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

// Cuts a byte range of a matrix with `width` bytes a row into a part of a row,
// whole rows, and a part of a row.
absl::Status ForEachRectangleOfRange(int64_t offset, int64_t size,
                                     int64_t width, char* to, RectangleFn fn) {
  while (size > 0) {
    const int64_t row = offset / width;
    const int64_t col = offset % width;
    const bool whole = col == 0 && size >= width;
    const int64_t rows = whole ? size / width : 1;
    const int64_t col_bytes = whole ? width : std::min(width - col, size);
    WINDLASS_RETURN_IF_ERROR(
        fn(Rectangle{row, rows, col, col_bytes, to, col_bytes}));
    offset += rows * col_bytes;
    size -= rows * col_bytes;
    to += rows * col_bytes;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ForEachRectangle(const Region& region, int64_t width, char* to,
                              int64_t to_stride, RectangleFn fn) {
  if (region.bytes() == 0) return absl::OkStatus();
  const int64_t col = region.offset % width;
  if (region.rows == 1
          ? col + region.row_bytes <= width
          : region.stride == width && col + region.row_bytes <= width) {
    return fn(Rectangle{region.offset / width, region.rows, col,
                        region.row_bytes, to, to_stride});
  }
  if (region.contiguous() &&
      (region.rows == 1 || to_stride == region.row_bytes)) {
    return ForEachRectangleOfRange(region.offset, region.bytes(), width, to,
                                   fn);
  }
  for (int64_t row = 0; row < region.rows; ++row) {
    WINDLASS_RETURN_IF_ERROR(ForEachRectangleOfRange(
        region.offset + row * region.stride, region.row_bytes, width,
        to + row * to_stride, fn));
  }
  return absl::OkStatus();
}

}  // namespace windlass
