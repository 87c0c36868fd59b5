// What the golden cases of Nemotron 3 do not show.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/dtype.h"
#include "windlass/core/model_config.h"
#include "windlass/core/state_dict.h"
#include "windlass/core/state_dict_adapter.h"
#include "windlass/testing/adapters.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/testing/tensors.h"

namespace windlass {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

// Of three layers and two experts.
std::unique_ptr<StateDictAdapter> V3(
    const std::string& more = "",
    const std::string& experts =
        R"("n_routed_experts": 2, "moe_intermediate_size": 4)") {
  return MakeAdapter(absl::StrCat(
      R"({"architectures": ["NemotronHForCausalLM"], "dtype": "bfloat16",
          "num_hidden_layers": 3, )",
      experts, more, "}"));
}

std::unique_ptr<StateDictAdapter> Omni() {
  return MakeAdapter(
      R"({"architectures": ["NemotronH_Nano_Omni_Reasoning_V3"],
          "dtype": "float32",
          "llm_config": {"num_hidden_layers": 3, "n_routed_experts": 2,
                         "moe_intermediate_size": 4, "hidden_size": 6}})");
}

std::vector<TensorSpec> Experts(const std::string& layer) {
  std::vector<TensorSpec> specs;
  for (int e = 0; e < 2; ++e) {
    const std::string expert = absl::StrCat(layer, "mixer.experts.", e, ".");
    specs.push_back({expert + "up_proj.weight", {4, 6}});
    specs.push_back({expert + "down_proj.weight", {6, 4}});
  }
  return specs;
}

TEST(NemotronV3Test, IsOfMixturesAndOfListedLayersAlone) {
  const struct {
    const char* fields;
    bool found;
  } kCases[] = {{"", false},
                {R"(, "hybrid_override_pattern": "M*-")", false},
                {R"(, "n_routed_experts": 4)", true},
                {R"(, "layers_block_type": ["mamba"])", true}};
  for (const auto& c : kCases) {
    ASSERT_OK_AND_ASSIGN(
        const ModelConfig config,
        ModelConfig::Parse(absl::StrCat(
            R"({"architectures": ["NemotronHForCausalLM"])", c.fields, "}")));
    const auto found = AdapterRegistry::FindByConfig(config);
    if (c.found) {
      ASSERT_OK(found);
      EXPECT_EQ((*found)->name, "nemotron_v3");
    } else {
      EXPECT_THAT(found, StatusIs(absl::StatusCode::kNotFound,
                                  HasSubstr("NemotronHForCausalLM")));
    }
  }
}

TEST(NemotronV3Test, WithoutExpertsInTheConfigThereAreNone) {
  const auto adapter = V3("", R"("layers_block_type": ["mamba", "mlp"])");
  const StateDict hf =
      RandomDict({{"backbone.layers.1.mixer.up_proj.weight", {4, 6}}});
  ASSERT_OK_AND_ASSIGN(const StateDict native, adapter->FromHf(hf, {}));
  EXPECT_THAT(Names(native),
              ElementsAre("model.layers.1.mixer.up_proj.weight"));
  EXPECT_THAT(adapter->FromHf(RandomDict(Experts("backbone.layers.1.")), {}),
              StatusIs(kInvalid, HasSubstr("experts.0.up_proj")));
}

TEST(NemotronV3Test, NamesOfFiles) {
  const struct {
    const char* hf;
    const char* native;
    const char* back;  // null where it is `hf`
  } kCases[] = {
      {"backbone.norm_f.weight", "model.norm.weight", nullptr},
      {"model.norm_f.weight", "model.norm.weight", "backbone.norm_f.weight"},
      {"model.embeddings.weight", "model.embed_tokens.weight",
       "backbone.embeddings.weight"},
      {"backbone.layers.2.norm.weight", "model.layers.2.norm.weight", nullptr},
      {"backbone.layers.0.mixer.norm.D", "model.layers.0.mixer.norm.D",
       nullptr},
      {"mtp.layers.0.mixer.norm.weight", "mtp.layers.0.mixer.norm.weight",
       nullptr},
      {"base_model.model.backbone.layers.1.x.lora_A.weight",
       "base_model.model.model.layers.1.x.lora_A.weight",
       "base_model.model.model.layers.1.x.lora_A.weight"},
  };
  for (const auto& c : kCases) {
    ASSERT_OK_AND_ASSIGN(const StateDict native,
                         V3()->FromHf(RandomDict({{c.hf, {2}}}), {}));
    EXPECT_THAT(Names(native), ElementsAre(c.native));
    ASSERT_OK_AND_ASSIGN(const StateDict back, V3()->ToHf(native, {}));
    EXPECT_THAT(Names(back), ElementsAre(c.back == nullptr ? c.hf : c.back));
  }
}

TEST(NemotronV3Test, DropsLayersThatTheConfigDoesNotHave) {
  ASSERT_OK_AND_ASSIGN(
      const StateDict native,
      V3()->FromHf(RandomDict({{"backbone.layers.3.norm.weight", {2}},
                               {"model.layers.3.norm.weight", {2}},
                               {"mtp.layers.3.norm.weight", {2}}}),
                   {}));
  EXPECT_THAT(Names(native), ElementsAre("mtp.layers.3.norm.weight"));
}

TEST(NemotronV3Test, MambasParametersAreF32InBothLayouts) {
  for (const char* name : {"A_log", "D", "dt_bias"}) {
    const std::string hf = absl::StrCat("backbone.layers.0.mixer.", name);
    const std::string native =
        absl::StrCat("model.layers.0.mixer._fp32_params.", name);
    ASSERT_OK_AND_ASSIGN(const StateDict made,
                         V3()->FromHf(RandomDict({{hf, {2}}}), {}));
    EXPECT_THAT(Names(made), ElementsAre(native));
    EXPECT_EQ(made.begin()->tensor.dtype(), DType::kF32);
    ASSERT_OK_AND_ASSIGN(const StateDict back,
                         V3()->ToHf(RandomDict({{native, {2}}}), {}));
    EXPECT_THAT(Names(back), ElementsAre(hf));
    EXPECT_EQ(back.begin()->tensor.dtype(), DType::kF32);
  }
  // Numbers that are no floats are left alone.
  ASSERT_OK_AND_ASSIGN(
      const StateDict made,
      V3()->FromHf(
          RandomDict({{"backbone.layers.0.mixer.D", {2}, DType::kI32}}), {}));
  EXPECT_EQ(made.begin()->tensor.dtype(), DType::kI32);
}

TEST(NemotronV3Test, FilesKeepSomeInF32WhateverTheyAreCastTo) {
  const std::string bias =
      "backbone.layers.1.mixer.gate.e_score_correction_bias";
  const StateDict hf =
      RandomDict({{bias, {2}},
                  {"backbone.layers.0.mixer.D", {2}},
                  {"backbone.layers.0.mixer.in_proj.weight", {2, 2}}});
  EXPECT_THAT(V3()->ForcedHfDtypeMapping(hf),
              ElementsAre(Pair(bias, DType::kF32),
                          Pair("backbone.layers.0.mixer.D", DType::kF32)));
  // The bias is not cast by itself.
  ASSERT_OK_AND_ASSIGN(const StateDict native, V3()->FromHf(hf, {}));
  EXPECT_EQ(native.begin()->tensor.dtype(), DType::kBF16);
}

TEST(NemotronV3Test, MtpStandsBehindAllElse) {
  std::vector<TensorSpec> specs = Experts("mtp.layers.0.");
  specs.push_back({"backbone.norm_f.weight", {6}});
  const StateDict hf = RandomDict(specs);
  ASSERT_OK_AND_ASSIGN(const StateDict native, V3()->FromHf(hf, {}));
  EXPECT_THAT(Names(native),
              ElementsAre("model.norm.weight",
                          "mtp.layers.0.mixer.experts.gate_and_up_projs",
                          "mtp.layers.0.mixer.experts.down_projs"));
  ASSERT_OK_AND_ASSIGN(const StateDict back, V3()->ToHf(native, {}));
  EXPECT_EQ(Difference(Sorted(back), Sorted(hf)), "");
}

TEST(NemotronV3Test, LoraOfMtpFollowsV4) {
  ToHfOptions v4;
  v4.v4_compatible = true;
  ASSERT_OK_AND_ASSIGN(
      const StateDict hf,
      V3()->ToHf(
          RandomDict({{"mtp.layers.0.mixer.experts.lora_down_A", {2, 4, 3}},
                      {"mtp.layers.0.mixer.experts.lora_down_B", {2, 3, 6}}}),
          v4));
  EXPECT_TRUE(
      hf.Contains("mtp.layers.0.mixer.experts.1.down_proj.lora_B.weight"));
}

TEST(NemotronV3Test, RefusesWhatDoesNotFitTheConfig) {
  const struct {
    const char* more;
    std::vector<TensorSpec> given;
    const char* said;
  } kCases[] = {
      {R"(, "layers_block_type": ["mamba", "moe", "mamba"])",
       {{"backbone.layers.1.norm.weight", {6}}},
       "\"model.layers.1.\""},
      {R"(, "hybrid_override_pattern": "MEM")",
       {{"backbone.layers.1.norm.weight", {6}}},
       "\"model.layers.1.\""},
      {"", {{"backbone.layers.1.mixer.gate.weight", {2, 6}}}, "no experts"},
      {R"(, "hidden_size": 6, "moe_latent_size": 5)",
       Experts("backbone.layers.1."), "moe_latent_size"},
      {"",
       {{"backbone.layers.1.mixer.experts.0.gate_proj.weight", {4, 6}}},
       "gate_proj"},
  };
  for (const auto& c : kCases) {
    EXPECT_THAT(V3(c.more)->FromHf(RandomDict(c.given), {}),
                StatusIs(kInvalid, HasSubstr(c.said)));
  }
}

TEST(NemotronOmniTest, TheLanguageModelIsTheWholeModelsDtype) {
  ASSERT_OK_AND_ASSIGN(
      const StateDict native,
      Omni()->FromHf(RandomDict(Experts("language_model.backbone.layers.1.")),
                     {}));
  EXPECT_THAT(
      Names(native),
      ElementsAre("language_model.model.layers.1.mixer.experts."
                  "gate_and_up_projs",
                  "language_model.model.layers.1.mixer.experts.down_projs"));
  EXPECT_EQ(native.begin()->tensor.ToString(), "F32 [2, 6, 4]");
}

TEST(NemotronOmniTest, TheLanguageModelStandsAtTheEndOfBothLayouts) {
  const StateDict hf = RandomDict(
      {{"language_model.lm_head.weight", {2}}, {"mlp1.0.weight", {2}}});
  ASSERT_OK_AND_ASSIGN(const StateDict native, Omni()->FromHf(hf, {}));
  EXPECT_THAT(Names(native), ElementsAre("vision_projector.norm.weight",
                                         "language_model.lm_head.weight"));
  ASSERT_OK_AND_ASSIGN(
      const StateDict back,
      Omni()->ToHf(RandomDict({{"language_model.lm_head.weight", {2}},
                               {"vision_projector.norm.weight", {2}}}),
                   {}));
  EXPECT_THAT(Names(back),
              ElementsAre("mlp1.0.weight", "language_model.lm_head.weight"));
}

TEST(NemotronOmniTest, NamesOfTowers) {
  const struct {
    const char* hf;
    const char* native;
  } kCases[] = {
      {"mlp1.0.weight", "vision_projector.norm.weight"},
      {"mlp1.1.weight", "vision_projector.linear1.weight"},
      {"mlp1.3.weight", "vision_projector.linear2.weight"},
      {"mlp1.2.weight", "mlp1.2.weight"},
      {"sound_encoder.encoder.x.weight", "sound_encoder.x.weight"},
      {"vision_model.layers.7.x", "vision_model.layers.7.x"},
      {"language_model.backbone.layers.0.mixer.D",
       "language_model.model.layers.0.mixer._fp32_params.D"},
      {"base_model.model.language_model.backbone.layers.1.x.lora_A.weight",
       "base_model.model.language_model.model.layers.1.x.lora_A.weight"},
  };
  for (const auto& c : kCases) {
    ASSERT_OK_AND_ASSIGN(
        const StateDict native,
        Omni()->FromHf(RandomDict({{c.hf, {2}, DType::kF32}}), {}));
    EXPECT_THAT(Names(native), ElementsAre(c.native));
    ASSERT_OK_AND_ASSIGN(const StateDict back, Omni()->ToHf(native, {}));
    EXPECT_THAT(Names(back), ElementsAre(c.hf));
  }
}

TEST(NemotronOmniTest, LoraOfExpertsIsWrittenInPeftsForms) {
  const std::string layer = "base_model.model.language_model.model.layers.1.";
  const StateDict native =
      RandomDict({{layer + "mixer.experts.lora_down_A", {2, 4, 3}},
                  {layer + "mixer.experts.lora_down_B", {2, 3, 6}}});
  const std::string experts =
      "base_model.model.language_model.backbone.layers.1.mixer.experts.";
  for (const bool v4 : {false, true}) {
    ToHfOptions options;
    options.v4_compatible = v4;
    ASSERT_OK_AND_ASSIGN(const StateDict hf, Omni()->ToHf(native, options));
    EXPECT_TRUE(hf.Contains(
        experts + (v4 ? "1.down_proj.lora_A.weight" : "lora_A.weight")));
    ASSERT_OK_AND_ASSIGN(const StateDict back, Omni()->FromHf(hf, {}));
    EXPECT_EQ(Difference(back, native), "");
  }
}

}  // namespace
}  // namespace windlass
