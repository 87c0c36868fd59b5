#include "windlass/core/json_reader.h"

#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/core/json.h"
#include "windlass/testing/status_matchers.h"

namespace windlass {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

absl::Status SkipAll(absl::string_view text) {
  return ReadJsonObject(
      text, [](absl::string_view, JsonValue value) { return value.Skip(); });
}

std::string Nested(int levels) {
  return absl::StrCat("{\"a\":", std::string(levels - 1, '['),
                      std::string(levels - 1, ']'), "}");
}

TEST(JsonReaderTest, GivesMembersInOrderAndNamesThatComeTwice) {
  std::vector<std::string> names;
  ASSERT_OK(ReadJsonObject(R"({"b":1,"a\n":2,"b":{"c":[3,{}]}} )",
                           [&](absl::string_view name, JsonValue value) {
                             names.emplace_back(name);
                             return value.Skip();
                           }));
  EXPECT_THAT(names, ElementsAre("b", "a\n", "b"));
}

TEST(JsonReaderTest, StopsAtTheVisitorsError) {
  EXPECT_THAT(ReadJsonObject(R"({"a":1,"b":2})",
                             [](absl::string_view name, JsonValue) {
                               return absl::InternalError(name);
                             }),
              StatusIs(absl::StatusCode::kInternal, "a"));
}

TEST(JsonReaderTest, SaysWhatWasFound) {
  auto number = [](absl::string_view, JsonValue value) {
    return value.WholeNumber().status();
  };
  auto string = [](absl::string_view, JsonValue value) {
    return value.String().status();
  };
  const struct {
    const char* value;
    JsonValue::MemberVisitor visit;
    const char* message;
  } kCases[] = {
      {"-1", number, "found -1, expected a whole number"},
      {"-0", number, "found -0, expected a whole number"},
      {"1.0", number, "found 1.0, expected a whole number"},
      {"1e2", number, "found 1e2, expected a whole number"},
      {"01", number, "found 01, expected a whole number"},
      {"\"1\"", number, "found \"1\", expected a whole number"},
      {"[1]", number, "found a list, expected a whole number"},
      {"9223372036854775808", number,
       "found 9223372036854775808, expected a number below 2^63"},
      {"18446744073709551616", number,
       "found 18446744073709551616, expected a whole number"},
      {"null ", string, "found null, expected a string"},
      {"{}", string, "found an object, expected a string"},
  };
  for (const auto& c : kCases) {
    EXPECT_THAT(ReadJsonObject(absl::StrCat("{\"a\":", c.value, "}"), c.visit),
                StatusIs(absl::StatusCode::kInvalidArgument, c.message))
        << c.value;
  }
  EXPECT_OK(ReadJsonObject(R"({"a": 9223372036854775807 })", number));
}

TEST(JsonReaderTest, RefusesWhatIsNotJson) {
  for (const std::string& text :
       std::vector<std::string>{"",
                                " ",
                                "{",
                                "}",
                                "{]",
                                R"({"a"})",
                                R"({"a":})",
                                R"({"a":1,})",
                                R"({"a":1 "b":2})",
                                R"({"a" 1})",
                                R"({"a":1}})",
                                R"({"a":1} x)",
                                R"({a:1})",
                                R"({"a":[1 2]})",
                                R"({"a":[1,]})",
                                R"({"a":[1})",
                                R"({"a":truely})",
                                R"({"a":nul})",
                                "{\"a\":null\v}",
                                "{\"a\":true\f,\"b\":1}",
                                R"({"a":1.})",
                                R"({"a":.5})",
                                R"({"a":+1})",
                                R"({"a":"\x"})",
                                R"({"a":"\ud800"})",
                                "{\"a\":\"\n\"}",
                                "{\"a\":\"\xFF\"}",
                                "{\"\xC0\x80\":1}",
                                "\xEF\xBB\xBF{}",
                                std::string("{}\0", 3),
                                std::string("{\0}", 3),
                                "[]",
                                "3",
                                "\"a\"",
                                "null"}) {
    EXPECT_EQ(SkipAll(text).code(), absl::StatusCode::kInvalidArgument) << text;
  }
  for (const char* text :
       {"{}",
        " {\t\"a\" :\n[ 1.5e3 , -2, true, false, null, \"\\u00e9\" ] }"}) {
    EXPECT_OK(SkipAll(text)) << text;
  }
}

// Another parser is asked about texts that are damaged at random.
TEST(JsonReaderTest, RefusesWhatAnotherParserRefuses) {
  const std::string whole =
      R"({"a.\"\u00e9\ud83d\ude00":{"dtype":"BF16","shape":[2, 3],)"
      R"("data_offsets":[0,12],"x":[-1.5e-3,true,null,{"y":{}}]},"é":{}} )";
  const std::string bits = R"({}[]:,"\ 0129-+.eEunltfrasd8D\u)";
  std::mt19937 random(18);
  int refused = 0;
  constexpr int kTexts = 100'000;
  for (int i = 0; i < kTexts; ++i) {
    std::string text = whole;
    for (int edits = 1 + random() % 3; edits > 0; --edits) {
      const size_t at = random() % text.size();
      switch (random() % 4) {
        case 0:
          text[at] = bits[random() % bits.size()];
          break;
        case 1:
          text.insert(at, 1, bits[random() % bits.size()]);
          break;
        case 2:
          text.erase(at, 1 + random() % 3);
          break;
        default:
          text[at] = static_cast<char>(1 + random() % 255);
      }
    }
    const absl::StatusOr<Json> other = ParseJson(text);
    const bool accepted = other.ok() && other->is_object();
    ASSERT_EQ(SkipAll(text).ok(), accepted) << text;
    refused += !accepted;
  }
  EXPECT_GT(refused, kTexts / 2);
  EXPECT_LT(refused, kTexts);
}

TEST(JsonReaderTest, LimitsNesting) {
  EXPECT_OK(SkipAll(Nested(128)));
  for (int levels : {129, 10'000'000}) {
    EXPECT_THAT(SkipAll(Nested(levels)),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("nests more than 128 levels deep")));
  }
}

}  // namespace
}  // namespace windlass
