// JsonFields: the fields of a JSON object, with accessors whose errors name the
// field and what was found. A model's config.json and an adapter's options are
// read through it.

#ifndef WINDLASS_CORE_JSON_FIELDS_H_
#define WINDLASS_CORE_JSON_FIELDS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace windlass {

// Immutable, thread-safe, cheap to copy.
class JsonFields {
 public:
  // No field at all.
  JsonFields();

  // `origin` says in messages where the text comes from, a path as a rule.
  // InvalidArgument where the text is no JSON object.
  static absl::StatusOr<JsonFields> Parse(absl::string_view text,
                                          std::string origin);

  const std::string& origin() const { return origin_; }

  // Names of the top-level fields, sorted.
  std::vector<std::string> Names() const;

  // True where the field is there and not null.
  bool Has(absl::string_view field) const;

  // NotFound for a missing field, InvalidArgument for another type.
  absl::StatusOr<int64_t> GetInt(absl::string_view field) const;
  absl::StatusOr<bool> GetBool(absl::string_view field) const;
  absl::StatusOr<std::string> GetString(absl::string_view field) const;
  absl::StatusOr<std::vector<std::string>> GetStrings(
      absl::string_view field) const;
  absl::StatusOr<std::vector<int64_t>> GetInts(absl::string_view field) const;
  // An integer or any other number.
  absl::StatusOr<double> GetNumber(absl::string_view field) const;

  // As GetInt, and InvalidArgument for what is not above zero.
  absl::StatusOr<int64_t> GetPositiveInt(absl::string_view field) const;

  // As GetBool, or `fallback` where the field is missing.
  absl::StatusOr<bool> GetBoolOr(absl::string_view field, bool fallback) const;

  // An object within this one; no field where it is missing or no object.
  JsonFields GetObject(absl::string_view field) const;

  // "config.json: field "x": found 3, expected <expected>"
  absl::Status WrongValue(absl::string_view field,
                          absl::string_view expected) const;

 private:
  struct Object;

  std::string origin_;
  std::shared_ptr<const Object> object_;
};

}  // namespace windlass

#endif  // WINDLASS_CORE_JSON_FIELDS_H_
