#include "windlass/core/json_fields.h"

#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "windlass/core/json.h"
#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

// JSON has integers up to 2^64.
bool FitsInt(const Json& json) {
  return json.is_number_integer() &&
         (!json.is_number_unsigned() ||
          json.get<uint64_t>() <= std::numeric_limits<int64_t>::max());
}

}  // namespace

struct JsonFields::Object {
  Json json;

  const Json* Find(absl::string_view field) const {
    auto it = json.find(std::string(field));
    return it == json.end() || it->is_null() ? nullptr : &*it;
  }
};

JsonFields::JsonFields()
    : object_(std::make_shared<const Object>(Object{Json::object()})) {}

absl::StatusOr<JsonFields> JsonFields::Parse(absl::string_view text,
                                             std::string origin) {
  absl::StatusOr<Json> json = ParseJson(text);
  if (!json.ok()) return Annotate(json.status(), origin);
  if (!json->is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(
        origin, ": found a JSON ", json->type_name(), ", expected an object"));
  }
  JsonFields fields;
  fields.origin_ = std::move(origin);
  fields.object_ = std::make_shared<const Object>(Object{*std::move(json)});
  return fields;
}

std::vector<std::string> JsonFields::Names() const {
  std::vector<std::string> names;
  for (const auto& [name, value] : object_->json.items()) {
    names.push_back(name);
  }
  return names;
}

bool JsonFields::Has(absl::string_view field) const {
  return object_->Find(field) != nullptr;
}

absl::Status JsonFields::WrongValue(absl::string_view field,
                                    absl::string_view expected) const {
  const Json* found = object_->Find(field);
  if (found == nullptr) {
    return absl::NotFoundError(absl::StrCat(
        origin_, ": field \"", field, "\" is missing, expected ", expected));
  }
  std::string text =
      found->dump(-1, ' ', false, Json::error_handler_t::replace);
  if (text.size() > 60) text = absl::StrCat(text.substr(0, 60), "...");
  return absl::InvalidArgumentError(absl::StrCat(origin_, ": field \"", field,
                                                 "\": found ", text,
                                                 ", expected ", expected));
}

absl::StatusOr<int64_t> JsonFields::GetInt(absl::string_view field) const {
  const Json* found = object_->Find(field);
  if (found == nullptr || !FitsInt(*found)) {
    return WrongValue(field, "an integer");
  }
  return found->get<int64_t>();
}

absl::StatusOr<double> JsonFields::GetNumber(absl::string_view field) const {
  const Json* found = object_->Find(field);
  if (found == nullptr || !found->is_number()) {
    return WrongValue(field, "a number");
  }
  return found->get<double>();
}

absl::StatusOr<bool> JsonFields::GetBool(absl::string_view field) const {
  const Json* found = object_->Find(field);
  if (found == nullptr || !found->is_boolean()) {
    return WrongValue(field, "true or false");
  }
  return found->get<bool>();
}

absl::StatusOr<std::string> JsonFields::GetString(
    absl::string_view field) const {
  const Json* found = object_->Find(field);
  if (found == nullptr || !found->is_string()) {
    return WrongValue(field, "a string");
  }
  return found->get<std::string>();
}

absl::StatusOr<std::vector<std::string>> JsonFields::GetStrings(
    absl::string_view field) const {
  const Json* found = object_->Find(field);
  if (found == nullptr || !found->is_array()) {
    return WrongValue(field, "a list of strings");
  }
  std::vector<std::string> strings;
  for (const Json& item : *found) {
    if (!item.is_string()) return WrongValue(field, "a list of strings");
    strings.push_back(item.get<std::string>());
  }
  return strings;
}

absl::StatusOr<std::vector<int64_t>> JsonFields::GetInts(
    absl::string_view field) const {
  const Json* found = object_->Find(field);
  if (found == nullptr || !found->is_array()) {
    return WrongValue(field, "a list of integers");
  }
  std::vector<int64_t> numbers;
  for (const Json& item : *found) {
    if (!FitsInt(item)) return WrongValue(field, "a list of integers");
    numbers.push_back(item.get<int64_t>());
  }
  return numbers;
}

absl::StatusOr<int64_t> JsonFields::GetPositiveInt(
    absl::string_view field) const {
  WINDLASS_ASSIGN_OR_RETURN(const int64_t value, GetInt(field));
  if (value > 0) return value;
  return WrongValue(field, "an integer above zero");
}

absl::StatusOr<bool> JsonFields::GetBoolOr(absl::string_view field,
                                           bool fallback) const {
  if (!Has(field)) return fallback;
  return GetBool(field);
}

JsonFields JsonFields::GetObject(absl::string_view field) const {
  JsonFields fields;
  fields.origin_ = absl::StrCat(origin_, ": ", field);
  const Json* found = object_->Find(field);
  if (found != nullptr && found->is_object()) {
    fields.object_ = std::make_shared<const Object>(Object{*found});
  }
  return fields;
}

}  // namespace windlass
