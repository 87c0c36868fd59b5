#include "windlass/io/safetensors/header.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <optional>
#include <tuple>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "windlass/core/json.h"
#include "windlass/core/json_reader.h"
#include "windlass/core/leading_bytes.h"
#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

enum Field { kOther = 0, kDType = 1, kShape = 2, kOffsets = 4 };

Field FindField(absl::string_view name) {
  return name == "dtype"          ? kDType
         : name == "shape"        ? kShape
         : name == "data_offsets" ? kOffsets
                                  : kOther;
}

absl::StatusOr<DType> ReadDType(JsonValue value) {
  WINDLASS_ASSIGN_OR_RETURN(const absl::string_view name, value.String());
  const std::optional<DType> dtype = ParseDType(name);
  if (dtype.has_value()) return *dtype;
  return value.Unexpected("a dtype of safetensors 0.8 such as BF16");
}

absl::StatusOr<Shape> ReadNumbers(JsonValue value) {
  Shape numbers;
  WINDLASS_RETURN_IF_ERROR(
      value.ForEachElement([&numbers](JsonValue value) -> absl::Status {
        WINDLASS_ASSIGN_OR_RETURN(const int64_t number, value.WholeNumber());
        numbers.push_back(number);
        return absl::OkStatus();
      }));
  return numbers;
}

absl::Status ReadField(Field field, JsonValue value, SafetensorsEntry* entry) {
  if (field == kDType) {
    WINDLASS_ASSIGN_OR_RETURN(entry->dtype, ReadDType(value));
  } else if (field == kShape) {
    WINDLASS_ASSIGN_OR_RETURN(entry->shape, ReadNumbers(value));
  } else if (field == kOffsets) {
    WINDLASS_ASSIGN_OR_RETURN(const Shape numbers, ReadNumbers(value));
    if (numbers.size() != 2) {
      return absl::InvalidArgumentError(absl::StrCat(
          "found ", ShapeString(numbers), ", expected a begin and an end"));
    }
    entry->begin = numbers[0];
    entry->end = numbers[1];
  } else {
    // The reference library reads over a field that the format does not know.
    return value.Skip();
  }
  return absl::OkStatus();
}

absl::Status ReadEntry(JsonValue value, SafetensorsEntry* entry) {
  int seen = 0;
  WINDLASS_RETURN_IF_ERROR(value.ForEachMember(
      [&](absl::string_view name, JsonValue value) -> absl::Status {
        const Field field = FindField(name);
        absl::Status read = (seen & field) != 0
                                ? absl::InvalidArgumentError("found twice")
                                : ReadField(field, value, entry);
        seen |= field;
        return Annotate(read, name);
      }));
  for (const char* name : {"dtype", "shape", "data_offsets"}) {
    if ((seen & FindField(name)) == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("field \"", name, "\" is missing"));
    }
  }
  return absl::OkStatus();
}

absl::Status ReadMetadata(JsonValue value, SafetensorsMetadata* metadata) {
  absl::flat_hash_set<std::string> keys;
  return value.ForEachMember(
      [&](absl::string_view key, JsonValue value) -> absl::Status {
        const bool twice = !keys.emplace(key).second;
        const absl::StatusOr<absl::string_view> text =
            twice ? absl::InvalidArgumentError("found twice") : value.String();
        if (!text.ok()) {
          return Annotate(text.status(), "key \"", key, "\"");
        }
        metadata->emplace_back(key, *text);
        return absl::OkStatus();
      });
}

absl::Status ReadHeader(absl::string_view json, SafetensorsHeader* header) {
  bool has_metadata = false;
  return ReadJsonObject(json, [&](absl::string_view name, JsonValue value) {
    if (name == "__metadata__") {
      absl::Status read = std::exchange(has_metadata, true)
                              ? absl::InvalidArgumentError("found twice")
                              : ReadMetadata(value, &header->metadata);
      return Annotate(read, name);
    }
    header->tensors.emplace_back();
    header->tensors.back().name = std::string(name);
    return Annotate(ReadEntry(value, &header->tensors.back()), "tensor \"",
                    name, "\"");
  });
}

absl::Status CheckNames(const std::vector<SafetensorsEntry>& tensors) {
  absl::flat_hash_set<absl::string_view> names;
  names.reserve(tensors.size());
  for (const SafetensorsEntry& entry : tensors) {
    if (names.insert(entry.name).second) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("tensor \"", entry.name, "\": found twice"));
  }
  return absl::OkStatus();
}

bool LiesBefore(const SafetensorsEntry& a, const SafetensorsEntry& b) {
  return std::tie(a.begin, a.end) < std::tie(b.begin, b.end);
}

// An entry whose data should begin at `expected`.
absl::Status CheckEntry(const SafetensorsEntry& entry, int64_t expected) {
  auto refuse = [&entry](const auto&... message) {
    return absl::InvalidArgumentError(
        absl::StrCat("tensor \"", entry.name, "\": data_offsets [", entry.begin,
                     ", ", entry.end, ") ", message...));
  };
  if (entry.end < entry.begin) return refuse("end before they begin");
  const absl::StatusOr<int64_t> bytes = ByteSize(entry.dtype, entry.shape);
  if (!bytes.ok()) {
    return Annotate(absl::InvalidArgumentError(bytes.status().message()),
                    "tensor \"", entry.name, "\"");
  }
  if (entry.end - entry.begin != *bytes) {
    return refuse("hold ", entry.end - entry.begin, " bytes, shape ",
                  ShapeString(entry.shape), " of ", DTypeName(entry.dtype),
                  " needs ", *bytes);
  }
  if (entry.begin != expected) {
    return refuse("leave ", entry.begin < expected ? "an overlap" : "a hole",
                  ", expected them to begin at ", expected);
  }
  return absl::OkStatus();
}

// Sorts the tensors by their data, and checks that it fills the file without
// hole or overlap.
absl::Status CheckLayout(int64_t data_bytes,
                         std::vector<SafetensorsEntry>* tensors) {
  if (!absl::c_is_sorted(*tensors, LiesBefore)) {
    absl::c_stable_sort(*tensors, LiesBefore);
  }
  int64_t expected = 0;
  for (const SafetensorsEntry& entry : *tensors) {
    WINDLASS_RETURN_IF_ERROR(CheckEntry(entry, expected));
    expected = entry.end;
  }
  if (expected == data_bytes) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "the tensors take ", expected, " bytes, the file holds ", data_bytes,
      expected > data_bytes ? ": it is cut short" : ""));
}

}  // namespace

absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(absl::string_view json,
                                                         int64_t data_bytes) {
  SafetensorsHeader header;
  WINDLASS_RETURN_IF_ERROR(Annotate(ReadHeader(json, &header), "the header"));
  WINDLASS_RETURN_IF_ERROR(CheckNames(header.tensors));
  WINDLASS_RETURN_IF_ERROR(CheckLayout(data_bytes, &header.tensors));
  return header;
}

namespace {

absl::StatusOr<SafetensorsHeader> ReadHeaderOf(const ByteSource& file) {
  auto refuse = [&file](const auto&... message) {
    return absl::InvalidArgumentError(
        absl::StrCat(file.name(), ": ", message...));
  };
  unsigned char length[8];
  if (file.size() < static_cast<int64_t>(sizeof(length))) {
    return refuse("found ", file.size(),
                  " bytes, expected 8 of header length at least");
  }
  WINDLASS_RETURN_IF_ERROR(file.ReadAt(
      0, absl::MakeSpan(reinterpret_cast<char*>(length), sizeof(length))));
  uint64_t header_bytes = 0;
  for (int i = 7; i >= 0; --i) header_bytes = header_bytes << 8 | length[i];
  if (header_bytes > static_cast<uint64_t>(kMaxSafetensorsHeader)) {
    return refuse("found a header of ", header_bytes, " bytes, expected ",
                  kMaxSafetensorsHeader, " at most");
  }
  const int64_t data_begin = 8 + static_cast<int64_t>(header_bytes);
  if (data_begin > file.size()) {
    return refuse("found a header of ", header_bytes, " bytes, the file has ",
                  file.size() - 8, " for it");
  }
  WINDLASS_ASSIGN_OR_RETURN(const std::string json,
                            ReadRange(file, 8, header_bytes));
  absl::StatusOr<SafetensorsHeader> header =
      ParseSafetensorsHeader(json, file.size() - data_begin);
  if (!header.ok()) return Annotate(header.status(), file.name());
  header->data_begin = data_begin;
  return header;
}

}  // namespace

absl::StatusOr<SafetensorsHeader> ReadSafetensorsHeader(
    const ByteSource& file) {
  absl::StatusOr<SafetensorsHeader> header = ReadHeaderOf(file);
  if (!absl::IsInvalidArgument(header.status())) return header;
  // Bytes that mark another format may begin a good header, so they are only
  // looked at now.
  const absl::StatusOr<std::string> leading =
      ReadRange(file, 0, std::min<int64_t>(file.size(), kLeadingBytes));
  if (!leading.ok()) return leading.status();
  if (leading->size() > 8 && (*leading)[8] == '{') return header;
  const std::string found = DescribeLeadingBytes(*leading);
  if (found.empty()) return header;
  return absl::InvalidArgumentError(absl::StrCat(
      file.name(), ": found ", found, ", expected a safetensors file"));
}

std::string SerializeSafetensorsHeader(
    const SafetensorsMetadata& metadata,
    absl::Span<const SafetensorsEntry> tensors, int64_t alignment,
    int64_t remainder) {
  std::string out(8, '\0');
  const char* separator = "{";
  if (!metadata.empty()) {
    out.append("{\"__metadata__\":");
    for (const auto& [key, value] : metadata) {
      out.append(separator);
      AppendJsonString(key, &out);
      out.append(":");
      AppendJsonString(value, &out);
      separator = ",";
    }
    out.append("}");
    separator = ",";
  }
  for (const SafetensorsEntry& entry : tensors) {
    out.append(separator);
    AppendJsonString(entry.name, &out);
    absl::StrAppend(&out, ":{\"dtype\":\"", DTypeName(entry.dtype),
                    "\",\"shape\":[", absl::StrJoin(entry.shape, ","),
                    "],\"data_offsets\":[", entry.begin, ",", entry.end, "]}");
    separator = ",";
  }
  if (*separator == '{') out.append("{");
  out.append("}");
  const int64_t beyond = static_cast<int64_t>(out.size()) % alignment;
  out.append((alignment + remainder - beyond) % alignment, ' ');
  uint64_t length = out.size() - 8;
  for (int i = 0; i < 8; ++i, length >>= 8) {
    out[i] = static_cast<char>(length & 0xFF);
  }
  return out;
}

}  // namespace windlass
