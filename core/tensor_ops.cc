#include "windlass/core/tensor_ops.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "windlass/core/dequantize.h"
#include "windlass/core/kernels/float_convert.h"
#include "windlass/core/kernels/transpose.h"
#include "windlass/core/rectangle.h"
#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

using Source = std::shared_ptr<const TensorSource>;

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

absl::Status Invalid(absl::string_view op, const Tensor& tensor,
                     absl::string_view wanted) {
  return absl::InvalidArgumentError(
      absl::StrCat(op, ": found ", tensor.ToString(), ", expected ", wanted));
}

// Computed from another source.
class OneInputSource : public TensorSource {
 public:
  explicit OneInputSource(Source inner) : inner_(std::move(inner)) {}

  bool VisitInputs(Visitor visit) const override {
    return inner_->VisitInputs(visit);
  }

  const Source& input() const { return inner_; }

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

// Codes of F8_E4M3 that all have to be numbers.
class NumbersSource : public OneInputSource {
 public:
  using OneInputSource::OneInputSource;

  absl::Status Read(const Region& region, char* to,
                    int64_t to_stride) const override {
    WINDLASS_RETURN_IF_ERROR(inner().Read(region, to, to_stride));
    for (int64_t row = 0; row < region.rows; ++row) {
      const char* const codes = to + row * to_stride;
      if (std::any_of(codes, codes + region.row_bytes,
                      [](char code) { return (code & 0x7F) == 0x7F; })) {
        return absl::InvalidArgumentError(
            "CastToFp8: found an element that is NaN or above 464, expected "
            "numbers that F8_E4M3 has");
      }
    }
    return absl::OkStatus();
  }

  int64_t PieceEnd(int64_t offset) const override {
    return inner().PieceEnd(offset);
  }
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

  // Whether its matrices are [rows, cols].
  bool Gives(int64_t rows, int64_t cols) const {
    return rows == n_ && cols == m_;
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
    if (rows_ == 1 && region.bytes() > 0)
      return ReadRuns(region, to, to_stride);
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

  const std::vector<Part>& parts() const { return parts_; }
  int64_t rows() const { return rows_; }

  bool VisitInputs(Visitor visit) const override {
    for (const Part& part : parts_) {
      if (!part.source->VisitInputs(visit)) return false;
    }
    return true;
  }

  std::vector<Extent> VerbatimRuns() const override {
    std::vector<Extent> all;
    if (rows_ != 1) return all;
    for (const Part& part : parts_) {
      const std::vector<Extent> runs = part.source->VerbatimRuns();
      if (runs.empty()) return {};
      all.insert(all.end(), runs.begin(), runs.end());
    }
    return all;
  }

 private:
  std::vector<Part>::const_iterator FindPart(int64_t col) const {
    return std::upper_bound(
               parts_.begin(), parts_.end(), col,
               [](int64_t at, const Part& part) { return at < part.begin; }) -
           1;
  }

  // Of one row: the runs that lie within one part go there together.
  absl::Status ReadRuns(Region rest, char* to, int64_t to_stride) const {
    while (rest.rows > 0) {
      const Part& part = *FindPart(rest.offset);
      Region runs = rest;
      runs.offset -= part.begin;
      const int64_t room = part.width - runs.offset - rest.row_bytes;
      if (room < 0) {
        WINDLASS_RETURN_IF_ERROR(
            ReadParts({0, 1, rest.offset, rest.row_bytes, to, to_stride}));
        runs.rows = 1;
      } else {
        if (rest.rows > 1) {
          runs.rows = std::min(rest.rows, room / rest.stride + 1);
        }
        WINDLASS_RETURN_IF_ERROR(part.source->Read(runs, to, to_stride));
      }
      rest.rows -= runs.rows;
      rest.offset += runs.rows * rest.stride;
      to += runs.rows * to_stride;
    }
    return absl::OkStatus();
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

// One element over and over.
class FillSource : public TensorSource {
 public:
  explicit FillSource(std::string element) : element_(std::move(element)) {}

  absl::Status Read(const Region& region, char* to,
                    int64_t to_stride) const override {
    const int64_t size = element_.size();
    for (int64_t row = 0; row < region.rows; ++row) {
      char* const out = to + row * to_stride;
      for (int64_t i = 0; i < region.row_bytes; i += size) {
        std::memcpy(out + i, element_.data(), size);
      }
    }
    return absl::OkStatus();
  }

  bool VisitInputs(Visitor) const override { return true; }

 private:
  const std::string element_;
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

absl::Status CheckHalves(absl::string_view op, const Tensor& tensor, int dim) {
  WINDLASS_RETURN_IF_ERROR(CheckWholeBytes(op, tensor));
  if (dim >= 0 && dim < tensor.rank() && tensor.shape()[dim] % 2 == 0) {
    return absl::OkStatus();
  }
  return Invalid(op, tensor,
                 absl::StrCat("an even number of elements in dimension ", dim));
}

// The tensor that `tensor` is the transpose of, or none.
std::optional<Tensor> TransposedInput(const Tensor& tensor) {
  const auto* source =
      dynamic_cast<const TransposeSource*>(tensor.source().get());
  Shape shape = tensor.shape();
  const int last = tensor.rank() - 1;
  // What was reshaped has the same source.
  if (source == nullptr || last < 1 ||
      !source->Gives(shape[last - 1], shape[last])) {
    return std::nullopt;
  }
  std::swap(shape[last], shape[last - 1]);
  return Tensor(tensor.dtype(), std::move(shape), source->input());
}

}  // namespace

absl::StatusOr<Tensor> Cast(const Tensor& tensor, DType dtype) {
  if (tensor.dtype() == dtype) return tensor;
  if (!IsConvertible(tensor.dtype()) || !IsConvertible(dtype)) {
    return Invalid("Cast", tensor,
                   absl::StrCat("a float dtype of whole bytes to cast to ",
                                DTypeName(dtype)));
  }
  // Below a transpose, which reads long runs where it is asked for many rows: a
  // cast asks for few.
  if (const std::optional<Tensor> turned = TransposedInput(tensor)) {
    WINDLASS_ASSIGN_OR_RETURN(const Tensor cast, Cast(*turned, dtype));
    return Transpose(cast);
  }
  return Tensor(dtype, tensor.shape(),
                std::make_shared<CastSource>(tensor, dtype));
}

absl::StatusOr<Tensor> CastToFp8(const Tensor& tensor) {
  WINDLASS_ASSIGN_OR_RETURN(const Tensor codes, Cast(tensor, DType::kF8E4M3));
  return Tensor(codes.dtype(), codes.shape(),
                std::make_shared<NumbersSource>(codes.source()));
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

namespace {

// Parts that are one row of parts themselves are replaced by those.
void Flatten(std::vector<ConcatSource::Part>* parts) {
  std::vector<ConcatSource::Part> flat;
  for (ConcatSource::Part& part : *parts) {
    const auto* inner = dynamic_cast<const ConcatSource*>(part.source.get());
    if (inner == nullptr || inner->rows() != 1) {
      flat.push_back(std::move(part));
      continue;
    }
    for (ConcatSource::Part one : inner->parts()) {
      one.begin += part.begin;
      flat.push_back(std::move(one));
    }
  }
  flat.shrink_to_fit();
  *parts = std::move(flat);
}

}  // namespace

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
  if (rows == 1) Flatten(&parts);
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

absl::StatusOr<Tensor> Fill(DType dtype, Shape shape, double value) {
  WINDLASS_RETURN_IF_ERROR(ByteSize(dtype, shape).status());
  std::string element(DTypeBytes(dtype), '\0');
  const float number = static_cast<float>(value);
  if (dtype == DType::kU8 && value >= 0 && value <= 255 &&
      value == static_cast<uint8_t>(value)) {
    element[0] = static_cast<char>(static_cast<uint8_t>(value));
  } else if (IsConvertible(dtype)) {
    EncodeFromF32(dtype, &number, 1, &element[0]);
  } else if (element.empty() || value != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "Fill: found ", value, " for ", DTypeName(dtype), " ",
        ShapeString(shape), ", expected a float dtype, a byte or zero"));
  }
  return Tensor(dtype, std::move(shape),
                std::make_shared<FillSource>(std::move(element)));
}

absl::StatusOr<Tensor> Pad(const Tensor& tensor, int dim, int64_t size) {
  if (dim < 0 || dim >= tensor.rank() || size < tensor.shape()[dim]) {
    return Invalid("Pad", tensor,
                   absl::StrCat(size, " elements at most in dimension ", dim));
  }
  if (size == tensor.shape()[dim]) return tensor;
  Shape rest = tensor.shape();
  rest[dim] = size - rest[dim];
  WINDLASS_ASSIGN_OR_RETURN(const Tensor zeros,
                            Fill(tensor.dtype(), std::move(rest), 0));
  return Concat({tensor, zeros}, dim);
}

absl::StatusOr<Tensor> Interleave(const Tensor& tensor, int dim) {
  WINDLASS_RETURN_IF_ERROR(CheckHalves("Interleave", tensor, dim));
  const int64_t half = tensor.shape()[dim] / 2;
  // [n, 1] beside [n, 1] is [n, 2].
  std::vector<Tensor> halves;
  for (int64_t begin : {int64_t{0}, half}) {
    WINDLASS_ASSIGN_OR_RETURN(const Tensor part,
                              Slice(tensor, dim, begin, begin + half));
    Shape shape = part.shape();
    shape.insert(shape.begin() + dim + 1, 1);
    WINDLASS_ASSIGN_OR_RETURN(halves.emplace_back(),
                              Reshape(part, std::move(shape)));
  }
  WINDLASS_ASSIGN_OR_RETURN(const Tensor pairs, Concat(halves, dim + 1));
  return Reshape(pairs, tensor.shape());
}

absl::StatusOr<Tensor> Deinterleave(const Tensor& tensor, int dim) {
  WINDLASS_RETURN_IF_ERROR(CheckHalves("Deinterleave", tensor, dim));
  Shape pairs = tensor.shape();
  pairs[dim] /= 2;
  pairs.insert(pairs.begin() + dim + 1, 2);
  WINDLASS_ASSIGN_OR_RETURN(const Tensor all,
                            Reshape(tensor, std::move(pairs)));
  std::vector<Tensor> halves;
  for (int64_t i = 0; i < 2; ++i) {
    WINDLASS_ASSIGN_OR_RETURN(halves.emplace_back(),
                              Slice(all, dim + 1, i, i + 1));
  }
  WINDLASS_ASSIGN_OR_RETURN(const Tensor both, Concat(halves, dim));
  return Reshape(both, tensor.shape());
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
  if (block < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("DequantizeBlocks: found block ", block));
  }
  return Dequantize(weight, scale, BlockFormat(block), dtype);
}

}  // namespace windlass
