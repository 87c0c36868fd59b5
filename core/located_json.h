// JSON that people write: each value knows where it stands in the text, so that
// what is wrong with it can be said by line and column.

#ifndef WINDLASS_CORE_LOCATED_JSON_H_
#define WINDLASS_CORE_LOCATED_JSON_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace windlass {

// A value. Members and elements stand in their order in the text.
struct LocatedJson {
  enum class Kind { kScalar, kString, kList, kObject };
  struct Member;

  Kind kind = Kind::kScalar;
  // A string's value; a number or word as it is written.
  std::string text;
  std::vector<Member> members;
  std::vector<LocatedJson> elements;
  int64_t line = 0;    // from 1
  int64_t column = 0;  // from 1, in bytes

  // Null where there is none.
  const LocatedJson* Find(absl::string_view name) const;

  // InvalidArgument: "line 3, column 5: what".
  absl::Status Error(absl::string_view what) const;
  // "line 3, column 5: found 7, expected `what`"
  absl::Status Unexpected(absl::string_view what) const;

  // InvalidArgument for a value that is something else.
  absl::StatusOr<std::string> String() const;
  absl::StatusOr<int64_t> Integer() const;

  // InvalidArgument where it is no object, or has a member that is not among
  // `names`.
  absl::Status ExpectMembers(const std::vector<absl::string_view>& names) const;
};

struct LocatedJson::Member {
  std::string name;
  LocatedJson value;
};

// The object that `text` is. InvalidArgument says where the text stops being
// JSON, or where a name comes twice in one object, by line and column.
absl::StatusOr<LocatedJson> ParseLocatedJson(absl::string_view text);

}  // namespace windlass

#endif  // WINDLASS_CORE_LOCATED_JSON_H_
