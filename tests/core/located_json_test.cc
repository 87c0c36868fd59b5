#include "windlass/core/located_json.h"

#include <string>

#include "absl/strings/string_view.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/testing/status_matchers.h"

namespace windlass {
namespace {

using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

TEST(LocatedJsonTest, ValuesKnowWhereTheyStand) {
  ASSERT_OK_AND_ASSIGN(const LocatedJson json, ParseLocatedJson(R"({
  "a": [1, "tw\u006f", {"b": null}],
  "c": {}
})"));
  ASSERT_EQ(json.members.size(), 2u);
  const LocatedJson& list = *json.Find("a");
  ASSERT_EQ(list.elements.size(), 3u);
  EXPECT_EQ(list.line, 2);
  EXPECT_EQ(list.column, 8);
  EXPECT_THAT(list.elements[0].Integer(), IsOkAndHolds(1));
  EXPECT_THAT(list.elements[1].String(), IsOkAndHolds("two"));
  EXPECT_EQ(list.elements[1].column, 12);
  EXPECT_EQ(list.elements[2].Find("b")->text, "null");
  EXPECT_EQ(json.Find("c")->line, 3);
  EXPECT_EQ(json.Find("d"), nullptr);
}

TEST(LocatedJsonTest, SaysWhereWhatIsWrong) {
  ASSERT_OK_AND_ASSIGN(const LocatedJson json,
                       ParseLocatedJson("{\"a\": 1.5,\n \"b\": \"x\"}"));
  EXPECT_THAT(json.Find("a")->Integer(),
              StatusIs(kInvalid,
                       "line 1, column 7: found 1.5, expected a "
                       "whole number"));
  EXPECT_THAT(json.Find("a")->String(),
              StatusIs(kInvalid, HasSubstr("expected a string")));
  EXPECT_THAT(json.Find("b")->Integer(),
              StatusIs(kInvalid, HasSubstr("line 2, column 7: found \"x\"")));
  EXPECT_OK(json.ExpectMembers({"a", "b"}));
  EXPECT_THAT(json.ExpectMembers({"a"}),
              StatusIs(kInvalid, HasSubstr("line 2, column 7: found the field "
                                           "\"b\", expected one of: a")));
  EXPECT_THAT(json.Find("a")->ExpectMembers({}),
              StatusIs(kInvalid, HasSubstr("expected an object")));
}

TEST(LocatedJsonTest, RefusesWhatIsNoJsonObject) {
  const struct {
    const char* text;
    const char* message;
  } kCases[] = {
      {"[1]", "expected an object"},
      {"{\"a\": 1,\n}", "line 1, column 8"},
      {"{\n  \"a\": 1 // why\n}", "line 2, column 10"},
      {"{\"a\": 1,\n \"a\": 2}", "line 2, column 7: found a second \"a\""},
      {"{\"a\": {\"b\": 1, \"b\": 1}}", "found a second \"b\""},
  };
  for (const auto& c : kCases) {
    EXPECT_THAT(ParseLocatedJson(c.text),
                StatusIs(kInvalid, HasSubstr(c.message)))
        << c.text;
  }
}

}  // namespace
}  // namespace windlass
