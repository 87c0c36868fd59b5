#include "windlass/core/tensor_ops.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "windlass/core/kernels/float_convert.h"
#include "windlass/core/kernels/transpose.h"
#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

using Source = std::shared_ptr<const TensorSource>;

// Bytes of input that an operation holds at a time; a few of these fit a core's
// second-level cache.
constexpr int64_t kScratchBytes = 256 << 10;
constexpr int64_t kCacheLine = 64;

// The end of a piece that starts at `offset` and should hold whole rows of
// `width` bytes up to row `row_end`: fewer, where they would be too many; a
// part of one, where a row alone is too long.
int64_t EndOfRows(int64_t offset, int64_t row_end, int64_t width) {
  const int64_t row = offset / width;
  if (width > kMaxPieceBytes) {
    const int64_t in_row = offset % width;
    return row * width + std::min(width, in_row + kMaxPieceBytes);
  }
  const int64_t most = row + kMaxPieceBytes / width;
  return std::clamp(row_end, row + 1, std::max(most, row + 1)) * width;
}

std::unique_ptr<char[]> Scratch(int64_t bytes) {
  return std::unique_ptr<char[]>(new char[bytes]);
}

absl::Status Invalid(absl::string_view op, const Tensor& tensor,
                     absl::string_view wanted) {
  return absl::InvalidArgumentError(
      absl::StrCat(op, ": found ", tensor.ToString(), ", expected ", wanted));
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

// Cuts any region of a matrix with `width` bytes a row into rectangles.
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

// Computed from another source.
class OneInputSource : public TensorSource {
 public:
  explicit OneInputSource(Source inner) : inner_(std::move(inner)) {}

  bool VisitInputs(Visitor visit) const override {
    return inner_->VisitInputs(visit);
  }

 protected:
  const TensorSource& inner() const { return *inner_; }

 private:
  const Source inner_;
};

class CastSource : public OneInputSource {
 public:
  CastSource(const Tensor& tensor, DType to)
      : OneInputSource(tensor.source()), from_(tensor.dtype()), to_(to) {}

  absl::Status Read(const Region& region, char* to,
                    int64_t to_stride) const override {
    const int64_t in_size = DTypeBytes(from_);
    const int64_t out_size = DTypeBytes(to_);
    // As many rows at once as the scratch holds, or else parts of one row.
    const int64_t row_elements = region.row_bytes / out_size;
    const int64_t at_once =
        std::clamp<int64_t>(kScratchBytes / in_size, 1,
                            std::max<int64_t>(row_elements * region.rows, 1));
    if (row_elements == 0) return absl::OkStatus();
    const int64_t cols = std::min(at_once, row_elements);
    const int64_t rows = std::max<int64_t>(at_once / row_elements, 1);
    const auto scratch = Scratch(rows * cols * in_size);
    for (int64_t row = 0; row < region.rows; row += rows) {
      const int64_t n = std::min(rows, region.rows - row);
      for (int64_t col = 0; col < row_elements; col += cols) {
        const int64_t m = std::min(cols, row_elements - col);
        const Region wanted{
            (region.offset + row * region.stride) / out_size * in_size +
                col * in_size,
            m * in_size, n, region.stride / out_size * in_size};
        WINDLASS_RETURN_IF_ERROR(
            inner().Read(wanted, scratch.get(), m * in_size));
        for (int64_t i = 0; i < n; ++i) {
          ConvertFloats(from_, scratch.get() + i * m * in_size, m, to_,
                        to + (row + i) * to_stride + col * out_size);
        }
      }
    }
    return absl::OkStatus();
  }

  int64_t PieceEnd(int64_t offset) const override {
    const int64_t in_size = DTypeBytes(from_);
    const int64_t out_size = DTypeBytes(to_);
    const int64_t end =
        inner().PieceEnd(offset / out_size * in_size) / in_size * out_size;
    return std::min(end, offset + kMaxPieceBytes);
  }

 private:
  const DType from_;
  const DType to_;
};

// [batch, m, n] to [batch, n, m]; an output row holds m elements.
class TransposeSource : public OneInputSource {
 public:
  TransposeSource(Source inner, int element, int64_t m, int64_t n)
      : OneInputSource(std::move(inner)), element_(element), m_(m), n_(n) {}

  absl::Status Read(const Region& region, char* to,
                    int64_t to_stride) const override {
    return ForEachRectangle(
        region, m_ * element_, to, to_stride,
        [&](const Rectangle& all) -> absl::Status {
          // Rows of one matrix at a time.
          for (int64_t done = 0; done < all.rows;) {
            const int64_t row = (all.row + done) % n_;
            const int64_t rows =
                std::min({n_ - row, all.rows - done, MostRows(all.col_bytes)});
            WINDLASS_RETURN_IF_ERROR(ReadMatrix(
                (all.row + done) / n_,
                Rectangle{row, rows, all.col, all.col_bytes,
                          all.to + done * all.to_stride, all.to_stride}));
            done += rows;
          }
          return absl::OkStatus();
        });
  }

  // As many of a matrix's output rows as a piece holds: the more, the longer
  // are the runs that are read of the input.
  int64_t PieceEnd(int64_t offset) const override {
    const int64_t width = m_ * element_;
    return EndOfRows(offset, (offset / width / n_ + 1) * n_, width);
  }

 private:
  // How many output rows are done at a time: as few as keep a band of the
  // input, a cache line of output wide, within the scratch.
  int64_t MostRows(int64_t col_bytes) const {
    return std::max<int64_t>(kScratchBytes / std::min(col_bytes, kCacheLine),
                             1);
  }

  // Reads bands of the input, each of them in rows as long as the rectangle is
  // high, and transposes them to their columns.
  absl::Status ReadMatrix(int64_t batch, const Rectangle& out) const {
    const int64_t first = out.col / element_;
    const int64_t count = out.col_bytes / element_;
    const int64_t in_bytes = out.rows * element_;
    const int64_t band = std::min(
        count, std::max(kScratchBytes / in_bytes, kCacheLine / element_));
    const auto scratch = Scratch(band * in_bytes);
    for (int64_t done = 0; done < count; done += band) {
      const int64_t rows = std::min(band, count - done);
      const Region wanted{
          ((batch * m_ + first + done) * n_ + out.row) * element_, in_bytes,
          rows, n_ * element_};
      WINDLASS_RETURN_IF_ERROR(inner().Read(wanted, scratch.get(), in_bytes));
      TransposeMatrix(element_, scratch.get(), rows, out.rows, in_bytes,
                      out.to + done * element_, out.to_stride);
    }
    return absl::OkStatus();
  }

  const int element_;
  const int64_t m_;
  const int64_t n_;
};

// Of every `from` bytes of the input, the `width` bytes from `begin` on.
class SliceSource : public OneInputSource {
 public:
  SliceSource(Source inner, int64_t from, int64_t begin, int64_t width)
      : OneInputSource(std::move(inner)),
        from_(from),
        begin_(begin),
        width_(width) {}

  absl::Status Read(const Region& region, char* to,
                    int64_t to_stride) const override {
    return ForEachRectangle(
        region, width_, to, to_stride, [&](const Rectangle& part) {
          return inner().Read(Region{part.row * from_ + begin_ + part.col,
                                     part.col_bytes, part.rows, from_},
                              part.to, part.to_stride);
        });
  }

 private:
  const int64_t from_;
  const int64_t begin_;
  const int64_t width_;
};

// One range of the input's bytes: a slice of the outermost dimension.
class RangeSource : public OneInputSource {
 public:
  RangeSource(Source inner, int64_t begin)
      : OneInputSource(std::move(inner)), begin_(begin) {}

  absl::Status Read(const Region& region, char* to,
                    int64_t to_stride) const override {
    Region shifted = region;
    shifted.offset += begin_;
    return inner().Read(shifted, to, to_stride);
  }

  int64_t PieceEnd(int64_t offset) const override {
    return inner().PieceEnd(begin_ + offset) - begin_;
  }

 private:
  const int64_t begin_;
};

// Inputs one after the other in a row of `width` bytes, row by row. One row
// alone is what a concatenation of outermost dimensions and a stack are.
class ConcatSource : public TensorSource {
 public:
  struct Part {
    Source source;
    int64_t begin;  // of this part in a row
    int64_t width;
  };

  ConcatSource(std::vector<Part> parts, int64_t width, int64_t rows)
      : parts_(std::move(parts)), width_(width), rows_(rows) {}

  absl::Status Read(const Region& region, char* to,
                    int64_t to_stride) const override {
    if (rows_ == 1 && region.bytes() > 0) {
      // A region within one part goes there as it is, strides and all.
      const Part& part = *FindPart(region.offset);
      const int64_t end =
          region.offset + (region.rows - 1) * region.stride + region.row_bytes;
      if (end <= part.begin + part.width) {
        Region shifted = region;
        shifted.offset -= part.begin;
        return part.source->Read(shifted, to, to_stride);
      }
    }
    return ForEachRectangle(
        region, width_, to, to_stride,
        [&](const Rectangle& all) { return ReadParts(all); });
  }

  int64_t PieceEnd(int64_t offset) const override {
    if (rows_ == 1) {
      const Part& part = *FindPart(offset);
      return part.begin +
             std::min(part.width, part.source->PieceEnd(offset - part.begin));
    }
    // Whole rows: as many as the first part computes at once.
    const int64_t row = offset / width_;
    const Part& part = parts_.front();
    return EndOfRows(
        offset, part.source->PieceEnd(row * part.width) / part.width, width_);
  }

  bool VisitInputs(Visitor visit) const override {
    for (const Part& part : parts_) {
      if (!part.source->VisitInputs(visit)) return false;
    }
    return true;
  }

 private:
  std::vector<Part>::const_iterator FindPart(int64_t col) const {
    return std::upper_bound(
               parts_.begin(), parts_.end(), col,
               [](int64_t at, const Part& part) { return at < part.begin; }) -
           1;
  }

  absl::Status ReadParts(const Rectangle& all) const {
    int64_t col = all.col;
    const int64_t end = all.col + all.col_bytes;
    for (auto part = FindPart(col); col < end; ++part) {
      const int64_t bytes = std::min(end, part->begin + part->width) - col;
      WINDLASS_RETURN_IF_ERROR(
          part->source->Read(Region{all.row * part->width + col - part->begin,
                                    bytes, all.rows, part->width},
                             all.to + (col - all.col), all.to_stride));
      col += bytes;
    }
    return absl::OkStatus();
  }

  const std::vector<Part> parts_;
  const int64_t width_;
  const int64_t rows_;
};

class DequantizeSource : public TensorSource {
 public:
  DequantizeSource(const Tensor& weight, const Tensor& scale, int64_t block,
                   DType dtype)
      : weight_(weight), scale_(scale), block_(block), dtype_(dtype) {}

  absl::Status Read(const Region& region, char* to,
                    int64_t to_stride) const override {
    const int64_t out_size = DTypeBytes(dtype_);
    return ForEachRectangle(
        region, weight_.shape()[1] * out_size, to, to_stride,
        [&](const Rectangle& all) -> absl::Status {
          // Tiles that do not cross a block's lower edge share a row of
          // scales.
          const int64_t most_cols = kScratchBytes / out_size;
          for (int64_t done = 0; done < all.rows;) {
            const int64_t row = all.row + done;
            const int64_t rows =
                std::min({all.rows - done, block_ - row % block_,
                          std::max<int64_t>(kScratchBytes / all.col_bytes, 1)});
            const int64_t cols = all.col_bytes / out_size;
            for (int64_t col = 0; col < cols; col += most_cols) {
              WINDLASS_RETURN_IF_ERROR(ReadBand(
                  Rectangle{row, rows, all.col / out_size + col,
                            std::min(most_cols, cols - col),
                            all.to + done * all.to_stride + col * out_size,
                            all.to_stride}));
            }
            done += rows;
          }
          return absl::OkStatus();
        });
  }

  bool VisitInputs(Visitor visit) const override {
    return weight_.source()->VisitInputs(visit) &&
           scale_.source()->VisitInputs(visit);
  }

 private:
  // `band` counts columns in elements.
  absl::Status ReadBand(const Rectangle& band) const {
    const int64_t in_size = DTypeBytes(weight_.dtype());
    const int64_t out_size = DTypeBytes(dtype_);
    const int64_t width = weight_.shape()[1];
    const auto in = Scratch(band.rows * band.col_bytes * in_size);
    WINDLASS_RETURN_IF_ERROR(weight_.source()->Read(
        Region{(band.row * width + band.col) * in_size,
               band.col_bytes * in_size, band.rows, width * in_size},
        in.get(), band.col_bytes * in_size));
    std::vector<float> scales;
    WINDLASS_RETURN_IF_ERROR(
        ReadScales(band.row / block_, band.col / block_,
                   (band.col + band.col_bytes - 1) / block_ + 1, &scales));
    for (int64_t row = 0; row < band.rows; ++row) {
      for (int64_t col = band.col; col < band.col + band.col_bytes;) {
        const int64_t end =
            std::min(band.col + band.col_bytes, (col / block_ + 1) * block_);
        const int64_t at = row * band.col_bytes + col - band.col;
        ScaleFloats(
            weight_.dtype(), in.get() + at * in_size, end - col,
            scales[col / block_ - band.col / block_], dtype_,
            band.to + row * band.to_stride + (col - band.col) * out_size);
        col = end;
      }
    }
    return absl::OkStatus();
  }

  absl::Status ReadScales(int64_t row, int64_t begin, int64_t end,
                          std::vector<float>* scales) const {
    const int64_t size = DTypeBytes(scale_.dtype());
    const auto raw = Scratch((end - begin) * size);
    WINDLASS_RETURN_IF_ERROR(scale_.source()->Read(
        Region{(row * scale_.shape()[1] + begin) * size, (end - begin) * size},
        raw.get(), (end - begin) * size));
    scales->resize(end - begin);
    DecodeToF32(scale_.dtype(), raw.get(), end - begin, scales->data());
    return absl::OkStatus();
  }

  const Tensor weight_;
  const Tensor scale_;
  const int64_t block_;
  const DType dtype_;
};

// Bytes of the dimensions after `dim`, for one element of it.
int64_t InnerBytes(const Tensor& tensor, int dim) {
  int64_t bytes = DTypeBytes(tensor.dtype());
  for (int i = dim + 1; i < tensor.rank(); ++i) bytes *= tensor.shape()[i];
  return bytes;
}

// The part [begin, begin + bytes) of a tensor under a shape of its own, kept
// verbatim where the tensor is.
absl::StatusOr<Tensor> Range(const Tensor& tensor, int64_t begin, Shape shape) {
  WINDLASS_ASSIGN_OR_RETURN(const int64_t bytes,
                            ByteSize(tensor.dtype(), shape));
  if (std::optional<Extent> extent = tensor.source()->Verbatim()) {
    return Tensor::FromExtent(
        tensor.dtype(), std::move(shape),
        Extent{extent->source, extent->offset + begin, bytes});
  }
  return Tensor(tensor.dtype(), std::move(shape),
                std::make_shared<RangeSource>(tensor.source(), begin));
}

absl::Status CheckWholeBytes(absl::string_view op, const Tensor& tensor) {
  if (DTypeBits(tensor.dtype()) % 8 == 0) return absl::OkStatus();
  return Invalid(op, tensor, "a dtype of whole bytes");
}

}  // namespace

absl::StatusOr<Tensor> Cast(const Tensor& tensor, DType dtype) {
  if (tensor.dtype() == dtype) return tensor;
  if (!IsConvertible(tensor.dtype()) || !IsConvertible(dtype)) {
    return Invalid("Cast", tensor,
                   absl::StrCat("a float dtype of whole bytes to cast to ",
                                DTypeName(dtype)));
  }
  return Tensor(dtype, tensor.shape(),
                std::make_shared<CastSource>(tensor, dtype));
}

absl::StatusOr<Tensor> Reshape(const Tensor& tensor, Shape shape) {
  WINDLASS_ASSIGN_OR_RETURN(const int64_t have, ElementCount(tensor.shape()));
  WINDLASS_ASSIGN_OR_RETURN(const int64_t want, ElementCount(shape));
  if (have != want) {
    return Invalid("Reshape", tensor,
                   absl::StrCat(want, " elements for ", ShapeString(shape)));
  }
  return Tensor(tensor.dtype(), std::move(shape), tensor.source());
}

absl::StatusOr<Tensor> Transpose(const Tensor& tensor) {
  WINDLASS_RETURN_IF_ERROR(CheckWholeBytes("Transpose", tensor));
  if (tensor.rank() < 2) {
    return Invalid("Transpose", tensor, "two dimensions or more");
  }
  Shape shape = tensor.shape();
  const int last = tensor.rank() - 1;
  std::swap(shape[last], shape[last - 1]);
  return Tensor(tensor.dtype(), std::move(shape),
                std::make_shared<TransposeSource>(
                    tensor.source(), DTypeBytes(tensor.dtype()),
                    tensor.shape()[last - 1], tensor.shape()[last]));
}

absl::StatusOr<Tensor> Slice(const Tensor& tensor, int dim, int64_t begin,
                             int64_t end) {
  WINDLASS_RETURN_IF_ERROR(CheckWholeBytes("Slice", tensor));
  if (dim < 0 || dim >= tensor.rank() || begin < 0 || begin > end ||
      end > tensor.shape()[dim]) {
    return Invalid(
        "Slice", tensor,
        absl::StrCat("elements [", begin, ", ", end, ") of dimension ", dim));
  }
  if (begin == 0 && end == tensor.shape()[dim]) return tensor;
  Shape shape = tensor.shape();
  shape[dim] = end - begin;
  const int64_t inner = InnerBytes(tensor, dim);
  int64_t outer = 1;
  for (int i = 0; i < dim; ++i) outer *= shape[i];
  if (outer == 1) return Range(tensor, begin * inner, std::move(shape));
  return Tensor(tensor.dtype(), std::move(shape),
                std::make_shared<SliceSource>(
                    tensor.source(), tensor.shape()[dim] * inner, begin * inner,
                    (end - begin) * inner));
}

absl::StatusOr<Tensor> Concat(absl::Span<const Tensor> tensors, int dim) {
  if (tensors.empty()) {
    return absl::InvalidArgumentError("Concat: found no tensor");
  }
  const Tensor& first = tensors.front();
  WINDLASS_RETURN_IF_ERROR(CheckWholeBytes("Concat", first));
  if (dim < 0 || dim >= first.rank()) {
    return Invalid("Concat", first, absl::StrCat("a dimension ", dim));
  }
  Shape shape = first.shape();
  shape[dim] = 0;
  const int64_t inner = InnerBytes(first, dim);
  std::vector<ConcatSource::Part> parts;
  for (const Tensor& tensor : tensors) {
    Shape expected = first.shape();
    if (tensor.rank() == first.rank()) expected[dim] = tensor.shape()[dim];
    if (tensor.dtype() != first.dtype() || tensor.shape() != expected) {
      return Invalid(
          "Concat", tensor,
          absl::StrCat(first.ToString(), " but for dimension ", dim));
    }
    if (tensor.bytes() > 0) {
      parts.push_back(
          {tensor.source(), shape[dim] * inner, tensor.shape()[dim] * inner});
    }
    shape[dim] += tensor.shape()[dim];
  }
  if (parts.size() < 2) {
    const Source source = parts.empty() ? first.source() : parts[0].source;
    return Tensor(first.dtype(), std::move(shape), source);
  }
  const int64_t width = shape[dim] * inner;
  int64_t rows = 1;
  for (int i = 0; i < dim; ++i) rows *= shape[i];
  return Tensor(first.dtype(), std::move(shape),
                std::make_shared<ConcatSource>(std::move(parts), width, rows));
}

absl::StatusOr<Tensor> Stack(absl::Span<const Tensor> tensors) {
  std::vector<Tensor> rows;
  rows.reserve(tensors.size());
  for (const Tensor& tensor : tensors) {
    Shape shape = tensor.shape();
    shape.insert(shape.begin(), 1);
    WINDLASS_ASSIGN_OR_RETURN(Tensor row, Reshape(tensor, std::move(shape)));
    rows.push_back(std::move(row));
  }
  return Concat(rows, 0);
}

absl::StatusOr<Tensor> Select(const Tensor& tensor, int64_t index) {
  if (tensor.rank() == 0) {
    return Invalid("Select", tensor, "one dimension or more");
  }
  WINDLASS_ASSIGN_OR_RETURN(Tensor row, Slice(tensor, 0, index, index + 1));
  return Reshape(row, Shape(row.shape().begin() + 1, row.shape().end()));
}

absl::StatusOr<Tensor> DequantizeBlocks(const Tensor& weight,
                                        const Tensor& scale, int64_t block,
                                        DType dtype) {
  for (const Tensor* tensor : {&weight, &scale}) {
    if (tensor->rank() != 2 || !IsConvertible(tensor->dtype())) {
      return Invalid("DequantizeBlocks", *tensor,
                     "a matrix of a float dtype of whole bytes");
    }
  }
  if (!IsConvertible(dtype) || block < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("DequantizeBlocks: found dtype ", DTypeName(dtype),
                     " and block ", block));
  }
  const Shape expected = {(weight.shape()[0] + block - 1) / block,
                          (weight.shape()[1] + block - 1) / block};
  if (scale.shape() != expected) {
    return Invalid("DequantizeBlocks", scale,
                   absl::StrCat("scales ", ShapeString(expected), " for ",
                                weight.ToString()));
  }
  return Tensor(
      dtype, weight.shape(),
      std::make_shared<DequantizeSource>(weight, scale, block, dtype));
}

}  // namespace windlass
