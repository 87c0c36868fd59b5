// The one door to nlohmann/json: parsing without exceptions.

#ifndef WINDLASS_CORE_JSON_H_
#define WINDLASS_CORE_JSON_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

namespace windlass {

// Keeps the order of an object's members.
using Json = nlohmann::ordered_json;

// InvalidArgument says where the text stops being JSON. Nesting is limited to
// 128 levels.
absl::StatusOr<Json> ParseJson(absl::string_view text);

}  // namespace windlass

#endif  // WINDLASS_CORE_JSON_H_
