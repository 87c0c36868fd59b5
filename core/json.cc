#include "windlass/core/json.h"

#include <algorithm>
#include <cstddef>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "windlass/core/leading_bytes.h"

namespace windlass {
namespace {

// Reads without keeping anything, to refuse bad text before it is built. The
// callbacks' names are nlohmann's.
class Validator : public nlohmann::json_sax<Json> {
 public:
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool key(string_t&) override { return true; }
  bool start_object(std::size_t) override { return Enter(); }
  bool start_array(std::size_t) override { return Enter(); }
  bool end_object() override { return Leave(); }
  bool end_array() override { return Leave(); }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    position_ = position;
    return false;
  }

  // Whether the text was given up for its depth, not for a fault.
  bool too_deep() const { return depth_ > kMaxDepth; }
  // How much was read up to the fault.
  std::size_t position() const { return position_; }

 private:
  bool Enter() { return ++depth_ <= kMaxDepth; }
  bool Leave() {
    --depth_;
    return true;
  }

  static constexpr int kMaxDepth = 128;

  int depth_ = 0;
  std::size_t position_ = 0;
};

// "line 3, column 5: what", of the byte at `position`.
absl::Status ErrorAt(absl::string_view text, std::size_t position,
                     absl::string_view what) {
  const absl::string_view before = text.substr(0, position);
  const std::size_t newline = before.rfind('\n');
  const std::size_t line_begin = newline == before.npos ? 0 : newline + 1;
  return absl::InvalidArgumentError(
      absl::StrCat("line ", absl::c_count(before, '\n') + 1, ", column ",
                   before.size() - line_begin + 1, ": ", what));
}

// The literal of Python's JSON that `text` starts with; empty for none.
absl::string_view PythonNumber(absl::string_view text) {
  for (absl::string_view word : {"NaN", "Infinity", "-Infinity"}) {
    if (!absl::StartsWith(text, word)) continue;
    const bool ends =
        text.size() == word.size() ||
        !(absl::ascii_isalnum(text[word.size()]) || text[word.size()] == '_');
    return ends ? word : absl::string_view();
  }
  return {};
}

// JSON's text with what Python writes beyond it put between quotes.
struct StrictText {
  std::string text;
  std::vector<std::size_t> quoted;  // where the words begin in `text`

  // Where in the original text a byte of `text` stands.
  std::size_t Original(std::size_t position) const {
    std::size_t shift = 0;
    for (std::size_t begin : quoted) {
      if (begin < position) shift += 2;
    }
    return position - std::min(shift, position);
  }
};

// Where the string that begins at `begin` ends, its last quote included.
std::size_t EndOfString(absl::string_view text, std::size_t begin) {
  for (std::size_t i = begin + 1; i < text.size(); ++i) {
    if (text[i] == '\\') {
      ++i;
    } else if (text[i] == '"') {
      return i + 1;
    }
  }
  return text.size();
}

// Refuses the two things that people add to JSON, by their names.
absl::StatusOr<StrictText> MakeStrict(absl::string_view text) {
  StrictText strict;
  strict.text.reserve(text.size());
  std::size_t comma = text.npos;  // where only white space has followed it
  for (std::size_t i = 0; i < text.size();) {
    std::size_t end = i + 1;
    const char c = text[i];
    const absl::string_view word =
        c == 'N' || c == 'I' || c == '-' ? PythonNumber(text.substr(i)) : "";
    if (c == '/') return ErrorAt(text, i, "found a comment, expected JSON");
    if ((c == ']' || c == '}') && comma != text.npos) {
      return ErrorAt(text, comma, "found a trailing comma, expected JSON");
    }
    if (!absl::ascii_isspace(c)) comma = c == ',' ? i : text.npos;
    if (!word.empty()) {
      end = i + word.size();
      strict.quoted.push_back(strict.text.size());
      absl::StrAppend(&strict.text, "\"", word, "\"");
    } else {
      if (c == '"') end = EndOfString(text, i);
      strict.text.append(text.data() + i, end - i);
    }
    i = end;
  }
  return strict;
}

}  // namespace

absl::StatusOr<Json> ParseJson(absl::string_view text) {
  constexpr absl::string_view kByteOrderMark = "\xEF\xBB\xBF";
  if (absl::StartsWith(text, kByteOrderMark)) {
    text.remove_prefix(kByteOrderMark.size());
  }
  // What does not begin as JSON is told from JSON with a fault in it.
  const absl::string_view begin = absl::StripLeadingAsciiWhitespace(text);
  // The parser takes a NUL for the end, whatever follows.
  const std::size_t nul = text.find('\0');
  if (begin.empty() ||
      (begin[0] != '/' && !absl::StrContains("{[\"", begin[0]))) {
    const Json scalar = Json::parse(text.data(), text.data() + text.size(),
                                    nullptr, /*allow_exceptions=*/false);
    if (nul == text.npos && !scalar.is_discarded()) return scalar;
    const std::string found = DescribeLeadingBytes(text);
    if (!found.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("found ", found, ", expected JSON"));
    }
  }
  if (nul != text.npos) {
    return ErrorAt(text, nul, "found a NUL byte, expected JSON");
  }
  absl::StatusOr<StrictText> strict = MakeStrict(text);
  if (!strict.ok()) return strict.status();
  const char* const first = strict->text.data();
  const char* const last = first + strict->text.size();
  Validator validator;
  if (Json::sax_parse(first, last, &validator)) {
    return Json::parse(first, last, nullptr, /*allow_exceptions=*/false);
  }
  if (validator.too_deep()) {
    return absl::InvalidArgumentError("JSON nested more than 128 levels deep");
  }
  const std::size_t read = strict->Original(validator.position());
  if (read > text.size()) {
    return ErrorAt(text, text.size(), "found the end, expected more JSON");
  }
  return ErrorAt(text, read == 0 ? 0 : read - 1, "not JSON from here on");
}

namespace {

std::size_t SkipSpace(absl::string_view json, std::size_t at) {
  while (at < json.size() && absl::ascii_isspace(json[at])) ++at;
  return at;
}

// Whether a string, as it stands in a JSON text between its quotes, says
// `name`. Letters may be written by their numbers, too.
bool Says(absl::string_view text, absl::string_view name) {
  if (!absl::StrContains(text, '\\')) return text == name;
  const Json json = Json::parse(absl::StrCat("\"", text, "\""), nullptr,
                                /*allow_exceptions=*/false);
  return json.is_string() && json.get<std::string>() == name;
}

// The position of the comma or bracket behind the value that starts at `at`.
std::size_t EndOfValue(absl::string_view json, std::size_t at) {
  int depth = 0;
  while (at < json.size()) {
    const char c = json[at];
    if (c == '"') {
      at = EndOfString(json, at);
      continue;
    }
    if (depth == 0 && (c == ',' || c == '}')) break;
    if (c == '{' || c == '[') ++depth;
    if (c == '}' || c == ']') --depth;
    ++at;
  }
  return at;
}

// Where the value of a member begins, if the string [at, end) is its name.
std::size_t FindValue(absl::string_view json, std::size_t at, std::size_t end,
                      absl::string_view name) {
  const std::size_t colon = SkipSpace(json, end);
  if (!Says(json.substr(at + 1, end - at - 2), name) || colon >= json.size() ||
      json[colon] != ':') {
    return json.npos;
  }
  return SkipSpace(json, colon + 1);
}

}  // namespace

std::string ReplaceMembers(
    absl::string_view json, absl::string_view name,
    absl::FunctionRef<std::string(absl::string_view value)> replace) {
  std::string replaced;
  for (std::size_t at = 0; at < json.size();) {
    std::size_t end = at + 1;
    std::size_t value = json.npos;
    if (json[at] == '"') {
      end = EndOfString(json, at);
      value = FindValue(json, at, end, name);
    }
    if (value != json.npos) {
      absl::StrAppend(&replaced, json.substr(at, value - at));
      at = value;
      end = EndOfValue(json, at);
      while (end > at && absl::ascii_isspace(json[end - 1])) --end;
      absl::StrAppend(&replaced, replace(json.substr(at, end - at)));
    } else {
      absl::StrAppend(&replaced, json.substr(at, end - at));
    }
    at = end;
  }
  return replaced;
}

std::string WithoutMembers(absl::string_view json, absl::string_view name) {
  std::string kept;
  for (std::size_t at = 0; at < json.size();) {
    if (json[at] != '"') {
      kept += json[at++];
      continue;
    }
    const std::size_t end = EndOfString(json, at);
    const std::size_t value = FindValue(json, at, end, name);
    if (value == json.npos) {
      absl::StrAppend(&kept, json.substr(at, end - at));
      at = end;
      continue;
    }
    at = EndOfValue(json, value);
    if (at < json.size() && json[at] == ',') {
      // The next member takes its place.
      at = SkipSpace(json, at + 1);
      continue;
    }
    // The last one: the comma before it goes, too, and with it the line break.
    const std::size_t before = kept.find_last_not_of(" \t\r\n");
    if (before != kept.npos && kept[before] == ',') kept.resize(before);
    std::size_t space = at;
    while (space > 0 && absl::ascii_isspace(json[space - 1])) --space;
    at = space;
  }
  return kept;
}

void AppendJsonString(absl::string_view text, std::string* out) {
  const bool plain = absl::c_all_of(text, [](unsigned char c) {
    return c >= 0x20 && c < 0x7F && c != '"' && c != '\\';
  });
  if (plain) {
    absl::StrAppend(out, "\"", text, "\"");
    return;
  }
  out->append(Json(std::string(text))
                  .dump(-1, ' ', false, Json::error_handler_t::replace));
}

}  // namespace windlass
