#include "windlass/core/json.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/testing/status_matchers.h"

namespace windlass {
namespace {

using ::testing::HasSubstr;

TEST(JsonTest, ReadsWhatPythonWritesBeyondJson) {
  ASSERT_OK_AND_ASSIGN(
      const Json json,
      ParseJson("\xEF\xBB\xBF{\"a\": NaN, \"b\": [0.0, Infinity,-Infinity], "
                "\"NaN\": \"-Infinity, NaN \\\" NaN\"}"));
  EXPECT_EQ(json["a"], "NaN");
  EXPECT_EQ(json["b"], Json({0.0, "Infinity", "-Infinity"}));
  EXPECT_EQ(json["NaN"], "-Infinity, NaN \" NaN");
}

TEST(JsonTest, SaysWhereTheTextStopsBeingJson) {
  const struct {
    std::string text;
    std::string message;
  } kCases[] = {
      {"{\n  \"a\": 1, // one\n}", "line 2, column 11: found a comment"},
      {"/* a */ {}", "line 1, column 1: found a comment"},
      {"{\"a\": 1,\n}", "line 1, column 8: found a trailing comma"},
      {"{\"a\": [1, 2, ]}", "line 1, column 12: found a trailing comma"},
      {"{\"a\": 1\n \"b\": 2}", "line 2, column"},
      {"{\"a\": [NaN, Infinity]\n,\"b\": x}", "line 2, column 7: not JSON"},
      {"{\"a\": NaNs}", "line 1, column"},
      {"{\"a\": -Infinit}", "line 1, column"},
      {"{\"a\": True}", "line 1, column 7: not JSON"},
      {"{\"a\": 1", "line 1, column 8: found the end, expected more JSON"},
      {"{\"a\": \"x", "line 1, column 9: found the end"},
      {"{} {}", "line 1, column 4: not JSON"},
      {"", "found an empty file"},
      {"Entry not found", "found text that starts \"Entry not found\""},
      {"\x80\x04\x95", "found pickled data"},
      {"\x1F\x8B\x08", "found data compressed with gzip"},
      {"<!DOCTYPE html><html></html>", "found a web page"},
      {"version https://git-lfs.github.com/spec/v1\noid sha256:ab\n",
       "found a Git LFS pointer (fetch the file itself: git lfs pull)"},
      {std::string("\xFF\xFE{\0", 4), "found text in UTF-16"},
      {std::string("{}\0{", 4), "line 1, column 3: found a NUL byte"},
      {std::string("3\0x", 3), "line 1, column 2: found a NUL byte"},
  };
  for (const auto& test : kCases) {
    EXPECT_THAT(
        ParseJson(test.text),
        StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(test.message)))
        << test.text;
  }
}

TEST(JsonTest, LeavesMembersOutAndAllElseAsItIs) {
  const struct {
    const char* json;
    const char* without;
  } kCases[] = {
      {R"({"a": 1, "q": {"x": [1, "}"]}, "b": 2})", R"({"a": 1, "b": 2})"},
      {"{\n  \"a\": 1,\n  \"q\": {\n  }\n}\n", "{\n  \"a\": 1\n}\n"},
      {"{\n  \"q\" : \"a \\\" , }\",\n  \"a\": NaN\n}", "{\n  \"a\": NaN\n}"},
      {R"({"q":1})", "{}"},
      {R"({"t": {"a": [], "q": [[1], {}]}, "q": null})", R"({"t": {"a": []}})"},
      {R"({"a": "q", "qq": ["q", "q"]})", R"({"a": "q", "qq": ["q", "q"]})"},
      {R"({"a": "\"q", "\u0071": {"q": 2}})", R"({"a": "\"q"})"},
  };
  for (const auto& test : kCases) {
    ASSERT_OK(ParseJson(test.json)) << test.json;
    EXPECT_EQ(WithoutMembers(test.json, "q"), test.without);
    EXPECT_OK(ParseJson(test.without));
  }
}

TEST(JsonTest, ReplacesValuesOfMembersAndNothingElse) {
  const struct {
    const char* json;
    const char* replaced;
  } kCases[] = {
      {R"({"q": 1, "p": 2})", R"({"q": <1>, "p": 2})"},
      {R"({"p": {"q" :  "a,}\"" } })", R"({"p": {"q" :  <"a,}\""> } })"},
      {R"([{"q": [1, {"x": 2}]}, {"q": null}])",
       R"([{"q": <[1, {"x": 2}]>}, {"q": <null>}])"},
      // A value that is called so, and a longer name.
      {R"({"p": "q", "qq": 1})", R"({"p": "q", "qq": 1})"},
      {"{\n  \"q\": true\n}\n", "{\n  \"q\": <true>\n}\n"},
  };
  for (const auto& test : kCases) {
    ASSERT_OK(ParseJson(test.json)) << test.json;
    EXPECT_EQ(ReplaceMembers(test.json, "q",
                             [](absl::string_view value) {
                               return "<" + std::string(value) + ">";
                             }),
              test.replaced);
  }
}

TEST(JsonTest, ReadsScalarsAndLimitsDepth) {
  EXPECT_EQ(ParseJson(" 3 ").value(), 3);
  EXPECT_EQ(ParseJson("null").value(), Json());
  EXPECT_OK(ParseJson(std::string(128, '[') + std::string(128, ']')).status());
  EXPECT_THAT(ParseJson(std::string(129, '[') + std::string(129, ']')),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("more than 128 levels")));
}

}  // namespace
}  // namespace windlass
