#include "windlass/io/safetensors/shard_names.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/testing/status_matchers.h"

namespace windlass {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Names = std::vector<std::string>;

TEST(ShardNamesTest, ReadsNumbers) {
  const auto shard = ParseShardNumber("model-00002-of-00010.safetensors");
  ASSERT_TRUE(shard.has_value());
  EXPECT_EQ(shard->number, 2);
  EXPECT_EQ(shard->total, 10);
  EXPECT_EQ(shard->family,
            ParseShardNumber("model-2-of-10.safetensors")->family);
  EXPECT_NE(shard->family,
            ParseShardNumber("model-00002-of-00010.fp16.safetensors")->family);
  for (const char* name :
       {"model.safetensors", "model-of-2.safetensors",
        "model-1-of-.safetensors", "model1-of-2.safetensors", "model-1-of-2",
        "model-1-of-0.safetensors",
        "model-1-of-99999999999999999999.safetensors", "-of-", ""}) {
    EXPECT_FALSE(ParseShardNumber(name).has_value()) << name;
  }
}

TEST(ShardNamesTest, ChoosesTheModel) {
  const struct {
    Names names;
    Names chosen;
  } kCases[] = {
      {{"adapter_model.safetensors", "model-00001-of-00002.safetensors",
        "model.safetensors"},
       {"model.safetensors"}},
      {{"ema.safetensors"}, {"ema.safetensors"}},
      {{"a-1-of-2.safetensors", "a-2-of-2.safetensors", "vae.safetensors"},
       {"a-1-of-2.safetensors", "a-2-of-2.safetensors"}},
      {{"a-00000-of-00002.safetensors", "a-00001-of-00002.safetensors"},
       {"a-00000-of-00002.safetensors", "a-00001-of-00002.safetensors"}},
      {{"consolidated-1-of-1.safetensors", "model-1-of-1.safetensors"},
       {"model-1-of-1.safetensors"}},
      {{"model-1-of-1.fp16.safetensors", "model-1-of-1.safetensors"},
       {"model-1-of-1.safetensors"}},
      {{"model.safetensors-00001-of-00001.safetensors"},
       {"model.safetensors-00001-of-00001.safetensors"}},
  };
  for (const auto& test : kCases) {
    ASSERT_OK_AND_ASSIGN(const Names chosen, ChooseShards(test.names));
    EXPECT_EQ(chosen, test.chosen);
  }
}

TEST(ShardNamesTest, RefusesWhatIsNotWholeOrNotClear) {
  const auto incomplete = absl::StatusCode::kFailedPrecondition;
  const auto unclear = absl::StatusCode::kInvalidArgument;
  const struct {
    Names names;
    absl::StatusCode code;
    std::string message;
  } kCases[] = {
      {{"a-00001-of-00003.safetensors", "a-00003-of-00003.safetensors"},
       incomplete,
       "expected a-00002-of-00003.safetensors too"},
      {{"a-2-of-2.safetensors", "b.safetensors"},
       incomplete,
       "expected a-1-of-2.safetensors too"},
      {{"a-00001-of-00001.safetensors", "a-1-of-1.safetensors"},
       incomplete,
       "expected each number once"},
      {{"a-1-of-9000000000000000000.safetensors"},
       incomplete,
       "expected a-2-of-9000000000000000000.safetensors too"},
      {{"a.safetensors", "b.safetensors"},
       unclear,
       "a.safetensors and b.safetensors; expected an index"},
      {{"a-1-of-1.safetensors", "b-1-of-1.safetensors"},
       unclear,
       "a-1-of-1.safetensors and b-1-of-1.safetensors"},
      {{"model-1-of-1.safetensors", "model-1-of-2.safetensors",
        "model-2-of-2.safetensors"},
       unclear,
       "found 3 safetensors files"},
  };
  for (const auto& test : kCases) {
    EXPECT_THAT(ChooseShards(test.names),
                StatusIs(test.code, HasSubstr(test.message)));
  }
}

TEST(ShardNamesTest, RenumbersAFamilyThatLostFiles) {
  Names names = {"m-00001-of-00004.safetensors", "other.safetensors",
                 "m-00004-of-00004.safetensors", "w-1-of-1.safetensors"};
  std::vector<std::string*> pointers;
  for (std::string& name : names) pointers.push_back(&name);
  RenumberFamilies(pointers);
  EXPECT_THAT(
      names,
      ElementsAre("m-00001-of-00002.safetensors", "other.safetensors",
                  "m-00002-of-00002.safetensors", "w-1-of-1.safetensors"));
}

TEST(ShardNamesTest, JoinsLongLists) {
  EXPECT_EQ(JoinNames({"a"}), "a");
  EXPECT_EQ(JoinNames({"a", "b"}), "a and b");
  EXPECT_EQ(JoinNames({"a", "b", "c", "d", "e", "f", "g"}),
            "a, b, c, d, e and 2 more");
}

}  // namespace
}  // namespace windlass
