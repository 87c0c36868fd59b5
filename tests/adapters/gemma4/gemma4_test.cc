// What the golden cases of Gemma4 do not show.

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/dtype.h"
#include "windlass/core/model_config.h"
#include "windlass/core/regex.h"
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

constexpr char kMoe[] =
    R"({"architectures": ["Gemma4ForConditionalGeneration"],
        "model_type": "gemma4", "dtype": "bfloat16",
        "text_config": {"enable_moe_block": true, "num_experts": 2,
                        "hidden_size": 6, "moe_intermediate_size": 4}})";
constexpr char kUnified[] =
    R"({"architectures": ["Gemma4UnifiedForConditionalGeneration"]})";
constexpr char kDiffusion[] =
    R"({"architectures": ["DiffusionGemmaForBlockDiffusion"],
        "num_experts": 2, "moe_intermediate_size": 4})";

// A layer's experts and their router.
StateDict Layer(const std::string& layer, const std::string& experts,
                const std::string& scale) {
  StateDict hf = RandomDict({{layer + "router.proj.weight", {2, 6}},
                             {layer + experts + "gate_up_proj", {2, 8, 6}},
                             {layer + experts + "down_proj", {2, 6, 4}}});
  EXPECT_OK(hf.Insert(layer + scale, MakeTensor<uint16_t>(DType::kBF16, {2},
                                                          {0x4000, 0x3f00})));
  return hf;
}

TEST(Gemma4Test, AMixtureIsToldFromADenseModelByItsConfig) {
  for (const char* field : {"", R"("enable_moe_block": false)"}) {
    ASSERT_OK_AND_ASSIGN(
        const ModelConfig config,
        ModelConfig::Parse(absl::StrCat(
            R"({"architectures": ["Gemma4ForConditionalGeneration"],
                "text_config": {)",
            field, "}}")));
    ASSERT_OK_AND_ASSIGN(const AdapterInfo* info,
                         AdapterRegistry::FindByConfig(config));
    EXPECT_EQ(info->name, "identity") << field;
  }
  ASSERT_OK_AND_ASSIGN(
      const AdapterInfo* info,
      AdapterRegistry::FindByConfig(ModelConfig::Parse(kMoe).value()));
  EXPECT_EQ(info->name, "gemma4_moe");
}

TEST(Gemma4Test, OtherNamesOfTheSameAreRead) {
  const std::string layer = "model.language_model.layers.0.";
  const auto adapter = MakeAdapter(kMoe);
  const StateDict hf = Layer(layer, "experts.", "router.per_expert_scale");
  ASSERT_OK_AND_ASSIGN(const StateDict expected, adapter->FromHf(hf, {}));
  for (const char* experts : {"experts.", "moe."}) {
    for (const char* scale :
         {"moe.per_expert_scale", "experts.per_expert_scale"}) {
      StateDict other;
      for (const auto& [name, tensor] : hf) {
        std::string renamed = name;
        if (name == layer + "router.per_expert_scale") {
          renamed = layer + scale;
        } else if (name == layer + "experts.down_proj" ||
                   name == layer + "experts.gate_up_proj") {
          renamed = layer + experts + name.substr(layer.size() + 8);
        }
        ASSERT_OK(other.Insert(renamed, tensor));
      }
      ASSERT_OK_AND_ASSIGN(const StateDict native, adapter->FromHf(other, {}));
      EXPECT_EQ(Difference(native, expected), "") << experts << scale;
    }
  }
}

TEST(Gemma4Test, RefusesWhatIsIncompleteOrUnknown) {
  const std::string layer = "model.language_model.layers.0.";
  const auto adapter = MakeAdapter(kMoe);
  const StateDict hf = Layer(layer, "experts.", "router.per_expert_scale");
  for (const char* missing : {"experts.down_proj", "experts.gate_up_proj",
                              "router.per_expert_scale"}) {
    StateDict some;
    for (const auto& [name, tensor] : hf) {
      if (name == layer + missing) continue;
      ASSERT_OK(some.Insert(name, tensor));
    }
    EXPECT_THAT(adapter->FromHf(some, {}),
                StatusIs(kInvalid, HasSubstr(missing)));
  }
  for (const char* name : {"experts.down_proj.lora_A.weight",
                           "experts.base_layer.lora_A.weight"}) {
    EXPECT_THAT(adapter->FromHf(RandomDict({{layer + name, {4, 4}}}), {}),
                StatusIs(kInvalid, HasSubstr(name)));
  }
  const std::string lora = layer + "moe.experts.lora_down_A";
  EXPECT_THAT(adapter->ToHf(RandomDict({{lora, {2, 4, 1}}}), {}),
              StatusIs(kInvalid, HasSubstr(lora)));
}

TEST(Gemma4Test, TheNumberOfHiddenUnitsHasAnOlderName) {
  const auto adapter = MakeAdapter(
      R"({"architectures": ["Gemma4ForConditionalGeneration"],
          "text_config": {"enable_moe_block": true, "num_experts": 2,
                          "expert_intermediate_size": 4}})");
  EXPECT_OK(adapter->FromHf(Layer("model.language_model.layers.0.", "experts.",
                                  "router.per_expert_scale"),
                            {}));
}

TEST(Gemma4UnifiedTest, RenamesModulesAndNotWhatStartsAlike) {
  const auto adapter = MakeAdapter(kUnified);
  const StateDict hf = RandomDict({
      {"vision_embedder.pos_embedding", {1}},
      {"model.vision_embedder.pos_embeddings", {1}},
      {"model.vision_embedder.patch_dense2.weight", {1}},
      {"model.embed_vision.embedding_projection.bias", {1}},
      {"base_model.model.model.vision_embedder.patch_dense.lora_A.weight",
       {1, 1}},
  });
  ASSERT_OK_AND_ASSIGN(const StateDict native, adapter->FromHf(hf, {}));
  EXPECT_THAT(
      Names(native),
      ElementsAre(
          "embed_vision.pos_embedding", "model.vision_embedder.pos_embeddings",
          "model.vision_embedder.patch_dense2.weight",
          "model.embed_vision.multimodal_embedder.embedding_projection.bias",
          "base_model.model.model.embed_vision.patch_dense.lora_A.weight"));
  ASSERT_OK_AND_ASSIGN(const StateDict back, adapter->ToHf(native, {}));
  EXPECT_EQ(Difference(back, hf), "");
}

TEST(Gemma4UnifiedTest, RefusesTwoNamesThatBecomeOne) {
  const auto adapter = MakeAdapter(kUnified);
  const StateDict both = RandomDict({
      {"model.vision_embedder.patch_dense.weight", {1}},
      {"model.embed_vision.patch_dense.weight", {1}},
  });
  constexpr auto kExists = absl::StatusCode::kAlreadyExists;
  EXPECT_THAT(adapter->FromHf(both, {}),
              StatusIs(kExists, HasSubstr("vision_embedder.patch_dense")));
  EXPECT_THAT(adapter->ToHf(both, {}),
              StatusIs(kExists, HasSubstr("embed_vision.patch_dense")));
}

TEST(Gemma4UnifiedTest, ExcludesByAPartOfTheNativeName) {
  const auto adapter = MakeAdapter(kUnified);
  ToHfOptions options;
  ASSERT_OK_AND_ASSIGN(options.exclude_key_regex,
                       NameFilter::Create("embed_vision"));
  ASSERT_OK_AND_ASSIGN(
      const StateDict hf,
      adapter->ToHf(RandomDict({{"model.embed_vision.pos_norm.weight", {1}},
                                {"model.norm.weight", {1}}}),
                    options));
  EXPECT_THAT(Names(hf), ElementsAre("model.norm.weight"));
}

TEST(DiffusionGemmaTest, KeepsTheHeadThatAFileHas) {
  const auto adapter = MakeAdapter(kDiffusion);
  const StateDict hf =
      RandomDict({{"lm_head.weight", {4, 6}},
                  {"model.decoder.embed_tokens.weight", {4, 6}}});
  ASSERT_OK_AND_ASSIGN(const StateDict native, adapter->FromHf(hf, {}));
  EXPECT_THAT(Names(native),
              ElementsAre("lm_head.weight", "model.embed_tokens.weight"));
  EXPECT_EQ(native.Find("lm_head.weight")->source(),
            hf.Find("lm_head.weight")->source());
  ASSERT_OK_AND_ASSIGN(const StateDict back, adapter->ToHf(native, {}));
  EXPECT_THAT(Names(back), ElementsAre("model.decoder.embed_tokens.weight"));
}

TEST(DiffusionGemmaTest, AModelNeedsAHeadAndItsLoraDoesNot) {
  const auto adapter = MakeAdapter(kDiffusion);
  EXPECT_THAT(
      adapter->FromHf(RandomDict({{"model.decoder.norm.weight", {6}}}), {}),
      StatusIs(kInvalid, HasSubstr("lm_head.weight")));
  const StateDict lora = RandomDict(
      {{"base_model.model.model.decoder.layers.0.mlp.up_proj.lora_A.weight",
        {1, 6}}});
  ASSERT_OK_AND_ASSIGN(const StateDict native, adapter->FromHf(lora, {}));
  EXPECT_THAT(Names(native),
              ElementsAre("base_model.model.model.layers.0.mlp.up_proj.lora_A."
                          "weight"));
  ASSERT_OK_AND_ASSIGN(const StateDict back, adapter->ToHf(native, {}));
  EXPECT_EQ(Difference(back, lora), "");
}

}  // namespace
}  // namespace windlass
