#include "windlass/core/json_fields.h"

#include <cstdint>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/testing/status_matchers.h"

namespace windlass {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

JsonFields Parse(const char* text) {
  return JsonFields::Parse(text, "m/config.json").value();
}

TEST(JsonFieldsTest, ReadsListsOfIntegers) {
  const JsonFields fields = Parse(
      R"({"some": [1, -2, 9223372036854775807, -9223372036854775808],
          "none": []})");
  EXPECT_THAT(fields.GetInts("some"),
              IsOkAndHolds(ElementsAre(1, -2, INT64_MAX, INT64_MIN)));
  EXPECT_THAT(fields.GetInts("none"), IsOkAndHolds(IsEmpty()));
}

TEST(JsonFieldsTest, RefusesOtherListsAndSaysWhatWasFound) {
  struct Row {
    const char* json;
    const char* found;
  };
  constexpr Row kRows[] = {
      {R"({"n": 3})", "found 3"},
      {R"({"n": "3"})", "found \"3\""},
      {R"({"n": {"0": 3}})", "found {\"0\":3}"},
      {R"({"n": [1, 2.0]})", "found [1,2.0]"},
      {R"({"n": [1, "2"]})", "found [1,\"2\"]"},
      {R"({"n": [true]})", "found [true]"},
      {R"({"n": [null]})", "found [null]"},
      {R"({"n": [[1]]})", "found [[1]]"},
      // One more than fits.
      {R"({"n": [9223372036854775808]})", "found [9223372036854775808]"},
  };
  for (const Row& row : kRows) {
    SCOPED_TRACE(row.json);
    const auto numbers = Parse(row.json).GetInts("n");
    EXPECT_THAT(numbers, StatusIs(absl::StatusCode::kInvalidArgument,
                                  HasSubstr("m/config.json: field \"n\": ")));
    EXPECT_THAT(numbers, StatusIs(absl::StatusCode::kInvalidArgument,
                                  HasSubstr(row.found)));
    EXPECT_THAT(numbers, StatusIs(absl::StatusCode::kInvalidArgument,
                                  HasSubstr("expected a list of integers")));
  }
}

TEST(JsonFieldsTest, ReadsNumbersOfEitherKind) {
  const JsonFields fields =
      Parse(R"({"i": 3, "f": 1e-2, "s": "3", "b": true})");
  EXPECT_THAT(fields.GetNumber("i"), IsOkAndHolds(3.0));
  EXPECT_THAT(fields.GetNumber("f"), IsOkAndHolds(0.01));
  for (const char* field : {"s", "b"}) {
    EXPECT_THAT(fields.GetNumber(field),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("expected a number")));
  }
  EXPECT_THAT(fields.GetNumber("none"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("\"none\"")));
}

TEST(JsonFieldsTest, AListThatIsNotThereIsMissing) {
  for (const char* json : {"{}", R"({"n": null})"}) {
    EXPECT_THAT(Parse(json).GetInts("n"),
                StatusIs(absl::StatusCode::kNotFound,
                         HasSubstr("field \"n\" is missing")));
  }
}

TEST(JsonFieldsTest, AnIntegerThatDoesNotFitIsNone) {
  EXPECT_THAT(Parse(R"({"n": 9223372036854775807})").GetInt("n"),
              IsOkAndHolds(INT64_MAX));
  EXPECT_THAT(Parse(R"({"n": 9223372036854775808})").GetInt("n"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("9223372036854775808")));
}

}  // namespace
}  // namespace windlass
