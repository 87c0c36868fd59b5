#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/model_config.h"
#include "windlass/core/state_dict.h"
#include "windlass/core/state_dict_adapter.h"
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
  const ModelConfig parsed = ModelConfig::Parse(config).value();
  return AdapterRegistry::Create(**AdapterRegistry::FindByConfig(parsed),
                                 parsed,
                                 JsonFields::Parse(options, "options").value())
      .value();
}

struct Spec {
  std::string name;
  Shape shape;
  DType dtype = DType::kBF16;
};

StateDict Dict(const std::vector<Spec>& specs) {
  static std::mt19937 random(7);
  StateDict dict;
  for (const Spec& spec : specs) {
    EXPECT_OK(
        dict.Insert(spec.name, RandomTensor(spec.dtype, spec.shape, &random)));
  }
  return dict;
}

TEST(Qwen3VlMoeTest, NamesGetTheRootThatOthersHave) {
  const std::vector<Spec> specs = {
      {"visual.blocks.0.attn.qkv.weight", {3}},
      {"language_model.layers.0.mlp.experts.gate_up_proj", {2, 6, 8}},
      {"language_model.layers.0.mlp.experts.down_proj", {2, 4, 6}},
      {"lm_head.weight", {3}}};
  ASSERT_OK_AND_ASSIGN(const StateDict bare, Make()->FromHf(Dict(specs), {}));
  EXPECT_THAT(
      Names(bare),
      ElementsAre("visual.blocks.0.attn.qkv.weight",
                  "language_model.layers.0.mlp.experts.gate_and_up_projs",
                  "language_model.layers.0.mlp.experts.down_projs",
                  "lm_head.weight"));

  std::vector<Spec> mixed = specs;
  mixed.push_back({"model.language_model.norm.weight", {3}});
  ASSERT_OK_AND_ASSIGN(const StateDict rooted, Make()->FromHf(Dict(mixed), {}));
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
          Dict({{"model.language_model.layers.0.mlp.experts.gate_up_proj",
                 {2, 6, 10}},
                {"model.language_model.layers.0.mlp.experts.down_proj",
                 {2, 5, 6}}}),
          {}),
      StatusIs(kInvalid, HasSubstr("\"moe_intermediate_size\"")));
}

TEST(Qwen3VlMoeTest, AnEpShardHasAShareOfEachExpert) {
  const StateDict hf = Dict(
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
