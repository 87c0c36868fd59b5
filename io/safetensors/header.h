// The safetensors format, version 0.8: eight bytes of header length, a JSON
// header, data. docs/formats.md describes it in prose.

#ifndef WINDLASS_IO_SAFETENSORS_HEADER_H_
#define WINDLASS_IO_SAFETENSORS_HEADER_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "windlass/core/byte_source.h"
#include "windlass/core/dtype.h"

namespace windlass {

// The longest header that the format allows, in bytes.
inline constexpr int64_t kMaxSafetensorsHeader = 100'000'000;

struct SafetensorsEntry {
  std::string name;
  DType dtype = DType::kU8;
  Shape shape;
  int64_t begin = 0;  // from the start of the data
  int64_t end = 0;
};

// The header's `__metadata__`, in its order.
using SafetensorsMetadata = std::vector<std::pair<std::string, std::string>>;

struct SafetensorsHeader {
  SafetensorsMetadata metadata;
  std::vector<SafetensorsEntry> tensors;  // in the order of their data
  int64_t data_begin = 0;                 // from the start of the file
};

// Reads a file's header and checks every rule of the format: InvalidArgument
// says "file: tensor: what was found, what was expected", or what the file is
// instead (a Git LFS pointer, a web page, ...). Reads no data.
absl::StatusOr<SafetensorsHeader> ReadSafetensorsHeader(const ByteSource& file);

// The same for the JSON text, of a file with `data_bytes` of data. Messages
// start with the tensor.
absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(absl::string_view json,
                                                         int64_t data_bytes);

// What a file starts with up to its data, padded with spaces so that the data
// starts at `remainder` modulo `alignment` (8 divides both). Tensors are
// written in the order given; their offsets must be set.
std::string SerializeSafetensorsHeader(
    const SafetensorsMetadata& metadata,
    absl::Span<const SafetensorsEntry> tensors, int64_t alignment = 8,
    int64_t remainder = 0);

}  // namespace windlass

#endif  // WINDLASS_IO_SAFETENSORS_HEADER_H_
