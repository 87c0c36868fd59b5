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
    "architectures": ["Qwen3OmniMoeForConditionalGeneration"],
    "dtype": "float32",
    "talker_config": {"text_config": {"num_experts": 9,
                                      "moe_intermediate_size": 3}},
    "thinker_config": {
        "dtype": "bfloat16",
        "text_config": {"num_experts": 1, "moe_intermediate_size": 4,
                        "hidden_size": 6, "num_hidden_layers": 2,
                        "decoder_sparse_step": 1, "mlp_only_layers": [1]}}})";

std::unique_ptr<StateDictAdapter> Make(const char* config = kConfig,
                                       const char* options = "{}") {
  return MakeAdapter(config, options);
}

std::vector<TensorSpec> Checkpoint() {
  return {// A mixture of another size, and before the thinker's.
          {"code2wav.layers.0.w", {3}},
          {"talker.model.layers.0.mlp.experts.0.gate_proj.weight", {3, 5}},
          {"talker.model.layers.0.mlp.gate.weight", {9, 5}},
          {"thinker.audio_tower.layers.0.fc1.weight", {3}},
          {"thinker.model.layers.0.mlp.experts.0.gate_proj.weight", {4, 6}},
          {"thinker.model.layers.0.mlp.experts.0.up_proj.weight", {4, 6}},
          {"thinker.model.layers.0.mlp.experts.0.down_proj.weight", {6, 4}},
          {"thinker.model.layers.0.mlp.gate.weight", {1, 6}}};
}

TEST(Qwen3OmniMoeTest, TheTalkerGoesAlongWhereverItStands) {
  std::vector<TensorSpec> specs = Checkpoint();
  const StateDict hf = RandomDict(specs);
  ASSERT_OK_AND_ASSIGN(const StateDict native, Make()->FromHf(hf, {}));
  EXPECT_THAT(
      Names(native),
      ElementsAre("code2wav.layers.0.w",
                  "talker.model.layers.0.mlp.experts.0.gate_proj.weight",
                  "talker.model.layers.0.mlp.gate.weight",
                  "audio_tower.layers.0.fc1.weight",
                  "model.layers.0.mlp.experts.gate_and_up_projs",
                  "model.layers.0.mlp.experts.down_projs",
                  "model.layers.0.mlp.gate.weight"));
  EXPECT_EQ(native.Find("model.layers.0.mlp.experts.down_projs")->dtype(),
            DType::kF32);
  ASSERT_OK_AND_ASSIGN(const StateDict back, Make()->ToHf(native, {}));
  EXPECT_EQ(Names(Sorted(back)), Names(Sorted(hf)));
}

TEST(Qwen3OmniMoeTest, MissesTheThinkersExperts) {
  EXPECT_THAT(
      Make()->FromHf(RandomDict({{"thinker.model.layers.0.norm.weight", {6}}}),
                     {}),
      StatusIs(kInvalid, HasSubstr("layers.0.")));
  EXPECT_THAT(
      Make()->FromHf(
          RandomDict(
              {{"thinker.language_model.layers.0.mlp.experts.0.w1.weight",
                {4, 6}}}),
          {}),
      StatusIs(kInvalid, HasSubstr("experts.0.w1.weight")));
}

TEST(Qwen3OmniMoeTest, LoraHasThePrefixWherePeftLooksForIt) {
  const StateDict native = RandomDict(
      {{"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",
        {3}}});
  ASSERT_OK_AND_ASSIGN(const StateDict hf, Make()->ToHf(native, {}));
  EXPECT_THAT(Names(hf),
              ElementsAre("base_model.model.thinker.model.layers.0.self_attn."
                          "q_proj.lora_A.weight"));
  ASSERT_OK_AND_ASSIGN(const StateDict back, Make()->FromHf(hf, {}));
  EXPECT_EQ(Difference(back, native), "");
  // As the reference writes it.
  ASSERT_OK_AND_ASSIGN(
      const StateDict old,
      Make()->FromHf(
          RandomDict({{"thinker.base_model.model.x.lora_A.weight", {3}}}), {}));
  EXPECT_THAT(Names(old), ElementsAre("base_model.model.x.lora_A.weight"));
}

TEST(Qwen3OmniMoeTest, NamesAreWrittenWithoutPrefixWhereItIsNotWanted) {
  const auto adapter = Make(kConfig, R"({"uses_thinker_prefix": false})");
  ASSERT_OK_AND_ASSIGN(
      const StateDict hf,
      adapter->ToHf(RandomDict({{"model.norm.weight", {3}}, {"talker.x", {3}}}),
                    {}));
  EXPECT_THAT(Names(hf), ElementsAre("model.norm.weight", "talker.x"));
}

}  // namespace
}  // namespace windlass
