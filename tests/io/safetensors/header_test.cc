#include "windlass/io/safetensors/header.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/core/json.h"
#include "windlass/io/storage/storage.h"
#include "windlass/testing/status_matchers.h"

namespace windlass {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kRules[] = "tests/io/safetensors/rules";

struct RuleCase {
  std::string name;
  bool accepted = false;
  std::vector<std::string> keys;
};

void PrintTo(const RuleCase& c, std::ostream* out) { *out << c.name; }

// rules/cases.json: small files, each about one rule of the format, and what
// the reference library does with it.
std::vector<RuleCase> RuleCases() {
  const Location location = ResolveLocation(kRules).value();
  const std::string text =
      ReadFile(*location.storage, absl::StrCat(kRules, "/cases.json"), 1 << 20)
          .value();
  std::vector<RuleCase> cases;
  const Json json = ParseJson(text).value();
  for (const auto& [name, fields] : json.items()) {
    RuleCase c;
    c.name = name;
    c.accepted = fields["safetensors_0_8"] == "accepts";
    if (c.accepted) c.keys = fields["keys"].get<std::vector<std::string>>();
    cases.push_back(c);
  }
  return cases;
}

class SafetensorsRuleTest : public ::testing::TestWithParam<RuleCase> {};

TEST_P(SafetensorsRuleTest, IsJudgedAsTheReferenceLibraryDoes) {
  const std::string path =
      absl::StrCat(kRules, "/", GetParam().name, ".safetensors");
  const Location location = ResolveLocation(path).value();
  ASSERT_OK_AND_ASSIGN(const auto file,
                       location.storage->OpenForRead(location.path));
  const absl::StatusOr<SafetensorsHeader> header = ReadSafetensorsHeader(*file);
  if (!GetParam().accepted) {
    EXPECT_THAT(header,
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(path)));
    return;
  }
  ASSERT_OK(header);
  std::vector<std::string> keys;
  for (const SafetensorsEntry& entry : header->tensors) {
    keys.push_back(entry.name);
  }
  std::sort(keys.begin(), keys.end());
  EXPECT_EQ(keys, GetParam().keys);
}

INSTANTIATE_TEST_SUITE_P(All, SafetensorsRuleTest,
                         ::testing::ValuesIn(RuleCases()),
                         [](const ::testing::TestParamInfo<RuleCase>& info) {
                           return info.param.name;
                         });

TEST(SafetensorsHeaderTest, SaysWhatWasFoundAndWhatWasExpected) {
  const struct {
    const char* json;
    int64_t data_bytes;
    const char* message;
  } kCases[] = {
      {R"({"a.weight":{"dtype":"BF16","shape":[8,8],"data_offsets":[0,64]}})",
       64,
       "tensor \"a.weight\": data_offsets [0, 64) hold 64 bytes, shape [8, 8] "
       "of BF16 needs 128"},
      {R"({"a":{"dtype":"F33","shape":[1],"data_offsets":[0,4]}})", 4,
       "tensor \"a\": dtype: found \"F33\", expected a dtype"},
      {R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4,
       "tensor \"a\": shape: found -1, expected a whole number"},
      {R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", 3,
       "the tensors take 4 bytes, the file holds 3: it is cut short"},
      {R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}})", 6,
       "tensor \"a\": data_offsets [2, 6) leave a hole, expected them to begin "
       "at 0"},
      {R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[4,0]}})", 4,
       "tensor \"a\": data_offsets [4, 0) end before they begin"},
      {R"({"a":{"dtype":"U8","shape":[4]}})", 4,
       "tensor \"a\": field \"data_offsets\" is missing"},
      {R"({"a":{"dtype":"U8","dtype":"U8"}})", 4,
       "tensor \"a\": dtype: found twice"},
      {R"({"a":3})", 0, "tensor \"a\": found 3, expected an object"},
      {R"({"__metadata__":{"k":1}})", 0,
       "__metadata__: key \"k\": found 1, expected a string"},
      {R"({"__metadata__":{},"__metadata__":{}})", 0, "found twice"},
      {"[]", 0, "the header: expected an object"},
  };
  for (const auto& c : kCases) {
    EXPECT_THAT(
        ParseSafetensorsHeader(c.json, c.data_bytes),
        StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(c.message)))
        << c.json;
  }
}

TEST(SafetensorsHeaderTest, GivesTensorsInTheOrderOfTheirData) {
  ASSERT_OK_AND_ASSIGN(
      const SafetensorsHeader header,
      ParseSafetensorsHeader(
          R"({"b":{"dtype":"U8","shape":[2],"data_offsets":[3,5]},)"
          R"("e":{"dtype":"U8","shape":[0],"data_offsets":[3,3]},)"
          R"("a":{"dtype":"U8","shape":[3],"data_offsets":[0,3],"x":[{}]}})",
          5));
  ASSERT_EQ(header.tensors.size(), 3u);
  EXPECT_EQ(header.tensors[0].name, "a");
  EXPECT_EQ(header.tensors[1].name, "e");
  EXPECT_EQ(header.tensors[2].name, "b");
}

TEST(SafetensorsHeaderTest, WhatIsWrittenReadsBack) {
  const SafetensorsMetadata metadata = {{"format", "pt"}, {"q\"uote", "\n"}};
  const std::vector<SafetensorsEntry> entries = {
      {"a.重み", DType::kBF16, {2, 3}, 0, 12},
      {"s", DType::kF32, {}, 12, 16},
      {"\"\\\t", DType::kU8, {0}, 16, 16}};
  for (int64_t alignment : {8, 4096}) {
    const std::string start =
        SerializeSafetensorsHeader(metadata, entries, alignment);
    EXPECT_EQ(start.size() % alignment, 0u);
    const MemorySource file(start + std::string(16, 'x'));
    ASSERT_OK_AND_ASSIGN(const SafetensorsHeader header,
                         ReadSafetensorsHeader(file));
    EXPECT_EQ(header.data_begin, static_cast<int64_t>(start.size()));
    EXPECT_EQ(header.metadata, metadata);
    ASSERT_EQ(header.tensors.size(), 3u);
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(header.tensors[i].name, entries[i].name);
      EXPECT_EQ(header.tensors[i].dtype, entries[i].dtype);
      EXPECT_EQ(header.tensors[i].shape, entries[i].shape);
      EXPECT_EQ(header.tensors[i].begin, entries[i].begin);
    }
  }
}

TEST(SafetensorsHeaderTest, WritesAnEmptyFile) {
  const MemorySource file(SerializeSafetensorsHeader({}, {}));
  ASSERT_OK_AND_ASSIGN(const SafetensorsHeader header,
                       ReadSafetensorsHeader(file));
  EXPECT_TRUE(header.tensors.empty());
}

// Every prefix of a good file is refused, and none crashes.
TEST(SafetensorsHeaderTest, RefusesEveryTruncation) {
  const std::string whole =
      SerializeSafetensorsHeader(
          {{"format", "pt"}},
          std::vector<SafetensorsEntry>{{"a", DType::kBF16, {2, 3}, 0, 12}}) +
      std::string(12, 'x');
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(
        ReadSafetensorsHeader(MemorySource(whole.substr(0, size))).ok())
        << size;
  }
  EXPECT_OK(ReadSafetensorsHeader(MemorySource(whole)));
}

}  // namespace
}  // namespace windlass
