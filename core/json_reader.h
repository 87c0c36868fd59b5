// JSON of many megabytes, read in one pass and kept nowhere: headers and
// indexes. The one door to simdjson; small documents, and those that are built,
// go through json.h, and those whose author wants to know where a mistake is
// through located_json.h.
//
//   absl::Status s = ReadJsonObject(
//       text, [&](absl::string_view name, JsonValue value) {
//         ASSIGN_OR_RETURN(size, value.WholeNumber());
//         ...
//       });

#ifndef WINDLASS_CORE_JSON_READER_H_
#define WINDLASS_CORE_JSON_READER_H_

#include <cstdint>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "simdjson.h"

namespace windlass {

// A value that the reader stands at. Whoever is given one reads it, once, by
// one of these calls, before the next is given. Each returns InvalidArgument:
// "found 1.5, expected a whole number", or where the text stops being JSON.
class JsonValue {
 public:
  using MemberVisitor =
      absl::FunctionRef<absl::Status(absl::string_view name, JsonValue value)>;
  using ElementVisitor = absl::FunctionRef<absl::Status(JsonValue value)>;

  // Valid until the document's end.
  absl::StatusOr<absl::string_view> String();

  // From 0 to 2^63 - 1.
  absl::StatusOr<int64_t> WholeNumber();

  // An object's members or a list's elements in their order, until `visit`
  // returns an error. A name that comes twice is given twice.
  absl::Status ForEachMember(MemberVisitor visit);
  absl::Status ForEachElement(ElementVisitor visit);

  // Reads over a value of any kind.
  absl::Status Skip();

  // A value of any kind as it is written, valid as long as the document. Only
  // its brackets are looked at: whoever keeps the text has to parse it.
  absl::StatusOr<absl::string_view> RawText();

  // Whether it is the word null; the value can still be read.
  bool IsNull();

  // How it starts in the document: '{', '[', '"', or the first character of a
  // number or word. The value can still be read.
  char First();

  // Where in the document it starts, in bytes; the value can still be read.
  int64_t Offset();

  // "found WHAT IT IS, expected `what`"
  absl::Status Unexpected(absl::string_view what);

 private:
  friend absl::Status ReadJsonObject(absl::string_view text,
                                     MemberVisitor visit);

  JsonValue(simdjson::ondemand::value value, const char* document, int depth)
      : value_(value), document_(document), depth_(depth) {}

  static absl::Status VisitMembers(simdjson::ondemand::object object,
                                   const char* document, int depth,
                                   MemberVisitor visit);

  simdjson::ondemand::value value_;
  const char* document_;
  int depth_;  // of the values around it
};

// Whether the text is UTF-8, as JSON and the pickles of strings have to be.
bool IsUtf8(absl::string_view text);

// Visits the members of the object that `text` is. Nesting is limited to 128
// levels.
absl::Status ReadJsonObject(absl::string_view text,
                            JsonValue::MemberVisitor visit);

}  // namespace windlass

#endif  // WINDLASS_CORE_JSON_READER_H_
