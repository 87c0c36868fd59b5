#include "windlass/core/located_json.h"

#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "windlass/core/json.h"
#include "windlass/core/json_reader.h"
#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

class Builder {
 public:
  explicit Builder(absl::string_view text) : text_(text) {}

  absl::Status AddMember(absl::string_view name, JsonValue value,
                         LocatedJson* object) {
    WINDLASS_ASSIGN_OR_RETURN(LocatedJson built, Build(value));
    if (object->Find(name) != nullptr) {
      return built.Error(absl::StrCat("found a second \"", name,
                                      "\", expected one in an object"));
    }
    object->members.push_back({std::string(name), std::move(built)});
    return absl::OkStatus();
  }

 private:
  absl::StatusOr<LocatedJson> Build(JsonValue value) {
    LocatedJson json;
    Locate(value.Offset(), &json);
    switch (value.First()) {
      case '{':
        json.kind = LocatedJson::Kind::kObject;
        WINDLASS_RETURN_IF_ERROR(
            value.ForEachMember([&](absl::string_view name, JsonValue member) {
              return AddMember(name, member, &json);
            }));
        return json;
      case '[':
        json.kind = LocatedJson::Kind::kList;
        WINDLASS_RETURN_IF_ERROR(
            value.ForEachElement([&](JsonValue element) -> absl::Status {
              WINDLASS_ASSIGN_OR_RETURN(LocatedJson built, Build(element));
              json.elements.push_back(std::move(built));
              return absl::OkStatus();
            }));
        return json;
      case '"': {
        json.kind = LocatedJson::Kind::kString;
        WINDLASS_ASSIGN_OR_RETURN(const absl::string_view text, value.String());
        json.text = std::string(text);
        return json;
      }
      default: {
        WINDLASS_ASSIGN_OR_RETURN(const absl::string_view text,
                                  value.RawText());
        json.text = std::string(text);
        return json;
      }
    }
  }

  // Offsets come in their order.
  void Locate(int64_t offset, LocatedJson* json) {
    for (; at_ < offset; ++at_) {
      if (text_[at_] != '\n') continue;
      ++line_;
      line_begin_ = at_ + 1;
    }
    json->line = line_;
    json->column = offset - line_begin_ + 1;
  }

  const absl::string_view text_;
  int64_t at_ = 0;
  int64_t line_ = 1;
  int64_t line_begin_ = 0;
};

}  // namespace

const LocatedJson* LocatedJson::Find(absl::string_view name) const {
  const auto found = absl::c_find_if(
      members, [name](const Member& member) { return member.name == name; });
  return found == members.end() ? nullptr : &found->value;
}

absl::Status LocatedJson::Error(absl::string_view what) const {
  return absl::InvalidArgumentError(
      absl::StrCat("line ", line, ", column ", column, ": ", what));
}

absl::Status LocatedJson::Unexpected(absl::string_view what) const {
  std::string found = text;
  if (kind == Kind::kString) found = absl::StrCat("\"", text, "\"");
  if (kind == Kind::kList) found = "a list";
  if (kind == Kind::kObject) found = "an object";
  return Error(absl::StrCat("found ", found, ", expected ", what));
}

absl::StatusOr<std::string> LocatedJson::String() const {
  if (kind != Kind::kString) return Unexpected("a string");
  return text;
}

absl::StatusOr<int64_t> LocatedJson::Integer() const {
  int64_t number = 0;
  if (kind != Kind::kScalar || !absl::SimpleAtoi(text, &number)) {
    return Unexpected("a whole number");
  }
  return number;
}

absl::Status LocatedJson::ExpectMembers(
    const std::vector<absl::string_view>& names) const {
  if (kind != Kind::kObject) return Unexpected("an object");
  for (const Member& member : members) {
    if (absl::c_linear_search(names, member.name)) continue;
    return member.value.Error(
        absl::StrCat("found the field \"", member.name,
                     "\", expected one of: ", absl::StrJoin(names, ", ")));
  }
  return absl::OkStatus();
}

absl::StatusOr<LocatedJson> ParseLocatedJson(absl::string_view text) {
  // Says where a fault of the text itself is.
  WINDLASS_RETURN_IF_ERROR(ParseJson(text).status());
  LocatedJson json;
  json.kind = LocatedJson::Kind::kObject;
  json.line = json.column = 1;
  Builder builder(text);
  WINDLASS_RETURN_IF_ERROR(
      ReadJsonObject(text, [&](absl::string_view name, JsonValue value) {
        return builder.AddMember(name, value, &json);
      }));
  return json;
}

}  // namespace windlass
