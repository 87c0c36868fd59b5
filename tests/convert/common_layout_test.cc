#include "windlass/convert/common_layout.h"

#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/convert/conversion.h"
#include "windlass/core/dtype.h"
#include "windlass/core/state_dict.h"
#include "windlass/io/checkpoint.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/testing/tensors.h"
#include "windlass/tests/testing/files.h"

namespace windlass {
namespace {

using ::testing::HasSubstr;

constexpr char kExample[] = "examples/qwen3_5_tiny";

class CommonLayoutTest : public ::testing::Test {
 protected:
  ~CommonLayoutTest() override { std::filesystem::remove_all(folder_); }

  // The example, converted.
  std::string Native() {
    ConversionRequest request;
    request.input = kExample;
    request.output = folder_ + "/native";
    EXPECT_OK(Convert(request));
    return request.output;
  }

  static absl::StatusOr<CommonLayout> Find(const Checkpoint& a,
                                           const Checkpoint& b) {
    return FindCommonLayout(a, b, CommonLayoutRequest());
  }

  const std::string folder_ = MakeTestFolder();
};

TEST_F(CommonLayoutTest, BringsTheOneToTheOthersLayout) {
  ASSERT_OK_AND_ASSIGN(const Checkpoint hf, OpenCheckpoint(kExample));
  ASSERT_OK_AND_ASSIGN(const Checkpoint native, OpenCheckpoint(Native()));
  ASSERT_OK_AND_ASSIGN(const CommonLayout one, Find(hf, native));
  EXPECT_EQ(one.adapter, "qwen3_5");
  EXPECT_EQ(one.what, "A to native");
  ASSERT_TRUE(one.a.has_value());
  EXPECT_FALSE(one.b.has_value());
  EXPECT_EQ(Difference(Sorted(*one.a), Sorted(native.tensors)), "");
  ASSERT_OK_AND_ASSIGN(const CommonLayout other, Find(native, hf));
  EXPECT_EQ(other.what, "B to native");
  EXPECT_FALSE(other.a.has_value());
}

TEST_F(CommonLayoutTest, WhatFitsStaysAsItIs) {
  ASSERT_OK_AND_ASSIGN(const Checkpoint hf, OpenCheckpoint(kExample));
  const std::string path = Native();
  ASSERT_OK_AND_ASSIGN(const Checkpoint native, OpenCheckpoint(path));
  for (const Checkpoint* checkpoint : {&hf, &native}) {
    ASSERT_OK_AND_ASSIGN(const CommonLayout same,
                         Find(*checkpoint, *checkpoint));
    EXPECT_EQ(same.what, "as they are");
    EXPECT_FALSE(same.a.has_value());
    EXPECT_FALSE(same.b.has_value());
  }
}

TEST_F(CommonLayoutTest, WhatIsPackedInOneAloneIsUnpacked) {
  constexpr char kConfig[] =
      R"({"architectures": ["DeepseekV3ForCausalLM"], "dtype": "bfloat16",
          "n_routed_experts": 2, "moe_intermediate_size": 4})";
  std::mt19937 random(1);
  const std::string name = "model.layers.0.mlp.down_proj.weight";
  std::vector<StateDict> packed(1), plain(1);
  ASSERT_OK(
      packed[0].Insert(name, RandomTensor(DType::kF8E4M3, {8, 8}, &random)));
  ASSERT_OK(packed[0].Insert(name + "_scale_inv",
                             RandomTensor(DType::kF32, {1, 1}, &random)));
  ASSERT_OK(plain[0].Insert(name, RandomTensor(DType::kBF16, {8, 8}, &random)));
  WriteTestCheckpoint(folder_ + "/packed", packed, kConfig);
  WriteTestCheckpoint(folder_ + "/plain", plain, kConfig);
  ASSERT_OK_AND_ASSIGN(const Checkpoint a, OpenCheckpoint(folder_ + "/packed"));
  ASSERT_OK_AND_ASSIGN(const Checkpoint b, OpenCheckpoint(folder_ + "/plain"));
  ASSERT_OK_AND_ASSIGN(const CommonLayout common, Find(a, b));
  EXPECT_EQ(common.what, "A to native");
  EXPECT_EQ(common.a->size(), 1u);
}

TEST_F(CommonLayoutTest, SaysWhatStandsInTheWay) {
  std::vector<StateDict> shards(1);
  std::mt19937 random(1);
  ASSERT_OK(shards[0].Insert("a", RandomTensor(DType::kF32, {2}, &random)));
  WriteTestCheckpoint(folder_ + "/bare", shards, "");
  ASSERT_OK_AND_ASSIGN(const Checkpoint bare,
                       OpenCheckpoint(folder_ + "/bare"));
  EXPECT_THAT(Find(bare, bare), StatusIs(absl::StatusCode::kNotFound,
                                         HasSubstr("found no config.json")));
  CommonLayoutRequest request;
  request.adapter = "qwen4";
  EXPECT_THAT(FindCommonLayout(bare, bare, request),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("qwen4")));
  request.adapter = "qwen3_5";
  request.adapter_options = R"({"none": 1})";
  EXPECT_THAT(FindCommonLayout(bare, bare, request),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("none")));
  request.adapter_options = "{}";
  request.config = folder_ + "/no.json";
  EXPECT_THAT(FindCommonLayout(bare, bare, request),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("no.json")));
  request.config.clear();
  EXPECT_OK(FindCommonLayout(bare, bare, request));
}

}  // namespace
}  // namespace windlass
