// The one door to nlohmann/json: parsing without exceptions.

#ifndef WINDLASS_CORE_JSON_H_
#define WINDLASS_CORE_JSON_H_

#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

namespace windlass {

// An object's members are sorted by name.
using Json = nlohmann::json;

// JSON as Python writes it: a byte order mark is passed over, and NaN, Infinity
// and -Infinity, which JSON has no number for, become strings of that spelling,
// so that nobody takes them for a number or for null (do not write them back).
// InvalidArgument says where the text stops being JSON, by line and column
// (of bytes), or what it is instead. Nesting is limited to 128 levels.
absl::StatusOr<Json> ParseJson(absl::string_view text);

// The text of a JSON document without the members of this name, wherever they
// stand; all else stays as it is, byte for byte. ParseJson has taken the text.
std::string WithoutMembers(absl::string_view json, absl::string_view name);

// The text of a JSON document with other values for the members of this name,
// wherever they stand: what `replace` makes of each value's text; all else as
// above.
std::string ReplaceMembers(
    absl::string_view json, absl::string_view name,
    absl::FunctionRef<std::string(absl::string_view value)> replace);

// Appends text as a JSON string, quotes and all.
void AppendJsonString(absl::string_view text, std::string* out);

}  // namespace windlass

#endif  // WINDLASS_CORE_JSON_H_
