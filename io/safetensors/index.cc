#include "windlass/io/safetensors/index.h"

#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "windlass/core/json.h"
#include "windlass/core/json_reader.h"
#include "windlass/core/status_macros.h"
#include "windlass/io/storage/storage.h"

namespace windlass {
namespace {

// NAME of "./NAME", as Python's path functions read it.
absl::string_view WithoutDot(absl::string_view name) {
  while (absl::StartsWith(name, "./")) {
    name.remove_prefix(2);
    while (absl::StartsWith(name, "/")) name.remove_prefix(1);
  }
  return name;
}

class WeightMapReader {
 public:
  explicit WeightMapReader(absl::FunctionRef<void(const std::string&)> found)
      : found_(found) {}

  absl::Status ReadMetadata(JsonValue metadata) {
    if (metadata.IsNull()) return metadata.Skip();
    return metadata.ForEachMember([this](absl::string_view name,
                                         JsonValue value) -> absl::Status {
      WINDLASS_ASSIGN_OR_RETURN(const absl::string_view text, value.RawText());
      WINDLASS_RETURN_IF_ERROR(ParseJson(text).status());
      map_.metadata.emplace_back(name, text);
      return absl::OkStatus();
    });
  }

  absl::Status Read(JsonValue weight_map) {
    return weight_map.ForEachMember(
        [this](absl::string_view tensor, JsonValue value) {
          return Annotate(Add(tensor, value), "weight_map: tensor \"", tensor,
                          "\"");
        });
  }

  WeightMap Build() && { return std::move(map_); }

 private:
  absl::Status Add(absl::string_view tensor, JsonValue value) {
    WINDLASS_ASSIGN_OR_RETURN(const absl::string_view path, value.String());
    const absl::string_view name = WithoutDot(path);
    // Neighbours lie in the same file as a rule.
    if (map_.entries.empty() || name != map_.files[file_]) {
      const auto [it, is_new] = numbers_.try_emplace(name, map_.files.size());
      if (is_new) {
        if (!IsFileName(name)) {
          return value.Unexpected("the name of a file in this folder");
        }
        map_.files.emplace_back(name);
        found_(map_.files.back());
      }
      file_ = it->second;
    }
    map_.entries.push_back(
        {map_.names.size(), static_cast<uint32_t>(tensor.size()), file_});
    map_.names.append(tensor.data(), tensor.size());
    return absl::OkStatus();
  }

  const absl::FunctionRef<void(const std::string&)> found_;
  WeightMap map_;
  absl::flat_hash_map<std::string, int> numbers_;
  int file_ = 0;
};

}  // namespace

absl::StatusOr<WeightMap> ParseWeightMap(
    absl::string_view json, absl::FunctionRef<void(const std::string&)> found) {
  WeightMapReader reader(found);
  bool has_map = false;
  bool has_metadata = false;
  WINDLASS_RETURN_IF_ERROR(ReadJsonObject(
      json, [&](absl::string_view name, JsonValue value) -> absl::Status {
        if (name != "weight_map" && name != "metadata") return value.Skip();
        const bool is_map = name == "weight_map";
        if (std::exchange(is_map ? has_map : has_metadata, true)) {
          return absl::InvalidArgumentError(
              absl::StrCat(name, ": found twice"));
        }
        return is_map ? reader.Read(value)
                      : Annotate(reader.ReadMetadata(value), "metadata");
      }));
  if (!has_map) {
    return absl::InvalidArgumentError("expected an object \"weight_map\"");
  }
  return std::move(reader).Build();
}

}  // namespace windlass
