#include "windlass/core/json_reader.h"

#include <cstddef>
#include <limits>
#include <string>
#include <string_view>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

using simdjson::ondemand::json_type;

constexpr int kMaxDepth = 128;

absl::Status NotJson(absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("not JSON: ", why));
}

absl::Status NotJson(simdjson::error_code error) {
  return NotJson(simdjson::error_message(error));
}

absl::string_view ToAbsl(std::string_view text) {
  return absl::string_view(text.data(), text.size());
}

// JSON knows four kinds of white space; C has two more, which are none.
absl::string_view StripSpace(absl::string_view text) {
  const size_t end = text.find_last_not_of(" \t\n\r");
  return text.substr(0, end == text.npos ? 0 : end + 1);
}

// The text of a scalar.
absl::string_view Token(simdjson::ondemand::value& value) {
  return StripSpace(ToAbsl(value.raw_json_token()));
}

std::string Describe(simdjson::ondemand::value& value) {
  json_type type;
  if (value.type().get(type)) return "what is not JSON";
  if (type == json_type::object) return "an object";
  if (type == json_type::array) return "a list";
  const absl::string_view token = Token(value);
  constexpr size_t kShown = 80;
  if (token.size() <= kShown) return std::string(token);
  return absl::StrCat(token.substr(0, kShown), "...");
}

}  // namespace

absl::Status JsonValue::Unexpected(absl::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat("found ", Describe(value_), ", expected ", what));
}

absl::StatusOr<absl::string_view> JsonValue::String() {
  std::string_view text;
  const simdjson::error_code error = value_.get_string().get(text);
  if (error == simdjson::INCORRECT_TYPE) return Unexpected("a string");
  if (error) return NotJson(error);
  return ToAbsl(text);
}

absl::StatusOr<int64_t> JsonValue::WholeNumber() {
  uint64_t number = 0;
  if (value_.get_uint64().get(number)) return Unexpected("a whole number");
  if (number > std::numeric_limits<int64_t>::max()) {
    return Unexpected("a number below 2^63");
  }
  return static_cast<int64_t>(number);
}

absl::Status JsonValue::VisitMembers(simdjson::ondemand::object object,
                                     const char* document, int depth,
                                     MemberVisitor visit) {
  if (depth > kMaxDepth) return NotJson("it nests more than 128 levels deep");
  for (auto member : object) {
    simdjson::ondemand::field field;
    std::string_view name;
    if (auto error = std::move(member).get(field)) return NotJson(error);
    if (auto error = field.unescaped_key().get(name)) return NotJson(error);
    WINDLASS_RETURN_IF_ERROR(
        visit(ToAbsl(name), JsonValue(field.value(), document, depth)));
  }
  return absl::OkStatus();
}

absl::Status JsonValue::ForEachMember(MemberVisitor visit) {
  simdjson::ondemand::object object;
  const simdjson::error_code error = value_.get_object().get(object);
  if (error == simdjson::INCORRECT_TYPE) return Unexpected("an object");
  if (error) return NotJson(error);
  return VisitMembers(object, document_, depth_ + 1, visit);
}

absl::Status JsonValue::ForEachElement(ElementVisitor visit) {
  simdjson::ondemand::array array;
  const simdjson::error_code error = value_.get_array().get(array);
  if (error == simdjson::INCORRECT_TYPE) return Unexpected("a list");
  if (error) return NotJson(error);
  if (depth_ >= kMaxDepth) return NotJson("it nests more than 128 levels deep");
  for (auto element : array) {
    simdjson::ondemand::value value;
    if (auto error = std::move(element).get(value)) return NotJson(error);
    WINDLASS_RETURN_IF_ERROR(visit(JsonValue(value, document_, depth_ + 1)));
  }
  return absl::OkStatus();
}

absl::Status JsonValue::Skip() {
  json_type type;
  if (auto error = value_.type().get(type)) return NotJson(error);
  switch (type) {
    case json_type::object:
      return ForEachMember(
          [](absl::string_view, JsonValue value) { return value.Skip(); });
    case json_type::array:
      return ForEachElement([](JsonValue value) { return value.Skip(); });
    case json_type::string:
      return String().status();
    case json_type::number: {
      double number;
      if (auto error = value_.get_double().get(number)) return NotJson(error);
      return absl::OkStatus();
    }
    default: {
      const absl::string_view token = Token(value_);
      if (token == "true" || token == "false" || token == "null") {
        return absl::OkStatus();
      }
      return NotJson(absl::StrCat("found ", token));
    }
  }
}

absl::StatusOr<absl::string_view> JsonValue::RawText() {
  json_type type;
  if (auto error = value_.type().get(type)) return NotJson(error);
  std::string_view text;
  if (type == json_type::object) {
    simdjson::ondemand::object object;
    simdjson::error_code error = value_.get_object().get(object);
    if (!error) error = object.raw_json().get(text);
    if (error) return NotJson(error);
  } else if (type == json_type::array) {
    simdjson::ondemand::array array;
    simdjson::error_code error = value_.get_array().get(array);
    if (!error) error = array.raw_json().get(text);
    if (error) return NotJson(error);
  } else {
    const absl::string_view token = Token(value_);
    WINDLASS_RETURN_IF_ERROR(Skip());
    return token;
  }
  return StripSpace(ToAbsl(text));
}

bool JsonValue::IsNull() {
  json_type type;
  return !value_.type().get(type) && type == json_type::null &&
         Token(value_) == "null";
}

char JsonValue::First() { return value_.raw_json_token().front(); }

int64_t JsonValue::Offset() {
  return value_.raw_json_token().data() - document_;
}

bool IsUtf8(absl::string_view text) {
  return simdjson::validate_utf8(text.data(), text.size());
}

absl::Status ReadJsonObject(absl::string_view text,
                            JsonValue::MemberVisitor visit) {
  // Some versions of simdjson read over a byte order mark.
  if (absl::StartsWith(text, "\xEF\xBB\xBF")) {
    return NotJson("it starts with a byte order mark");
  }
  const simdjson::padded_string padded(text.data(), text.size());
  simdjson::ondemand::parser parser;
  simdjson::ondemand::document document;
  simdjson::ondemand::object object;
  simdjson::error_code error = parser.iterate(padded).get(document);
  if (!error) error = document.get_object().get(object);
  if (error == simdjson::INCORRECT_TYPE) {
    return absl::InvalidArgumentError("expected an object");
  }
  if (error) return NotJson(error);
  WINDLASS_RETURN_IF_ERROR(
      JsonValue::VisitMembers(object, padded.data(), 1, visit));
  const bool at_end =
      document.current_location().error() == simdjson::OUT_OF_BOUNDS;
  return at_end ? absl::OkStatus() : NotJson("text follows the object");
}

}  // namespace windlass
