#include "windlass/adapters/rules/operations.h"

#include <cstdint>
#include <string>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "windlass/core/dequantize.h"
#include "windlass/core/dtype.h"
#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

using Result = absl::StatusOr<LayoutOp>;

// {"name": value, "more": ...}; `value` is null for a plain "name".
struct Operation {
  const LocatedJson& all;
  const LocatedJson* value;
  const RulesParameters& parameters;

  // A field that has to be there.
  absl::StatusOr<const LocatedJson*> Field(absl::string_view name) const {
    const LocatedJson* found = all.Find(name);
    if (found != nullptr) return found;
    return all.Error(absl::StrCat("found no \"", name, "\", expected one"));
  }
  absl::StatusOr<int> Dim() const {
    WINDLASS_ASSIGN_OR_RETURN(const int64_t dim, value->Integer());
    if (dim < -8 || dim >= 8) return value->Unexpected("a dimension");
    return static_cast<int>(dim);
  }
  absl::StatusOr<DType> GetDType(const LocatedJson& from) const {
    return parameters.GetDType(from);
  }
};

absl::Status ExpectList(const LocatedJson& json) {
  if (json.kind == LocatedJson::Kind::kList) return absl::OkStatus();
  return json.Unexpected("a list");
}

absl::StatusOr<std::vector<LayoutDim>> Dims(const LocatedJson& list,
                                            const RulesParameters& parameters) {
  WINDLASS_RETURN_IF_ERROR(ExpectList(list));
  std::vector<LayoutDim> dims;
  for (const LocatedJson& element : list.elements) {
    WINDLASS_ASSIGN_OR_RETURN(LayoutDim dim,
                              parameters.Extent(element, /*known=*/false));
    dims.push_back(std::move(dim));
  }
  return dims;
}

Result ReadShapes(const Operation& op) {
  WINDLASS_RETURN_IF_ERROR(ExpectList(*op.value));
  std::vector<std::vector<LayoutDim>> shapes;
  for (const LocatedJson& shape : op.value->elements) {
    WINDLASS_ASSIGN_OR_RETURN(auto dims, Dims(shape, op.parameters));
    shapes.push_back(std::move(dims));
  }
  return layout::Shapes(std::move(shapes));
}

Result ReadTranspose(const Operation&) { return layout::Transpose(); }

// "widths": extents of the parts, or how many equal ones there are.
absl::StatusOr<std::vector<int64_t>> Widths(const Operation& op) {
  WINDLASS_ASSIGN_OR_RETURN(const LocatedJson* widths, op.Field("widths"));
  std::vector<int64_t> sizes;
  if (widths->kind != LocatedJson::Kind::kList) {
    WINDLASS_ASSIGN_OR_RETURN(const int64_t parts, widths->Integer());
    if (parts < 1 || parts > 64) return widths->Unexpected("1 to 64 parts");
    return std::vector<int64_t>(parts, -1);
  }
  for (const LocatedJson& width : widths->elements) {
    WINDLASS_ASSIGN_OR_RETURN(const int64_t size, op.parameters.Number(width));
    sizes.push_back(size);
  }
  if (sizes.empty()) return widths->Unexpected("at least one width");
  return sizes;
}

Result ReadConcat(const Operation& op) {
  WINDLASS_ASSIGN_OR_RETURN(const int dim, op.Dim());
  WINDLASS_ASSIGN_OR_RETURN(std::vector<int64_t> widths, Widths(op));
  return layout::Concat(dim, std::move(widths));
}

Result ReadSplit(const Operation& op) {
  WINDLASS_ASSIGN_OR_RETURN(const int dim, op.Dim());
  WINDLASS_ASSIGN_OR_RETURN(std::vector<int64_t> widths, Widths(op));
  return layout::Split(dim, std::move(widths));
}

Result ReadStack(const Operation& op) {
  WINDLASS_ASSIGN_OR_RETURN(std::string capture, op.value->String());
  WINDLASS_ASSIGN_OR_RETURN(const LocatedJson* count, op.Field("count"));
  WINDLASS_ASSIGN_OR_RETURN(LayoutDim dim,
                            op.parameters.Extent(*count, /*known=*/true));
  return layout::Stack(std::move(capture), std::move(dim));
}

Result ReadShare(const Operation& op) {
  WINDLASS_ASSIGN_OR_RETURN(LayoutDim count,
                            op.parameters.Extent(*op.value, /*known=*/true));
  return layout::Share(std::move(count));
}

Result ReadShareWithin(const Operation& op) {
  WINDLASS_ASSIGN_OR_RETURN(const int dim, op.Dim());
  if (dim < 0) return op.value->Unexpected("a dimension from 0");
  return layout::ShareWithin(dim);
}

template <LayoutOp (*make)(DType)>
Result ReadCast(const Operation& op) {
  WINDLASS_ASSIGN_OR_RETURN(const DType dtype, op.GetDType(*op.value));
  return make(dtype);
}

Result ReadNotPacked(const Operation&) { return layout::NotPacked(); }

// -1 is what remains.
absl::StatusOr<Shape> ReadShape(const LocatedJson& list,
                                const RulesParameters& parameters) {
  WINDLASS_RETURN_IF_ERROR(ExpectList(list));
  Shape shape;
  for (const LocatedJson& extent : list.elements) {
    if (extent.text == "-1") {
      shape.push_back(-1);
      continue;
    }
    WINDLASS_ASSIGN_OR_RETURN(const int64_t size, parameters.Number(extent));
    shape.push_back(size);
  }
  if (absl::c_count(shape, -1) > 1) return list.Unexpected("one -1 at most");
  return shape;
}

Result ReadReshape(const Operation& op) {
  WINDLASS_ASSIGN_OR_RETURN(Shape native, ReadShape(*op.value, op.parameters));
  WINDLASS_ASSIGN_OR_RETURN(const LocatedJson* back, op.Field("hf"));
  WINDLASS_ASSIGN_OR_RETURN(Shape hf, ReadShape(*back, op.parameters));
  return layout::Reshape(std::move(native), std::move(hf));
}

Result ReadSqueeze(const Operation& op) {
  WINDLASS_ASSIGN_OR_RETURN(const LocatedJson* rank, op.Field("native_rank"));
  WINDLASS_ASSIGN_OR_RETURN(const int64_t native_rank, rank->Integer());
  WINDLASS_ASSIGN_OR_RETURN(const int dim, op.Dim());
  if (native_rank < 0 || native_rank > 8 || dim < 0 || dim > native_rank) {
    return op.value->Unexpected("a dimension from 0 to native_rank");
  }
  return layout::Squeeze(dim, static_cast<int>(native_rank));
}

Result ReadInterleave(const Operation& op) {
  WINDLASS_ASSIGN_OR_RETURN(const int dim, op.Dim());
  return layout::Interleave(dim);
}

Result ReadPad(const Operation& op) {
  WINDLASS_ASSIGN_OR_RETURN(const int dim, op.Dim());
  WINDLASS_ASSIGN_OR_RETURN(const LocatedJson* native, op.Field("native"));
  WINDLASS_ASSIGN_OR_RETURN(const LocatedJson* hf, op.Field("hf"));
  WINDLASS_ASSIGN_OR_RETURN(LayoutDim from,
                            op.parameters.Extent(*native, /*known=*/true));
  WINDLASS_ASSIGN_OR_RETURN(const int64_t to, op.parameters.Number(*hf));
  return layout::Pad(dim, std::move(from), to);
}

absl::StatusOr<int64_t> Block(const Operation& op) {
  const LocatedJson* given = op.all.Find("block");
  return given == nullptr ? 128 : op.parameters.Number(*given);
}

Result ReadCastFp8(const Operation& op) {
  WINDLASS_ASSIGN_OR_RETURN(const DType dtype, op.GetDType(*op.value));
  WINDLASS_ASSIGN_OR_RETURN(const int64_t block, Block(op));
  return layout::CastFp8(dtype, block);
}

Result ReadDequantize(const Operation& op) {
  WINDLASS_ASSIGN_OR_RETURN(const std::string name, op.value->String());
  WINDLASS_ASSIGN_OR_RETURN(const LocatedJson* to, op.Field("to"));
  WINDLASS_ASSIGN_OR_RETURN(const DType dtype, op.GetDType(*to));
  WINDLASS_ASSIGN_OR_RETURN(const int64_t block, Block(op));
  if (name == "fp8_block") {
    return layout::Dequantize(BlockFormat(block), dtype);
  }
  if (name == "fp8_per_tensor") {
    return layout::Dequantize(PerTensorFormat(2), dtype);
  }
  if (name == "mxfp8") return layout::Dequantize(MxFp8Format(), dtype);
  if (name == "mxfp4") return layout::Dequantize(MxFp4Format(), dtype);
  return op.value->Unexpected("fp8_block, fp8_per_tensor, mxfp8 or mxfp4");
}

Result ReadInt4(const Operation&) { return layout::Int4(); }

// Every operation by its name: what else its object may have, and how it is
// read. Those without a value are written as the name alone.
const struct {
  absl::string_view name;
  bool has_value;
  std::vector<absl::string_view> more;
  Result (*read)(const Operation& op);
} kOperations[] = {
    {"shapes", true, {}, &ReadShapes},
    {"transpose", false, {}, &ReadTranspose},
    {"concat", true, {"widths"}, &ReadConcat},
    {"split", true, {"widths"}, &ReadSplit},
    {"stack", true, {"count"}, &ReadStack},
    {"share", true, {}, &ReadShare},
    {"share_within", true, {}, &ReadShareWithin},
    {"cast", true, {}, &ReadCast<&layout::Cast>},
    {"cast_floats", true, {}, &ReadCast<&layout::CastFloats>},
    {"hold", true, {}, &ReadCast<&layout::Hold>},
    {"not_packed", false, {}, &ReadNotPacked},
    {"reshape", true, {"hf"}, &ReadReshape},
    {"squeeze", true, {"native_rank"}, &ReadSqueeze},
    {"interleave", true, {}, &ReadInterleave},
    {"pad", true, {"native", "hf"}, &ReadPad},
    {"dequantize", true, {"to", "block"}, &ReadDequantize},
    {"cast_fp8", true, {"block"}, &ReadCastFp8},
    {"int4", false, {}, &ReadInt4},
};

Result ReadOperation(const LocatedJson& json,
                     const RulesParameters& parameters) {
  for (const auto& known : kOperations) {
    const LocatedJson* value = json.Find(known.name);
    if (value == nullptr && (known.has_value || json.text != known.name)) {
      continue;
    }
    if (value != nullptr) {
      if (!known.has_value) return json.Unexpected("the name alone");
      std::vector<absl::string_view> fields = known.more;
      fields.push_back(known.name);
      WINDLASS_RETURN_IF_ERROR(json.ExpectMembers(fields));
    }
    return known.read({json, value, parameters});
  }
  return json.Unexpected(absl::StrCat(
      "an operation: ",
      absl::StrJoin(kOperations, ", ", [](std::string* out, const auto& op) {
        absl::StrAppend(out, op.name);
      })));
}

}  // namespace

absl::StatusOr<std::vector<LayoutOp>> ReadOperations(
    const LocatedJson* ops, const RulesParameters& parameters) {
  std::vector<LayoutOp> read;
  if (ops == nullptr) return read;
  WINDLASS_RETURN_IF_ERROR(ExpectList(*ops));
  for (const LocatedJson& element : ops->elements) {
    WINDLASS_ASSIGN_OR_RETURN(LayoutOp op, ReadOperation(element, parameters));
    read.push_back(std::move(op));
  }
  return read;
}

}  // namespace windlass
