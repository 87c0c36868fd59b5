#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/core/state_dict.h"
#include "windlass/core/state_dict_adapter.h"
#include "windlass/testing/adapters.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/testing/tensors.h"

namespace windlass {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

constexpr char kConfig[] = R"({
    "architectures": ["Qwen3VLMoeForConditionalGeneration"],
    "text_config": {"num_experts": 2, "moe_intermediate_size": 4,
                    "hidden_size": 6}})";

std::unique_ptr<StateDictAdapter> Make(const char* config = kConfig,
                                       const char* options = "{}") {
  return MakeAdapter(config, options);
}

TEST(Qwen3VlMoeTest, NamesGetTheRootThatOthersHave) {
  const std::vector<TensorSpec> specs = {
      {"visual.blocks.0.attn.qkv.weight", {3}},
      {"language_model.layers.0.mlp.experts.gate_up_proj", {2, 6, 8}},
      {"language_model.layers.0.mlp.experts.down_proj", {2, 4, 6}},
      {"lm_head.weight", {3}}};
  ASSERT_OK_AND_ASSIGN(const StateDict bare,
                       Make()->FromHf(RandomDict(specs), {}));
  EXPECT_THAT(
      Names(bare),
      ElementsAre("visual.blocks.0.attn.qkv.weight",
                  "language_model.layers.0.mlp.experts.gate_and_up_projs",
                  "language_model.layers.0.mlp.experts.down_projs",
                  "lm_head.weight"));

  std::vector<TensorSpec> mixed = specs;
  mixed.push_back({"model.language_model.norm.weight", {3}});
  ASSERT_OK_AND_ASSIGN(const StateDict rooted,
                       Make()->FromHf(RandomDict(mixed), {}));
  EXPECT_THAT(
      Names(rooted),
      ElementsAre("model.visual.blocks.0.attn.qkv.weight",
                  "model.language_model.layers.0.mlp.experts.gate_and_up_projs",
                  "model.language_model.layers.0.mlp.experts.down_projs",
                  "lm_head.weight", "model.language_model.norm.weight"));
}

TEST(Qwen3VlMoeTest, RefusesExpertsOfOtherShapes) {
  EXPECT_THAT(
      Make()->FromHf(
          RandomDict({{"model.language_model.layers.0.mlp.experts.gate_up_proj",
                       {2, 6, 10}},
                      {"model.language_model.layers.0.mlp.experts.down_proj",
                       {2, 5, 6}}}),
          {}),
      StatusIs(kInvalid, HasSubstr("\"moe_intermediate_size\"")));
}

TEST(Qwen3VlMoeTest, AnEpShardHasAShareOfEachExpert) {
  const StateDict hf = RandomDict(
      {{"model.language_model.layers.0.mlp.experts.gate_up_proj", {2, 6, 8}},
       {"model.language_model.layers.0.mlp.experts.down_proj", {2, 4, 6}}});
  FromHfOptions options;
  options.device_mesh = {/*ep_size=*/2, /*ep_rank=*/1, /*ep_shard_size=*/2,
                         /*ep_shard_rank=*/0};
  ASSERT_OK_AND_ASSIGN(const StateDict native, Make()->FromHf(hf, options));
  EXPECT_EQ(native.begin()->tensor.shape(), (Shape{1, 3, 8}));
  EXPECT_EQ((native.begin() + 1)->tensor.shape(), (Shape{1, 2, 6}));
}

}  // namespace
}  // namespace windlass
