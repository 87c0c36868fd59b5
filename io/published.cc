#include "windlass/io/published.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "windlass/core/json.h"
#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

constexpr char kFiles[] = "fqn_to_file_index_mapping.json";
constexpr char kDTypes[] = "fqn_to_dtype_mapping.json";
constexpr int64_t kMaxBytes = int64_t{1} << 30;
// More files than any model has; a name with its number stays short.
constexpr int64_t kMaxFiles = 99999;

absl::Status Wrong(const std::string& path, const std::string& name,
                   const Json& value, const char* expected) {
  return absl::InvalidArgumentError(absl::StrCat(path, ": tensor \"", name,
                                                 "\": found ", value.dump(),
                                                 ", expected ", expected));
}

absl::StatusOr<Json> ReadObject(const Location& folder, const char* name) {
  const std::string path = JoinPath(folder.path, name);
  WINDLASS_ASSIGN_OR_RETURN(const std::string text,
                            ReadFile(*folder.storage, path, kMaxBytes));
  absl::StatusOr<Json> json = ParseJson(text);
  if (!json.ok()) return Annotate(json.status(), path);
  if (json->is_object()) return json;
  return absl::InvalidArgumentError(absl::StrCat(path, ": expected an object"));
}

}  // namespace

int Published::file_count() const {
  int count = 0;
  for (const auto& [name, file] : files) count = std::max(count, file);
  return count;
}

bool IsPublishedMapping(absl::string_view name) {
  return name == kFiles || name == kDTypes;
}

absl::StatusOr<Published> ReadPublished(const Location& metadata,
                                        const std::vector<std::string>& names) {
  Published published;
  if (absl::c_linear_search(names, kFiles)) {
    WINDLASS_ASSIGN_OR_RETURN(const Json json, ReadObject(metadata, kFiles));
    for (const auto& [name, value] : json.items()) {
      if (!value.is_number_integer() || value < 1 || value > kMaxFiles) {
        return Wrong(JoinPath(metadata.path, kFiles), name, value,
                     "a file's number, from 1");
      }
      published.files.emplace_back(name, value.get<int>());
    }
  }
  if (absl::c_linear_search(names, kDTypes)) {
    WINDLASS_ASSIGN_OR_RETURN(const Json json, ReadObject(metadata, kDTypes));
    for (const auto& [name, value] : json.items()) {
      const std::optional<DType> dtype =
          value.is_string() ? ParseDType(value.get<std::string>())
                            : std::nullopt;
      if (!dtype.has_value()) {
        return Wrong(JoinPath(metadata.path, kDTypes), name, value,
                     "a dtype of safetensors");
      }
      published.dtypes.emplace(name, *dtype);
    }
  }
  return published;
}

}  // namespace windlass
