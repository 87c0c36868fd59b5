// The one door to nlohmann/json: parsing without exceptions.

#ifndef WINDLASS_CORE_JSON_H_
#define WINDLASS_CORE_JSON_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

namespace windlass {

// An object's members are sorted by name.
using Json = nlohmann::json;

// InvalidArgument says where the text stops being JSON. Nesting is limited to
// 128 levels.
absl::StatusOr<Json> ParseJson(absl::string_view text);

// Appends text as a JSON string, quotes and all.
void AppendJsonString(absl::string_view text, std::string* out);

}  // namespace windlass

#endif  // WINDLASS_CORE_JSON_H_
