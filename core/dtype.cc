#include "windlass/core/dtype.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"

namespace windlass {
namespace {

struct DTypeInfo {
  DType dtype;
  const char* name;
  const char* torch_name;
  int bits;
  bool is_float;
};

// In the order of the enumeration.
constexpr DTypeInfo kDTypes[] = {
    {DType::kBool, "BOOL", "bool", 8, false},
    {DType::kF4, "F4", "", 4, true},
    {DType::kF6E2M3, "F6_E2M3", "", 6, true},
    {DType::kF6E3M2, "F6_E3M2", "", 6, true},
    {DType::kU8, "U8", "uint8", 8, false},
    {DType::kI8, "I8", "int8", 8, false},
    {DType::kF8E5M2, "F8_E5M2", "float8_e5m2", 8, true},
    {DType::kF8E4M3, "F8_E4M3", "float8_e4m3fn", 8, true},
    {DType::kF8E8M0, "F8_E8M0", "float8_e8m0fnu", 8, true},
    {DType::kF8E4M3FNUZ, "F8_E4M3FNUZ", "float8_e4m3fnuz", 8, true},
    {DType::kF8E5M2FNUZ, "F8_E5M2FNUZ", "float8_e5m2fnuz", 8, true},
    {DType::kI16, "I16", "int16", 16, false},
    {DType::kU16, "U16", "uint16", 16, false},
    {DType::kF16, "F16", "float16", 16, true},
    {DType::kBF16, "BF16", "bfloat16", 16, true},
    {DType::kI32, "I32", "int32", 32, false},
    {DType::kU32, "U32", "uint32", 32, false},
    {DType::kF32, "F32", "float32", 32, true},
    {DType::kC64, "C64", "complex64", 64, false},
    {DType::kF64, "F64", "float64", 64, true},
    {DType::kI64, "I64", "int64", 64, false},
    {DType::kU64, "U64", "uint64", 64, false},
};
static_assert(sizeof(kDTypes) / sizeof(kDTypes[0]) == kDTypeCount);

const DTypeInfo& Info(DType dtype) { return kDTypes[static_cast<int>(dtype)]; }

}  // namespace

absl::string_view DTypeName(DType dtype) { return Info(dtype).name; }
absl::string_view TorchDTypeName(DType dtype) { return Info(dtype).torch_name; }
int DTypeBits(DType dtype) { return Info(dtype).bits; }
int DTypeBytes(DType dtype) { return Info(dtype).bits / 8; }
bool IsFloat(DType dtype) { return Info(dtype).is_float; }

std::optional<DType> ParseDType(absl::string_view name) {
  for (const DTypeInfo& info : kDTypes) {
    if (name == info.name) return info.dtype;
  }
  return std::nullopt;
}

std::optional<DType> ParseTorchDType(absl::string_view name) {
  absl::ConsumePrefix(&name, "torch.");
  if (name.empty()) return std::nullopt;
  for (const DTypeInfo& info : kDTypes) {
    if (name == info.torch_name) return info.dtype;
  }
  return std::nullopt;
}

absl::StatusOr<int64_t> ElementCount(absl::Span<const int64_t> shape) {
  int64_t count = 1;
  bool overflow = false;
  bool empty = false;
  for (int64_t extent : shape) {
    if (extent < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("shape ", ShapeString(shape), " has a negative extent"));
    }
    empty = empty || extent == 0;
    overflow = overflow || __builtin_mul_overflow(count, extent, &count);
  }
  if (overflow) {
    return absl::OutOfRangeError(
        absl::StrCat("shape ", ShapeString(shape), " has too many elements"));
  }
  return empty ? 0 : count;
}

absl::StatusOr<int64_t> ByteSize(DType dtype, absl::Span<const int64_t> shape) {
  absl::StatusOr<int64_t> count = ElementCount(shape);
  if (!count.ok()) return count;
  int64_t bits;
  if (__builtin_mul_overflow(*count, int64_t{DTypeBits(dtype)}, &bits)) {
    return absl::OutOfRangeError(absl::StrCat("shape ", ShapeString(shape),
                                              " of ", DTypeName(dtype),
                                              " has too many bytes"));
  }
  if (bits % 8 != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("shape ", ShapeString(shape), " of ", DTypeName(dtype),
                     " does not fill whole bytes"));
  }
  return bits / 8;
}

std::string ShapeString(absl::Span<const int64_t> shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

}  // namespace windlass
