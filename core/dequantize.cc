#include "windlass/core/dequantize.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "windlass/core/kernels/float_convert.h"
#include "windlass/core/rectangle.h"
#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

// Elements that are unpacked at a time.
constexpr int64_t kTileElements = kScratchBytes / 4;

// Elements of four bits in one of the codes' elements; 1 for floats.
int64_t PackedIn(ElementCode element, DType dtype) {
  return element == ElementCode::kFloat ? 1 : DTypeBits(dtype) / 4;
}

bool MayHold(ElementCode element, DType dtype) {
  if (element == ElementCode::kFloat) return IsConvertible(dtype);
  return dtype == DType::kU8 || dtype == DType::kI8 || dtype == DType::kI32 ||
         dtype == DType::kF4;
}

bool MayHold(ScaleCode scale, DType dtype) {
  if (scale == ScaleCode::kFloat) return IsConvertible(dtype);
  return dtype == DType::kU8 || dtype == DType::kF8E8M0;
}

// A shape's dimensions that are not 1.
Shape WithoutOnes(const Shape& shape) {
  Shape kept;
  for (int64_t extent : shape) {
    if (extent != 1) kept.push_back(extent);
  }
  return kept;
}

// The scales of a tensor's rows, which are the indices of all its dimensions
// but the last.
class Grid {
 public:
  Grid(const Shape& shape, const Shape& blocks)
      : shape_(shape), blocks_(blocks) {}

  // The row of scales that a row of elements has. From a row to the next it
  // stays, or is the next, or goes back.
  int64_t RowOf(int64_t row) const {
    int64_t scale_row = 0;
    int64_t size = 1;
    for (size_t dim = shape_.size() - 1; dim-- > 0;) {
      scale_row += row % shape_[dim] / blocks_[dim] * size;
      size *= (shape_[dim] + blocks_[dim] - 1) / blocks_[dim];
      row /= shape_[dim];
    }
    return scale_row;
  }

  int64_t cols() const { return shape_.back(); }
  int64_t block() const { return blocks_.back(); }
  int64_t scale_cols() const { return (cols() + block() - 1) / block(); }

 private:
  const Shape shape_;
  const Shape blocks_;
};

class DequantizeSource : public TensorSource {
 public:
  DequantizeSource(const Tensor& codes, const Tensor& scales, ElementCode code,
                   ScaleCode scale, DType dtype, Grid grid)
      : codes_{codes.source(), codes.dtype()},
        scales_{scales.source(), scales.dtype()},
        code_(code),
        scale_(scale),
        dtype_(dtype),
        grid_(std::move(grid)),
        packed_(PackedIn(code, codes.dtype())) {}

  absl::Status Read(const Region& region, char* to,
                    int64_t to_stride) const override {
    const int64_t size = DTypeBytes(dtype_);
    return ForEachRectangle(
        region, grid_.cols() * size, to, to_stride,
        [&](const Rectangle& all) -> absl::Status {
          const int64_t all_cols = all.col_bytes / size;
          const int64_t most_rows =
              std::max<int64_t>(kTileElements / all_cols, 1);
          for (int64_t done = 0; done < all.rows;) {
            const int64_t rows = RowsInOrder(
                all.row + done, std::min(most_rows, all.rows - done));
            for (int64_t col = 0; col < all_cols; col += kTileElements) {
              WINDLASS_RETURN_IF_ERROR(ReadTile(
                  all.row + done, rows, all.col / size + col,
                  std::min(kTileElements, all_cols - col),
                  all.to + done * all.to_stride + col * size, all.to_stride));
            }
            done += rows;
          }
          return absl::OkStatus();
        });
  }

  bool VisitInputs(Visitor visit) const override {
    return codes_.source->VisitInputs(visit) &&
           scales_.source->VisitInputs(visit);
  }

 private:
  // How many of `most` rows have scales that lie one after the other.
  int64_t RowsInOrder(int64_t row, int64_t most) const {
    int64_t last = grid_.RowOf(row);
    for (int64_t i = 1; i < most; ++i) {
      const int64_t next = grid_.RowOf(row + i);
      if (next < last) return i;
      last = next;
    }
    return most;
  }

  absl::Status ReadTile(int64_t row, int64_t rows, int64_t col, int64_t cols,
                        char* to, int64_t to_stride) const {
    // Whole elements of the codes' dtype, and whole bytes.
    const int64_t unit = std::max<int64_t>(packed_, 2);
    const int64_t bits =
        code_ == ElementCode::kFloat ? DTypeBits(codes_.dtype) : 4;
    const int64_t begin = col / unit * unit;
    const int64_t end =
        std::min((col + cols + unit - 1) / unit * unit, grid_.cols());
    const int64_t width = (end - begin) * bits / 8;
    const int64_t stride = grid_.cols() * bits / 8;
    const auto codes = Scratch(rows * width);
    WINDLASS_RETURN_IF_ERROR(codes_.source->Read(
        Region{row * stride + begin * bits / 8, width, rows, stride},
        codes.get(), width));

    const int64_t first_scale = grid_.RowOf(row);
    const int64_t scale_rows = grid_.RowOf(row + rows - 1) - first_scale + 1;
    const int64_t first_block = col / grid_.block();
    const int64_t blocks = (col + cols - 1) / grid_.block() + 1 - first_block;
    std::vector<float> scales(scale_rows * blocks);
    WINDLASS_RETURN_IF_ERROR(
        ReadScales(first_scale, scale_rows, first_block, blocks, &scales));

    for (int64_t i = 0; i < rows; ++i) {
      const int64_t scale_row = grid_.RowOf(row + i) - first_scale;
      UnpackRow(code_, codes_.dtype, codes.get() + i * width, col - begin, cols,
                &scales[scale_row * blocks], col % grid_.block(), grid_.block(),
                dtype_, to + i * to_stride);
    }
    return absl::OkStatus();
  }

  absl::Status ReadScales(int64_t row, int64_t rows, int64_t col, int64_t cols,
                          std::vector<float>* scales) const {
    const int64_t size = DTypeBytes(scales_.dtype);
    const int64_t width = grid_.scale_cols() * size;
    const auto raw = Scratch(rows * cols * size);
    WINDLASS_RETURN_IF_ERROR(scales_.source->Read(
        Region{row * width + col * size, cols * size, rows, width}, raw.get(),
        cols * size));
    if (scale_ == ScaleCode::kFloat) {
      DecodeToF32(scales_.dtype, raw.get(), rows * cols, scales->data());
      return absl::OkStatus();
    }
    DecodeExponents(reinterpret_cast<const uint8_t*>(raw.get()), rows * cols,
                    scale_ == ScaleCode::kExponentOrZero, scales->data());
    if (scale_ == ScaleCode::kExponentInTarget) RoundToTarget(scales);
    return absl::OkStatus();
  }

  void RoundToTarget(std::vector<float>* scales) const {
    std::string rounded(scales->size() * DTypeBytes(dtype_), '\0');
    EncodeFromF32(dtype_, scales->data(), scales->size(), &rounded[0]);
    DecodeToF32(dtype_, rounded.data(), scales->size(), scales->data());
  }

  // A tensor but for its shape, which the grid has: a model has 70,000 of
  // these.
  struct Input {
    std::shared_ptr<const TensorSource> source;
    DType dtype;
  };

  const Input codes_;
  const Input scales_;
  const ElementCode code_;
  const ScaleCode scale_;
  const DType dtype_;
  const Grid grid_;
  const int64_t packed_;
};

class ExpectShapeSource : public TensorSource {
 public:
  ExpectShapeSource(const Tensor& tensor, const Tensor& shape)
      : inner_(tensor.source()),
        expected_(tensor.shape()),
        shape_(shape.source()),
        dtype_(shape.dtype()) {}

  absl::Status Read(const Region& region, char* to,
                    int64_t to_stride) const override {
    if (!agreed_.load(std::memory_order_relaxed)) {
      WINDLASS_RETURN_IF_ERROR(Check());
      agreed_.store(true, std::memory_order_relaxed);
    }
    return inner_->Read(region, to, to_stride);
  }

  int64_t PieceEnd(int64_t offset) const override {
    return inner_->PieceEnd(offset);
  }

  bool VisitInputs(Visitor visit) const override {
    return inner_->VisitInputs(visit) && shape_->VisitInputs(visit);
  }

 private:
  absl::Status Check() const {
    const int64_t size = DTypeBytes(dtype_);
    std::string bytes(expected_.size() * size, '\0');
    WINDLASS_RETURN_IF_ERROR(
        shape_->Read(Region{0, static_cast<int64_t>(bytes.size())}, &bytes[0],
                     bytes.size()));
    Shape found;
    for (size_t i = 0; i < expected_.size(); ++i) {
      int64_t wide = 0;
      int32_t narrow = 0;
      std::memcpy(size == 8 ? static_cast<void*>(&wide) : &narrow,
                  &bytes[i * size], size);
      found.push_back(size == 8 ? wide : narrow);
    }
    if (found == expected_) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(
        "a packed weight of the shape ", ShapeString(expected_), ": found ",
        ShapeString(found), " in the tensor that says its shape"));
  }

  const std::shared_ptr<const TensorSource> inner_;
  const Shape expected_;
  const std::shared_ptr<const TensorSource> shape_;
  const DType dtype_;
  mutable std::atomic<bool> agreed_{false};
};

constexpr int64_t kInt4Group = 32;

// What is read of a weight at a time: in as many rows as a transpose needs to
// read its input in long runs.
constexpr int64_t kInt4TileBytes = int64_t{1} << 20;

// One of the two tensors that QuantizeInt4 gives; each reads the weight.
class QuantizeInt4Source : public TensorSource {
 public:
  // `group` elements of a row have a scale.
  QuantizeInt4Source(const Tensor& weight, int64_t group, bool scales)
      : weight_(weight),
        group_(group),
        scales_(scales),
        from_bytes_(group * DTypeBytes(weight.dtype())),
        to_bytes_(scales ? 2 : group / 2) {}

  absl::Status Read(const Region& region, char* to,
                    int64_t to_stride) const override {
    const int64_t width = weight_.shape().back() / group_ * to_bytes_;
    return ForEachRectangle(
        region, width, to, to_stride,
        [&](const Rectangle& all) -> absl::Status {
          const int64_t begin = all.col / to_bytes_;
          const int64_t end =
              (all.col + all.col_bytes + to_bytes_ - 1) / to_bytes_;
          const int64_t rows = std::min(
              all.rows, std::max<int64_t>(kInt4TileBytes / from_bytes_, 1));
          const int64_t groups =
              std::clamp<int64_t>(kInt4TileBytes / (rows * from_bytes_), 1,
                                  kTileElements / kInt4Group);
          for (int64_t row = 0; row < all.rows; row += rows) {
            for (int64_t group = begin; group < end; group += groups) {
              WINDLASS_RETURN_IF_ERROR(
                  ReadTile(row, std::min(rows, all.rows - row), group,
                           std::min(groups, end - group), all));
            }
          }
          return absl::OkStatus();
        });
  }

  int64_t PieceEnd(int64_t offset) const override {
    const int64_t group = offset / to_bytes_;
    const int64_t end = weight_.source()->PieceEnd(group * from_bytes_);
    return std::max(end / from_bytes_, group + 1) * to_bytes_;
  }

  bool VisitInputs(Visitor visit) const override {
    return weight_.source()->VisitInputs(visit);
  }

 private:
  // Of rows of `all`, these groups.
  absl::Status ReadTile(int64_t row, int64_t rows, int64_t group,
                        int64_t groups, const Rectangle& all) const {
    const int64_t width = weight_.shape().back() / group_ * from_bytes_;
    const int64_t bytes = groups * from_bytes_;
    const auto raw = Scratch(rows * bytes);
    WINDLASS_RETURN_IF_ERROR(weight_.source()->Read(
        Region{(all.row + row) * width + group * from_bytes_, bytes, rows,
               width},
        raw.get(), bytes));
    // The first and the last may be wanted in part.
    const int64_t first = std::max(group * to_bytes_, all.col);
    const int64_t last =
        std::min((group + groups) * to_bytes_, all.col + all.col_bytes);
    std::vector<char> made(groups * to_bytes_);
    for (int64_t i = 0; i < rows; ++i) {
      WINDLASS_RETURN_IF_ERROR(
          MakeGroups(raw.get() + i * bytes, groups, made.data()));
      std::copy_n(made.data() + first - group * to_bytes_, last - first,
                  all.to + (row + i) * all.to_stride + first - all.col);
    }
    return absl::OkStatus();
  }

  absl::Status MakeGroups(const char* raw, int64_t groups, char* out) const {
    // Short groups are filled up with zeros, which change no scale.
    const bool whole = group_ == kInt4Group;
    std::vector<float> values(groups * kInt4Group);
    for (int64_t i = 0; i < (whole ? 1 : groups); ++i) {
      DecodeToF32(weight_.dtype(), raw + i * from_bytes_,
                  whole ? groups * group_ : group_, &values[i * kInt4Group]);
    }
    const bool direct = whole && !scales_;
    std::vector<char> packed(direct ? 0 : groups * kInt4Group / 2);
    std::vector<float> scales(groups);
    if (!PackInt4(values.data(), groups, direct ? out : packed.data(),
                  scales.data())) {
      return absl::InvalidArgumentError(
          "QuantizeInt4: found a weight that is NaN or too large, expected "
          "numbers whose scale fits F16");
    }
    if (scales_) {
      EncodeFromF32(DType::kF16, scales.data(), groups, out);
    } else if (!direct) {
      for (int64_t i = 0; i < groups; ++i) {
        std::copy_n(&packed[i * kInt4Group / 2], to_bytes_,
                    out + i * to_bytes_);
      }
    }
    return absl::OkStatus();
  }

  const Tensor weight_;
  const int64_t group_;
  const bool scales_;
  const int64_t from_bytes_;  // of a group
  const int64_t to_bytes_;
};

bool IsPromotable(DType dtype) {
  return dtype == DType::kBF16 || dtype == DType::kF16 || dtype == DType::kF32;
}

}  // namespace

PackedFormat BlockFormat(int64_t block) {
  return {ElementCode::kFloat, ScaleCode::kFloat, {block, block}};
}

PackedFormat PerTensorFormat(int rank) {
  return {ElementCode::kFloat, ScaleCode::kFloat, Shape(rank, kWholeDimension)};
}

PackedFormat PerExpertFormat(int rank) {
  return {ElementCode::kFloat, ScaleCode::kFloat,
          Shape(std::max(rank - 1, 0), kWholeDimension)};
}

PackedFormat MxFp8Format() {
  return {ElementCode::kFloat, ScaleCode::kExponent, {32}};
}

PackedFormat MxFp4Format() {
  return {ElementCode::kFp4, ScaleCode::kExponentInTarget, {32}};
}

PackedFormat DeepSeekFp4Format() {
  return {ElementCode::kFp4PositiveZero, ScaleCode::kExponentOrZero, {32}};
}

PackedFormat Int4Format(int64_t group) {
  return {ElementCode::kInt4, ScaleCode::kFloat, {group}};
}

absl::StatusOr<Tensor> Dequantize(const Tensor& codes, const Tensor& scales,
                                  const PackedFormat& format, DType dtype) {
  const auto refuse = [](const Tensor& found, const auto&... expected) {
    return absl::InvalidArgumentError(absl::StrCat(
        "Dequantize: found ", found.ToString(), ", expected ", expected...));
  };
  if (!IsConvertible(dtype)) {
    return absl::InvalidArgumentError(
        absl::StrCat("Dequantize: found dtype ", DTypeName(dtype),
                     " for the result, expected a float of whole bytes"));
  }
  if (!MayHold(format.element, codes.dtype())) {
    return refuse(codes, "a dtype that holds such codes");
  }
  if (!MayHold(format.scale, scales.dtype())) {
    return refuse(scales, "a dtype that holds such scales");
  }
  Shape shape = codes.shape();
  const size_t blocked = format.block.size();
  if (blocked > shape.size()) {
    return refuse(codes, blocked, " dimensions or more");
  }
  if (shape.empty()) shape.push_back(1);  // computed as a row of one element
  const int64_t packed = PackedIn(format.element, codes.dtype());
  if (shape.back() > std::numeric_limits<int64_t>::max() / packed) {
    return refuse(codes, "fewer elements");
  }
  shape.back() *= packed;
  if (format.element != ElementCode::kFloat && shape.back() % 2 != 0) {
    return refuse(codes, "rows of whole bytes");
  }
  Shape blocks(shape.size(), 1);
  Shape grid;
  for (size_t dim = 0; dim < shape.size(); ++dim) {
    const size_t from_end = shape.size() - dim;
    if (from_end <= blocked) blocks[dim] = format.block[blocked - from_end];
    if (blocks[dim] < 0) {
      return absl::InvalidArgumentError(absl::StrCat(
          "Dequantize: found blocks of ", ShapeString(format.block)));
    }
    if (blocks[dim] == kWholeDimension) {
      blocks[dim] = std::max<int64_t>(shape[dim], 1);
      grid.push_back(1);
    } else {
      grid.push_back(shape[dim] / blocks[dim] +
                     (shape[dim] % blocks[dim] != 0 ? 1 : 0));
    }
  }
  if (WithoutOnes(scales.shape()) != WithoutOnes(grid)) {
    return refuse(scales, "scales ", ShapeString(grid), " for ",
                  codes.ToString());
  }
  WINDLASS_RETURN_IF_ERROR(ByteSize(dtype, shape).status());
  auto source = std::make_shared<DequantizeSource>(
      codes, scales, format.element, format.scale, dtype, Grid(shape, blocks));
  if (codes.rank() == 0) shape.clear();
  return Tensor(dtype, std::move(shape), std::move(source));
}

absl::StatusOr<Tensor> ExpectShape(const Tensor& tensor, const Tensor& shape) {
  if ((shape.dtype() != DType::kI32 && shape.dtype() != DType::kI64) ||
      shape.shape() != Shape{tensor.rank()}) {
    return absl::InvalidArgumentError(absl::StrCat(
        "ExpectShape: found ", shape.ToString(), " for ", tensor.ToString(),
        ", expected I32 or I64 [", tensor.rank(), "]"));
  }
  return Tensor(tensor.dtype(), tensor.shape(),
                std::make_shared<ExpectShapeSource>(tensor, shape));
}

absl::StatusOr<Tensor> MulOuter(const Tensor& tensor, const Tensor& scales) {
  if (tensor.rank() == 0 || scales.rank() != 1 ||
      !IsPromotable(tensor.dtype()) || !IsPromotable(scales.dtype())) {
    return absl::InvalidArgumentError(absl::StrCat(
        "MulOuter: found ", tensor.ToString(), " and ", scales.ToString(),
        ", expected floats of 16 or 32 bits, a scale for each index of the "
        "outermost dimension"));
  }
  const DType dtype =
      tensor.dtype() == scales.dtype() ? tensor.dtype() : DType::kF32;
  return Dequantize(tensor, scales, PerExpertFormat(tensor.rank()), dtype);
}

absl::StatusOr<Int4Tensors> QuantizeInt4(const Tensor& weight) {
  const int64_t cols = weight.rank() == 0 ? 1 : weight.shape().back();
  const int64_t groups = cols / kInt4Group + (cols % kInt4Group != 0 ? 1 : 0);
  const int64_t group = groups > 0 ? cols / groups : kInt4Group;
  if (!IsConvertible(weight.dtype()) || cols % 8 != 0 ||
      cols != groups * group || group % 2 != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("QuantizeInt4: found ", weight.ToString(),
                     ", expected floats of whole bytes, rows of a multiple of "
                     "8 that is cut into equal groups of ",
                     kInt4Group, " at most"));
  }
  Shape packed = weight.shape();
  packed.back() /= 8;
  Shape scales = weight.shape();
  scales.back() = groups;
  return Int4Tensors{
      Tensor(DType::kI32, std::move(packed),
             std::make_shared<QuantizeInt4Source>(weight, group, false)),
      Tensor(DType::kF16, std::move(scales),
             std::make_shared<QuantizeInt4Source>(weight, group, true))};
}

}  // namespace windlass
