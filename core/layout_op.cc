#include "windlass/core/layout_op.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "windlass/core/json.h"
#include "windlass/core/status_macros.h"
#include "windlass/core/tensor_ops.h"

namespace windlass {
namespace {

// A function of one tensor, done to each.
template <typename F>
LayoutOp::Function Each(F function) {
  return [function](const LayoutContext& context,
                    std::vector<Tensor>* tensors) -> absl::Status {
    for (Tensor& tensor : *tensors) {
      WINDLASS_ASSIGN_OR_RETURN(tensor, function(context.mesh, tensor));
    }
    return absl::OkStatus();
  };
}

absl::Status Nothing(const LayoutContext&, std::vector<Tensor>*) {
  return absl::OkStatus();
}

int At(const Tensor& tensor, int dim) {
  return dim < 0 ? tensor.rank() + dim : dim;
}

absl::Status Cut(int dim, const std::vector<int64_t>& widths,
                 std::vector<Tensor>* tensors) {
  const Tensor whole = tensors->front();
  const int at = At(whole, dim);
  if (at < 0 || at >= whole.rank()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "found ", whole.ToString(), ", expected a dimension ", dim));
  }
  const int64_t parts = widths.size();
  const int64_t extent = whole.shape()[at];
  std::vector<int64_t> sizes = widths;
  if (sizes[0] < 0) sizes.assign(parts, extent / parts);
  int64_t total = 0;
  for (int64_t size : sizes) {
    // A width may be anything that a config says.
    total = size > INT64_MAX - total ? INT64_MAX : total + size;
  }
  if (total != extent) {
    return absl::InvalidArgumentError(
        absl::StrCat("found ", whole.ToString(), ", expected ",
                     widths[0] < 0 ? absl::StrCat("a multiple of ", parts)
                                   : absl::StrCat(total),
                     " in dimension ", at));
  }
  tensors->clear();
  int64_t begin = 0;
  for (int64_t size : sizes) {
    WINDLASS_ASSIGN_OR_RETURN(Tensor part,
                              Slice(whole, at, begin, begin + size));
    tensors->push_back(std::move(part));
    begin += size;
  }
  return absl::OkStatus();
}

absl::Status Join(int dim, std::vector<Tensor>* tensors) {
  WINDLASS_ASSIGN_OR_RETURN(Tensor joined,
                            Concat(*tensors, At(tensors->front(), dim)));
  tensors->assign(1, std::move(joined));
  return absl::OkStatus();
}

absl::StatusOr<Tensor> Reshaped(const Tensor& tensor, Shape shape) {
  int64_t known = 1;
  int64_t* open = nullptr;
  for (int64_t& extent : shape) {
    if (extent < 0) {
      open = &extent;
    } else {
      known *= extent;
    }
  }
  if (open != nullptr) {
    WINDLASS_ASSIGN_OR_RETURN(const int64_t count,
                              ElementCount(tensor.shape()));
    *open = known > 0 ? count / known : 0;
  }
  return Reshape(tensor, std::move(shape));
}

absl::Status CheckNotPacked(const Tensor& tensor) {
  if (DTypeBits(tensor.dtype()) > 8) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("found ", tensor.ToString(),
                   " without a scale, expected a dtype of 16 bits or more"));
}

// Pieces of an operation's rule.
std::string Quoted(absl::string_view text) {
  std::string quoted;
  AppendJsonString(text, &quoted);
  return quoted;
}

std::string DimRule(const LayoutDim& dim) {
  if (dim.size >= 0) return absl::StrCat(dim.size);
  return Quoted(dim.name.empty() ? "_" : dim.name);
}

std::string ShapeRule(const Shape& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

std::string WidthsRule(absl::string_view op, int dim,
                       const std::vector<int64_t>& widths) {
  return absl::StrCat("{\"", op, "\": ", dim, ", \"widths\": ",
                      widths[0] < 0
                          ? absl::StrCat(widths.size())
                          : absl::StrCat("[", absl::StrJoin(widths, ", "), "]"),
                      "}");
}

// What `format` is called in rules; empty for one that has no name there.
std::string FormatRule(const PackedFormat& format) {
  const auto is = [&format](const PackedFormat& other) {
    return format.element == other.element && format.scale == other.scale &&
           format.block == other.block;
  };
  if (is(PerTensorFormat(2))) return "\"fp8_per_tensor\"";
  if (is(MxFp8Format())) return "\"mxfp8\"";
  if (is(MxFp4Format())) return "\"mxfp4\"";
  if (format.block.empty() || !is(BlockFormat(format.block[0]))) return "";
  return absl::StrCat("\"fp8_block\", \"block\": ", format.block[0]);
}

int64_t Blocks(int64_t extent, int64_t block) {
  return extent / block + (extent % block != 0 ? 1 : 0);
}

// The scales that the codes have blocks for: some files have more.
absl::StatusOr<Tensor> Trim(const Tensor& scales, const Tensor& codes,
                            const PackedFormat& format) {
  Tensor trimmed = scales;
  const int rank = format.block.size();
  if (format.element != ElementCode::kFloat || codes.rank() != scales.rank() ||
      rank > codes.rank()) {
    return trimmed;
  }
  for (int dim = codes.rank() - rank; dim < codes.rank(); ++dim) {
    const int64_t size = format.block[dim - codes.rank() + rank];
    if (size == kWholeDimension) continue;
    const int64_t blocks = Blocks(codes.shape()[dim], size);
    if (blocks >= scales.shape()[dim]) continue;
    WINDLASS_ASSIGN_OR_RETURN(trimmed, Slice(trimmed, dim, 0, blocks));
  }
  return trimmed;
}

absl::StatusOr<PackedFormat> FormatByScale(const Tensor& codes,
                                           const Tensor& scales) {
  WINDLASS_ASSIGN_OR_RETURN(const int64_t count, ElementCount(scales.shape()));
  if (count == 1) return PerTensorFormat(codes.rank());
  // Before ones, which may be missing, all scales are in the first dimension.
  if (codes.rank() == 3 && count == codes.shape()[0] &&
      count == scales.shape()[0]) {
    return PerExpertFormat(codes.rank());
  }
  return BlockFormat();
}

// I64 [rank], the shape.
absl::StatusOr<Tensor> ShapeTensor(const Shape& shape) {
  std::string bytes(shape.size() * sizeof(int64_t), '\0');
  std::memcpy(&bytes[0], shape.data(), bytes.size());
  return Tensor::FromBytes(DType::kI64, {static_cast<int64_t>(shape.size())},
                           std::move(bytes));
}

absl::StatusOr<Tensor> UnpackInt4(const Tensor& codes, Tensor scales,
                                  const Tensor& shape) {
  if (codes.rank() == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("found ", codes.ToString(), ", expected rows of codes"));
  }
  Shape grid = codes.shape();
  grid.back() = 1;
  WINDLASS_ASSIGN_OR_RETURN(const int64_t rows, ElementCount(grid));
  WINDLASS_ASSIGN_OR_RETURN(const int64_t count, ElementCount(scales.shape()));
  const int64_t columns = codes.shape().back();
  const int64_t groups = rows > 0 ? count / rows : 0;
  if (groups <= 0 || count % rows != 0 || columns > INT64_MAX / 8 ||
      columns * 8 % groups != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "found scales ", scales.ToString(), " for ", codes.ToString(),
        ", expected one for each group of a row, all of one size"));
  }
  grid.back() = groups;
  if (scales.rank() == 1) {
    WINDLASS_ASSIGN_OR_RETURN(scales, Reshape(scales, grid));
  }
  WINDLASS_ASSIGN_OR_RETURN(
      const Tensor values,
      Dequantize(codes, scales, Int4Format(columns * 8 / groups),
                 DType::kBF16));
  return ExpectShape(values, shape);
}

}  // namespace

std::pair<int64_t, int64_t> RankShare(int64_t count, const DeviceMesh& mesh) {
  const int64_t each = count / mesh.ep_size;
  const int64_t more = count % mesh.ep_size;
  const int64_t rank = mesh.ep_rank;
  const int64_t begin = rank * each + std::min(rank, more);
  return {begin, begin + each + (rank < more ? 1 : 0)};
}

namespace layout {

LayoutOp Shapes(std::vector<std::vector<LayoutDim>> shapes) {
  LayoutOp op;
  op.name = "shapes";
  op.rule = absl::StrCat(
      "{\"shapes\": [",
      absl::StrJoin(shapes, ", ",
                    [](std::string* out, const std::vector<LayoutDim>& dims) {
                      absl::StrAppend(
                          out, "[",
                          absl::StrJoin(
                              dims, ", ",
                              [](std::string* text, const LayoutDim& dim) {
                                absl::StrAppend(text, DimRule(dim));
                              }),
                          "]");
                    }),
      "]}");
  op.forward = op.backward = &Nothing;
  op.moves = true;
  op.shapes = std::move(shapes);
  return op;
}

LayoutOp Transpose() {
  LayoutOp op;
  op.name = "transpose";
  op.rule = Quoted("transpose");
  op.forward = op.backward = Each([](const DeviceMesh&, const Tensor& tensor) {
    return windlass::Transpose(tensor);
  });
  op.moves = true;
  op.transposes = true;
  return op;
}

LayoutOp Concat(int dim, std::vector<int64_t> widths) {
  LayoutOp op;
  op.name = absl::StrCat("concat ", dim);
  op.rule = WidthsRule("concat", dim, widths);
  op.takes = widths.size();
  op.gives = 1;
  op.moves = true;
  op.forward = [dim](const LayoutContext&, std::vector<Tensor>* tensors) {
    return Join(dim, tensors);
  };
  op.backward = [dim, widths](const LayoutContext&,
                              std::vector<Tensor>* tensors) {
    return Cut(dim, widths, tensors);
  };
  if (dim == -1) {
    op.before_transpose = std::make_shared<LayoutOp>(Concat(-2, widths));
  }
  return op;
}

LayoutOp Split(int dim, std::vector<int64_t> widths) {
  std::string rule = WidthsRule("split", dim, widths);
  LayoutOp op = Concat(dim, std::move(widths));
  op.rule = std::move(rule);
  op.name = absl::StrCat("split ", dim);
  std::swap(op.takes, op.gives);
  std::swap(op.forward, op.backward);
  op.before_transpose = nullptr;
  return op;
}

LayoutOp Stack(std::string capture, LayoutDim count) {
  LayoutOp op;
  op.name = absl::StrCat("stack over ", capture);
  op.rule = absl::StrCat("{\"stack\": ", Quoted(capture),
                         ", \"count\": ", DimRule(count), "}");
  op.forward = op.backward = &Nothing;  // a table's own business
  op.moves = true;
  op.over = std::move(capture);
  op.count = std::move(count);
  return op;
}

LayoutOp Share(LayoutDim count) {
  LayoutOp op;
  op.name = "share";
  op.rule = absl::StrCat("{\"share\": ", DimRule(count), "}");
  op.moves = true;
  op.forward = Each([count](const DeviceMesh& mesh,
                            const Tensor& tensor) -> absl::StatusOr<Tensor> {
    if (tensor.rank() == 0 || tensor.shape()[0] != count.size) {
      return absl::InvalidArgumentError(
          absl::StrCat("found ", tensor.ToString(), ", expected ", count.size,
                       " in dimension 0 (", count.origin, ")"));
    }
    const auto [begin, end] = RankShare(count.size, mesh);
    if (end - begin == count.size) return tensor;
    return Slice(tensor, 0, begin, end);
  });
  op.backward = Each([count](const DeviceMesh& mesh,
                             const Tensor& tensor) -> absl::StatusOr<Tensor> {
    if (mesh.ep_size == 1 && tensor.rank() > 0 &&
        tensor.shape()[0] == count.size) {
      return tensor;
    }
    return absl::InvalidArgumentError(absl::StrCat(
        "found ", tensor.ToString(), " of rank ", mesh.ep_rank, " of ",
        mesh.ep_size, ", expected all ", count.size, " in dimension 0 (",
        count.origin, "): a share of them has no form of its own there"));
  });
  return op;
}

LayoutOp ShareWithin(int dim) {
  LayoutOp op;
  op.name = absl::StrCat("share within ", dim);
  op.rule = absl::StrCat("{\"share_within\": ", dim, "}");
  op.moves = true;
  op.forward = Each([dim](const DeviceMesh& mesh,
                          const Tensor& tensor) -> absl::StatusOr<Tensor> {
    if (mesh.ep_shard_size == 1) return tensor;
    if (dim >= tensor.rank() || tensor.shape()[dim] % mesh.ep_shard_size != 0) {
      return absl::InvalidArgumentError(absl::StrCat(
          "found ", tensor.ToString(), ", expected a multiple of ",
          mesh.ep_shard_size, " (ep_shard's size) in dimension ", dim));
    }
    const int64_t share = tensor.shape()[dim] / mesh.ep_shard_size;
    const int64_t begin = share * mesh.ep_shard_rank;
    return Slice(tensor, dim, begin, begin + share);
  });
  op.backward = Each([](const DeviceMesh& mesh,
                        const Tensor& tensor) -> absl::StatusOr<Tensor> {
    if (mesh.ep_shard_size == 1) return tensor;
    return absl::InvalidArgumentError(absl::StrCat(
        "found ", tensor.ToString(), " of ep_shard rank ", mesh.ep_shard_rank,
        " of ", mesh.ep_shard_size,
        ", expected the whole: a share of an expert has no form of its own "
        "there"));
  });
  return op;
}

LayoutOp Cast(DType dtype) {
  LayoutOp op;
  op.name = absl::StrCat("cast ", DTypeName(dtype));
  op.rule = absl::StrCat("{\"cast\": ", Quoted(DTypeName(dtype)), "}");
  op.kind = LayoutOp::Kind::kLossy;
  op.casts = true;
  op.forward = Each([dtype](const DeviceMesh&,
                            const Tensor& tensor) -> absl::StatusOr<Tensor> {
    if (tensor.dtype() == dtype) return tensor;
    WINDLASS_RETURN_IF_ERROR(CheckNotPacked(tensor));
    return windlass::Cast(tensor, dtype);
  });
  op.backward = &Nothing;
  return op;
}

LayoutOp NotPacked() {
  LayoutOp op;
  op.name = "not packed";
  op.rule = Quoted("not_packed");
  op.moves = true;
  op.forward = Each(
      [](const DeviceMesh&, const Tensor& tensor) -> absl::StatusOr<Tensor> {
        WINDLASS_RETURN_IF_ERROR(CheckNotPacked(tensor));
        return tensor;
      });
  op.backward = &Nothing;
  return op;
}

LayoutOp CastFloats(DType dtype) {
  LayoutOp op = Cast(dtype);
  op.name = absl::StrCat("cast floats ", DTypeName(dtype));
  op.rule = absl::StrCat("{\"cast_floats\": ", Quoted(DTypeName(dtype)), "}");
  const LayoutOp::Function cast = op.forward;
  op.forward = [cast](const LayoutContext& context,
                      std::vector<Tensor>* tensors) {
    return IsFloat(tensors->front().dtype()) ? cast(context, tensors)
                                             : absl::OkStatus();
  };
  return op;
}

LayoutOp Hold(DType dtype) {
  LayoutOp op = Cast(dtype);
  op.name = absl::StrCat("hold ", DTypeName(dtype));
  op.rule = absl::StrCat("{\"hold\": ", Quoted(DTypeName(dtype)), "}");
  op.forward = op.backward =
      Each([dtype](const DeviceMesh&,
                   const Tensor& tensor) -> absl::StatusOr<Tensor> {
        if (!IsFloat(tensor.dtype())) return tensor;
        return windlass::Cast(tensor, dtype);
      });
  op.held = dtype;
  return op;
}

LayoutOp Reshape(Shape native, Shape hf) {
  LayoutOp op;
  op.name = "reshape";
  op.rule = absl::StrCat("{\"reshape\": ", ShapeRule(native),
                         ", \"hf\": ", ShapeRule(hf), "}");
  op.moves = true;
  op.forward = Each([native](const DeviceMesh&, const Tensor& tensor) {
    return Reshaped(tensor, native);
  });
  op.backward = Each([hf](const DeviceMesh&, const Tensor& tensor) {
    return Reshaped(tensor, hf);
  });
  return op;
}

LayoutOp Squeeze(int dim, int native_rank) {
  LayoutOp op;
  op.name = absl::StrCat("squeeze ", dim);
  op.rule = absl::StrCat("{\"squeeze\": ", dim,
                         ", \"native_rank\": ", native_rank, "}");
  op.moves = true;
  op.forward =
      Each([dim, native_rank](const DeviceMesh&,
                              const Tensor& tensor) -> absl::StatusOr<Tensor> {
        Shape shape = tensor.shape();
        if (tensor.rank() != native_rank + 1 || shape[dim] != 1) return tensor;
        shape.erase(shape.begin() + dim);
        return windlass::Reshape(tensor, std::move(shape));
      });
  op.backward =
      Each([dim, native_rank](const DeviceMesh&,
                              const Tensor& tensor) -> absl::StatusOr<Tensor> {
        Shape shape = tensor.shape();
        if (tensor.rank() != native_rank) return tensor;
        shape.insert(shape.begin() + dim, 1);
        return windlass::Reshape(tensor, std::move(shape));
      });
  return op;
}

LayoutOp Interleave(int dim) {
  LayoutOp op;
  op.name = absl::StrCat("interleave ", dim);
  op.rule = absl::StrCat("{\"interleave\": ", dim, "}");
  op.moves = true;
  op.forward = Each([dim](const DeviceMesh&, const Tensor& tensor) {
    return windlass::Interleave(tensor, At(tensor, dim));
  });
  op.backward = Each([dim](const DeviceMesh&, const Tensor& tensor) {
    return windlass::Deinterleave(tensor, At(tensor, dim));
  });
  return op;
}

LayoutOp Pad(int dim, LayoutDim native, int64_t hf) {
  LayoutOp op;
  op.name = absl::StrCat("pad ", dim);
  op.rule = absl::StrCat("{\"pad\": ", dim, ", \"native\": ", DimRule(native),
                         ", \"hf\": ", hf, "}");
  const auto resize = [=](int64_t size) {
    return Each(
        [=](const DeviceMesh&, const Tensor& tensor) -> absl::StatusOr<Tensor> {
          const int at = At(tensor, dim);
          const int64_t extent =
              at < 0 || at >= tensor.rank() ? -1 : tensor.shape()[at];
          if (extent != native.size && extent != hf) {
            return absl::InvalidArgumentError(absl::StrCat(
                "found ", tensor.ToString(), ", expected ", native.size, " (",
                native.origin, ") or ", hf, " in dimension ", dim));
          }
          if (size > extent) return windlass::Pad(tensor, at, size);
          return size < extent ? Slice(tensor, at, 0, size) : tensor;
        });
  };
  op.forward = resize(native.size);
  op.backward = resize(hf);
  return op;
}

LayoutOp Dequantize(PackedFormat format, DType dtype, bool exact_scales) {
  LayoutOp op;
  op.name = "dequantize";
  const std::string rule = exact_scales ? "" : FormatRule(format);
  if (!rule.empty()) {
    op.rule = absl::StrCat("{\"dequantize\": ", rule,
                           ", \"to\": ", Quoted(DTypeName(dtype)), "}");
  }
  op.kind = LayoutOp::Kind::kOneWay;
  op.gives = 1;
  op.unpacks = true;
  op.forward = [format, dtype, exact_scales](
                   const LayoutContext&,
                   std::vector<Tensor>* tensors) -> absl::Status {
    const Tensor codes = tensors->front();
    if (tensors->size() == 1) {
      if (!IsFloat(codes.dtype()) || DTypeBits(codes.dtype()) > 8) {
        return absl::OkStatus();
      }
      return absl::InvalidArgumentError(absl::StrCat(
          "found ", codes.ToString(), " without a scale, expected one"));
    }
    // Scales that a conversion left behind: which of the two is right?
    if (format.element == ElementCode::kFloat && DTypeBits(codes.dtype()) > 8) {
      return absl::InvalidArgumentError(
          absl::StrCat("found ", codes.ToString(),
                       " beside a scale, expected FP8, or no scale"));
    }
    Tensor scales = (*tensors)[1];
    if (!exact_scales) {
      WINDLASS_ASSIGN_OR_RETURN(scales, Trim(scales, codes, format));
    }
    WINDLASS_ASSIGN_OR_RETURN(
        Tensor values, windlass::Dequantize(codes, scales, format, dtype));
    tensors->assign(1, std::move(values));
    return absl::OkStatus();
  };
  op.backward = &Nothing;
  return op;
}

LayoutOp Dequantize(PackedFormat floats, PackedFormat packed, DType dtype) {
  LayoutOp op = Dequantize(std::move(floats), dtype);
  op.rule = "";
  op.forward = [of_floats = op.forward,
                of_packed = Dequantize(std::move(packed), dtype).forward](
                   const LayoutContext& context,
                   std::vector<Tensor>* tensors) -> absl::Status {
    const Tensor& codes = tensors->front();
    const int bits = DTypeBits(codes.dtype());
    if (bits > 8 || (bits == 8 && IsFloat(codes.dtype()))) {
      return of_floats(context, tensors);
    }
    if (tensors->size() > 1) return of_packed(context, tensors);
    return absl::InvalidArgumentError(absl::StrCat(
        "found ", codes.ToString(), " without a scale, expected one"));
  };
  return op;
}

LayoutOp DequantizeByScale(DType dtype) {
  LayoutOp op = Dequantize(BlockFormat(), dtype, /*exact_scales=*/true);
  op.forward = [dtype](const LayoutContext& context,
                       std::vector<Tensor>* tensors) -> absl::Status {
    PackedFormat format = BlockFormat();
    if (tensors->size() > 1) {
      WINDLASS_ASSIGN_OR_RETURN(format,
                                FormatByScale((*tensors)[0], (*tensors)[1]));
    }
    return Dequantize(std::move(format), dtype, /*exact_scales=*/true)
        .forward(context, tensors);
  };
  return op;
}

LayoutOp CastFp8(DType dtype, int64_t block) {
  LayoutOp op = Dequantize(BlockFormat(block), dtype);
  op.name = "dequantize (back: cast F8_E4M3)";
  op.rule = absl::StrCat("{\"cast_fp8\": ", Quoted(DTypeName(dtype)),
                         ", \"block\": ", block, "}");
  op.unpacks = false;
  op.backward = [block](const LayoutContext&,
                        std::vector<Tensor>* tensors) -> absl::Status {
    const Tensor values = tensors->front();
    if (values.rank() != 2 || !IsFloat(values.dtype())) {
      return absl::OkStatus();
    }
    WINDLASS_ASSIGN_OR_RETURN(tensors->front(), CastToFp8(values));
    WINDLASS_ASSIGN_OR_RETURN(const Tensor scales,
                              Fill(DType::kF32,
                                   {Blocks(values.shape()[0], block),
                                    Blocks(values.shape()[1], block)},
                                   1));
    tensors->push_back(scales);
    return absl::OkStatus();
  };
  return op;
}

LayoutOp Int4() {
  LayoutOp op;
  op.name = "int4";
  op.rule = Quoted("int4");
  op.kind = LayoutOp::Kind::kLossy;
  op.takes = 3;
  op.gives = 1;
  op.forward = [](const LayoutContext&,
                  std::vector<Tensor>* tensors) -> absl::Status {
    WINDLASS_ASSIGN_OR_RETURN(
        Tensor values, UnpackInt4((*tensors)[0], (*tensors)[1], (*tensors)[2]));
    tensors->assign(1, std::move(values));
    return absl::OkStatus();
  };
  op.backward = [](const LayoutContext&,
                   std::vector<Tensor>* tensors) -> absl::Status {
    const Tensor weight = tensors->front();
    WINDLASS_ASSIGN_OR_RETURN(Int4Tensors out, QuantizeInt4(weight));
    WINDLASS_ASSIGN_OR_RETURN(Tensor shape, ShapeTensor(weight.shape()));
    *tensors = {std::move(out.packed), std::move(out.scales), std::move(shape)};
    return absl::OkStatus();
  };
  return op;
}

LayoutOp OneWay(std::string name, int takes, int gives,
                LayoutOp::Function forward, LayoutOp::Function backward) {
  LayoutOp op;
  op.name = std::move(name);
  op.kind = LayoutOp::Kind::kOneWay;
  op.takes = takes;
  op.gives = gives;
  op.forward = std::move(forward);
  op.backward = std::move(backward);
  return op;
}

}  // namespace layout
}  // namespace windlass
