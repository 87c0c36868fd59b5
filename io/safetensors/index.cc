#include "windlass/io/safetensors/index.h"

#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "windlass/core/status_macros.h"
#include "windlass/io/safetensors/json_reader.h"
#include "windlass/io/storage/storage.h"

namespace windlass {
namespace {

class WeightMapReader {
 public:
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
    WINDLASS_ASSIGN_OR_RETURN(const absl::string_view name, value.String());
    // Neighbours lie in the same file as a rule.
    if (map_.entries.empty() || name != map_.files[file_]) {
      const auto [it, is_new] = numbers_.try_emplace(name, map_.files.size());
      if (is_new) {
        if (!IsFileName(name)) {
          return value.Unexpected("the name of a file in this folder");
        }
        map_.files.emplace_back(name);
      }
      file_ = it->second;
    }
    map_.entries.push_back({std::string(tensor), file_});
    return absl::OkStatus();
  }

  WeightMap map_;
  absl::flat_hash_map<std::string, int> numbers_;
  int file_ = 0;
};

}  // namespace

absl::StatusOr<WeightMap> ParseWeightMap(absl::string_view json) {
  WeightMapReader reader;
  bool found = false;
  WINDLASS_RETURN_IF_ERROR(ReadJsonObject(
      json, [&](absl::string_view name, JsonValue value) -> absl::Status {
        if (name != "weight_map") return value.Skip();
        if (std::exchange(found, true)) {
          return absl::InvalidArgumentError("weight_map: found twice");
        }
        return reader.Read(value);
      }));
  if (!found) {
    return absl::InvalidArgumentError("expected an object \"weight_map\"");
  }
  return std::move(reader).Build();
}

}  // namespace windlass
