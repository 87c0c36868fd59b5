#include "windlass/core/tensor.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

// Runs at least this far apart are read one by one; those that lie closer
// together are read at once with what lies between, which costs less than as
// many calls.
constexpr int64_t kMinGapBytes = 2048;
constexpr int64_t kSpanBytes = 64 << 10;

class ExtentSource : public TensorSource {
 public:
  explicit ExtentSource(Extent extent) : extent_(std::move(extent)) {}

  absl::Status Read(const Region& region, char* to,
                    int64_t to_stride) const override {
    const bool dense = region.contiguous() &&
                       (region.rows == 1 || to_stride == region.row_bytes);
    if (dense) return ReadAt(region.offset, to, region.bytes());
    if (region.row_bytes >= kSpanBytes ||
        region.stride - region.row_bytes >= kMinGapBytes) {
      for (int64_t row = 0; row < region.rows; ++row) {
        WINDLASS_RETURN_IF_ERROR(ReadAt(region.offset + row * region.stride,
                                        to + row * to_stride,
                                        region.row_bytes));
      }
      return absl::OkStatus();
    }
    return ReadSpans(region, to, to_stride);
  }

  std::optional<Extent> Verbatim() const override { return extent_; }
  bool VisitInputs(Visitor visit) const override { return visit(extent_); }

 private:
  absl::Status ReadAt(int64_t offset, char* to, int64_t size) const {
    return extent_.source->ReadAt(extent_.offset + offset,
                                  absl::MakeSpan(to, size));
  }

  // Reads several runs and what lies between them at a time.
  absl::Status ReadSpans(const Region& region, char* to,
                         int64_t to_stride) const {
    const int64_t rows_at_once =
        std::clamp<int64_t>(kSpanBytes / region.stride, 1, region.rows);
    std::vector<char> span((rows_at_once - 1) * region.stride +
                           region.row_bytes);
    for (int64_t first = 0; first < region.rows; first += rows_at_once) {
      const int64_t rows = std::min(rows_at_once, region.rows - first);
      WINDLASS_RETURN_IF_ERROR(
          ReadAt(region.offset + first * region.stride, span.data(),
                 (rows - 1) * region.stride + region.row_bytes));
      for (int64_t row = 0; row < rows; ++row) {
        std::memcpy(to + (first + row) * to_stride,
                    span.data() + row * region.stride, region.row_bytes);
      }
    }
    return absl::OkStatus();
  }

  const Extent extent_;
};

}  // namespace

int64_t TensorSource::PieceEnd(int64_t offset) const {
  return (offset / kPieceBytes + 1) * kPieceBytes;
}

Tensor::Tensor(DType dtype, Shape shape,
               std::shared_ptr<const TensorSource> source)
    : dtype_(dtype),
      bytes_(ByteSize(dtype, shape).value()),
      shape_(std::move(shape)),
      source_(std::move(source)) {}

absl::StatusOr<Tensor> Tensor::FromExtent(DType dtype, Shape shape,
                                          Extent extent) {
  WINDLASS_ASSIGN_OR_RETURN(const int64_t bytes, ByteSize(dtype, shape));
  if (bytes != extent.size) {
    return absl::InvalidArgumentError(
        absl::StrCat("found ", extent.size, " bytes, ", DTypeName(dtype), " ",
                     ShapeString(shape), " needs ", bytes));
  }
  return Tensor(dtype, std::move(shape),
                std::make_shared<ExtentSource>(std::move(extent)));
}

absl::StatusOr<Tensor> Tensor::FromBytes(DType dtype, Shape shape,
                                         std::string bytes) {
  const int64_t size = bytes.size();
  return FromExtent(
      dtype, std::move(shape),
      Extent{std::make_shared<MemorySource>(std::move(bytes)), 0, size});
}

std::string Tensor::ToString() const {
  return absl::StrCat(DTypeName(dtype_), " ", ShapeString(shape_));
}

absl::StatusOr<std::string> ReadAll(const Tensor& tensor) {
  std::string bytes(tensor.bytes(), '\0');
  for (int64_t begin = 0; begin < tensor.bytes();) {
    const int64_t end =
        std::min(tensor.source()->PieceEnd(begin), tensor.bytes());
    WINDLASS_RETURN_IF_ERROR(tensor.source()->Read(Region{begin, end - begin},
                                                   &bytes[begin], end - begin));
    begin = end;
  }
  return bytes;
}

}  // namespace windlass
