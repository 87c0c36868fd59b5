// Element types and shapes: the vocabulary that every other header of core/
// builds on.
//
//   DType dtype = *ParseDType("BF16");
//   absl::StatusOr<int64_t> bytes = ByteSize(dtype, {4096, 11008});

#ifndef WINDLASS_CORE_DTYPE_H_
#define WINDLASS_CORE_DTYPE_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/container/inlined_vector.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace windlass {

// Every dtype that safetensors 0.8 can store, named as the format names it.
enum class DType : uint8_t {
  kBool,
  kF4,      // two elements a byte
  kF6E2M3,  // four elements in three bytes
  kF6E3M2,  // four elements in three bytes
  kU8,
  kI8,
  kF8E5M2,
  kF8E4M3,  // torch.float8_e4m3fn: no infinity, 448 at most
  kF8E8M0,  // torch.float8_e8m0fnu: a power of two
  kF8E4M3FNUZ,
  kF8E5M2FNUZ,
  kI16,
  kU16,
  kF16,
  kBF16,
  kI32,
  kU32,
  kF32,
  kC64,  // a pair of F32
  kF64,
  kI64,
  kU64,
};

inline constexpr int kDTypeCount = 22;

// Extents of a tensor, outermost first. Empty for a scalar. Few tensors have
// more than four dimensions.
using Shape = absl::InlinedVector<int64_t, 4>;

// "BF16", as safetensors writes it.
absl::string_view DTypeName(DType dtype);

// "bfloat16", as torch and config.json write it; empty where torch has no such
// dtype.
absl::string_view TorchDTypeName(DType dtype);

// The inverses; nullopt for an unknown name. Torch names may carry "torch.".
std::optional<DType> ParseDType(absl::string_view name);
std::optional<DType> ParseTorchDType(absl::string_view name);

// Bits an element takes: 4, 6, 8, 16, 32 or 64.
int DTypeBits(DType dtype);

// Bytes an element takes, for dtypes of whole bytes; 0 for F4 and F6.
int DTypeBytes(DType dtype);

// True for real floating-point dtypes (torch.dtype.is_floating_point).
bool IsFloat(DType dtype);

// Product of the extents. InvalidArgument for a negative extent, OutOfRange
// when the product does not fit 63 bits.
absl::StatusOr<int64_t> ElementCount(absl::Span<const int64_t> shape);

// Bytes a dense tensor takes. As ElementCount, and InvalidArgument when
// elements of less than a byte do not fill whole bytes.
absl::StatusOr<int64_t> ByteSize(DType dtype, absl::Span<const int64_t> shape);

// "[4, 8]"
std::string ShapeString(absl::Span<const int64_t> shape);

}  // namespace windlass

#endif  // WINDLASS_CORE_DTYPE_H_
