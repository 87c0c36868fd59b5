#include "windlass/io/safetensors/sharding_info.h"

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "windlass/core/json.h"
#include "windlass/core/json_reader.h"
#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

constexpr char kOffsets[] = "saved_offsets";

absl::Status ReadEntry(JsonValue entry, Shape* offsets) {
  bool found = false;
  WINDLASS_RETURN_IF_ERROR(entry.ForEachMember(
      [&](absl::string_view field, JsonValue value) -> absl::Status {
        if (field != kOffsets) return value.Skip();
        found = true;
        return value.ForEachElement([&](JsonValue number) -> absl::Status {
          WINDLASS_ASSIGN_OR_RETURN(const int64_t offset, number.WholeNumber());
          offsets->push_back(offset);
          return absl::OkStatus();
        });
      }));
  if (found) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("found no \"", kOffsets, "\", expected it"));
}

}  // namespace

absl::StatusOr<ShardingInfo> ParseShardingInfo(absl::string_view json) {
  ShardingInfo info;
  const absl::Status read =
      ReadJsonObject(json, [&info](absl::string_view name, JsonValue entry) {
        // No empty Shape is moved: GCC 12 warns of its room under sanitizers.
        info.emplace_back();
        info.back().first = std::string(name);
        return Annotate(ReadEntry(entry, &info.back().second), "tensor \"",
                        name, "\"");
      });
  if (!read.ok()) return Annotate(read, kShardingInfo);
  return info;
}

std::string WriteShardingInfo(const ShardingInfo& info) {
  std::string json = "{";
  for (const auto& [name, offsets] : info) {
    if (json.size() > 1) json += ", ";
    AppendJsonString(name, &json);
    absl::StrAppend(&json, ": {\"", kOffsets, "\": [",
                    absl::StrJoin(offsets, ", "), "]}");
  }
  return json + "}";
}

}  // namespace windlass
