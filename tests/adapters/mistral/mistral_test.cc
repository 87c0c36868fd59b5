// What the golden cases of Mistral 3 and 4 do not show.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

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

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

std::string Whole(const std::string& text, const std::string& more = "") {
  return absl::StrCat(
      R"({"architectures": ["Mistral3ForConditionalGeneration"],
          "model_type": "mistral3", "dtype": "bfloat16", "text_config": {)",
      text, "}", more, "}");
}

const char kText3[] = R"("model_type": "ministral3")";
const char kText4[] =
    R"("model_type": "mistral4", "n_routed_experts": 2, "hidden_size": 6,
       "moe_intermediate_size": 4)";

constexpr char kCausal3[] =
    R"({"architectures": ["Ministral3ForCausalLM"],
        "model_type": "ministral3"})";

TEST(MistralTest, TheArchitectureOfTheWholeIsToldByItsText) {
  const struct {
    std::string config;
    const char* adapter;  // null for none
  } kRows[] = {
      {Whole(kText3), "mistral3_fp8"},
      {Whole(kText3, R"(, "quantization_config": {"quant_method": "fp8"})"),
       "mistral3_fp8"},
      {Whole(kText3, R"(, "quantization_config": {"quant_method": "awq"})"),
       nullptr},
      {Whole(kText4), "mistral4"},
      {Whole(kText4, R"(, "quantization_config": {"quant_method": "fp8"})"),
       "mistral4"},
      {Whole(R"("model_type": "mistral")"), nullptr},
      {kCausal3, "mistral3_fp8"},
      {R"({"architectures": ["Mistral4ForCausalLM"],
           "model_type": "mistral4"})",
       "mistral4"},
      {absl::StrCat(R"({"architectures":
                        ["Mistral3FP8VLMForConditionalGeneration"],
                        "text_config": {)",
                    kText3, "}}"),
       "mistral3_fp8"},
  };
  for (const auto& row : kRows) {
    SCOPED_TRACE(row.config);
    ASSERT_OK_AND_ASSIGN(const ModelConfig config,
                         ModelConfig::Parse(row.config));
    const auto info = AdapterRegistry::FindByConfig(config);
    if (row.adapter == nullptr) {
      EXPECT_THAT(info, StatusIs(absl::StatusCode::kNotFound, HasSubstr("")));
    } else {
      ASSERT_OK(info);
      EXPECT_EQ((*info)->name, row.adapter);
    }
  }
}

// FP8 ones and a scale.
StateDict Fp8(const std::string& name, Shape shape, Shape scale_shape,
              const std::vector<float>& scales) {
  StateDict hf;
  int64_t count = 1;
  for (int64_t extent : shape) count *= extent;
  EXPECT_OK(
      hf.Insert(name, MakeTensor<uint8_t>(DType::kF8E4M3, shape,
                                          std::vector<uint8_t>(count, 0x38))));
  EXPECT_OK(hf.Insert(name + "_scale_inv",
                      MakeTensor(DType::kF32, scale_shape, scales)));
  return hf;
}

TEST(Mistral3Test, ReadsBlocksAndRefusesFp8WithoutAScale) {
  const auto adapter = MakeAdapter(kCausal3);
  ASSERT_OK_AND_ASSIGN(
      const StateDict native,
      adapter->FromHf(Fp8("model.w.weight", {129, 1}, {2, 1}, {1, 2}), {}));
  EXPECT_THAT(Names(native), ElementsAre("model.w.weight"));
  std::vector<uint16_t> expected(129, 0x3f80);
  expected.back() = 0x4000;
  StateDict values;
  ASSERT_OK(values.Insert("model.w.weight",
                          MakeTensor(DType::kBF16, {129, 1}, expected)));
  EXPECT_EQ(Difference(native, values), "");
  EXPECT_THAT(
      adapter->FromHf(RandomDict({{"a.weight", {2, 2}, DType::kF8E4M3}}), {}),
      StatusIs(kInvalid, HasSubstr("\"a.weight\"")));
}

TEST(Mistral3Test, TheLargestModelHasTheNativeNames) {
  const StateDict hf = RandomDict({{"model.language_model.norm.weight", {2}},
                                   {"language_model.model.norm.weight", {2}}});
  const auto adapter =
      MakeAdapter(Whole(absl::StrCat(kText3, R"(, "num_hidden_layers": 88)")));
  ASSERT_OK_AND_ASSIGN(const StateDict native, adapter->FromHf(hf, {}));
  EXPECT_EQ(Difference(native, hf), "");
  ASSERT_OK_AND_ASSIGN(const StateDict back, adapter->ToHf(native, {}));
  EXPECT_EQ(Difference(back, hf), "");
}

TEST(Mistral3Test, TheLanguageModelMayBeNestedTwice) {
  ASSERT_OK_AND_ASSIGN(
      const StateDict hf,
      MakeAdapter(Whole(kText3))
          ->ToHf(RandomDict({{"model.language_model.model.norm.weight", {2}},
                             {"model.language_model.layers.0.x.weight", {2}}}),
                 {}));
  EXPECT_THAT(Names(hf), ElementsAre("language_model.model.norm.weight",
                                     "language_model.model.layers.0.x.weight"));
}

class Mistral4Test : public ::testing::Test {
 protected:
  const std::string layer_ = "language_model.model.layers.0.mlp.";
  const std::unique_ptr<StateDictAdapter> adapter_ = MakeAdapter(Whole(kText4));
};

TEST_F(Mistral4Test, KeepsABiasThatAFileHasWhereItStands) {
  const StateDict hf =
      RandomDict({{layer_ + "gate.weight", {2, 6}},
                  {layer_ + "gate.e_score_correction_bias", {2}, DType::kF32},
                  {layer_ + "experts.gate_up_proj", {2, 8, 6}},
                  {layer_ + "experts.down_proj", {2, 6, 4}}});
  ASSERT_OK_AND_ASSIGN(const StateDict native, adapter_->FromHf(hf, {}));
  EXPECT_THAT(Names(native),
              ElementsAre("model." + layer_ + "gate.weight",
                          "model." + layer_ + "gate.e_score_correction_bias",
                          "model." + layer_ + "experts.gate_and_up_projs",
                          "model." + layer_ + "experts.down_projs"));
  ASSERT_OK_AND_ASSIGN(const StateDict back, adapter_->ToHf(native, {}));
  EXPECT_EQ(Difference(back, hf), "");
}

TEST_F(Mistral4Test, ExpertsKeepTheirDTypeUnlessTheyAreUnpacked) {
  for (const Shape& scale : {Shape{}, Shape{2}, Shape{2, 1, 1}}) {
    StateDict hf =
        RandomDict({{layer_ + "experts.down_proj", {2, 6, 4}, DType::kF32}});
    const StateDict packed =
        Fp8(layer_ + "experts.gate_up_proj", {2, 8, 6}, scale,
            std::vector<float>(scale.empty() ? 1 : 2, 2));
    for (const auto& [name, tensor] : packed) {
      ASSERT_OK(hf.Insert(name, tensor));
    }
    ASSERT_OK(hf.Insert(layer_ + "experts.gate_up_proj_activation_scale",
                        MakeTensor<float>(DType::kF32, {2}, {1, 1})));
    ASSERT_OK_AND_ASSIGN(const StateDict native, adapter_->FromHf(hf, {}));
    const std::string experts = "model." + layer_ + "experts.";
    EXPECT_THAT(Names(native), ElementsAre(experts + "gate_and_up_projs",
                                           experts + "down_projs"));
    EXPECT_EQ(native.Find(experts + "gate_and_up_projs")->ToString(),
              "BF16 [2, 6, 8]");
    EXPECT_EQ(native.Find(experts + "down_projs")->ToString(), "F32 [2, 4, 6]");
  }
}

TEST_F(Mistral4Test, RefusesARouterOfOtherExpertsAndFp8WithoutAScale) {
  EXPECT_THAT(
      adapter_->FromHf(RandomDict({{layer_ + "gate.weight", {3, 6}}}), {}),
      StatusIs(kInvalid, HasSubstr("n_routed_experts")));
  EXPECT_THAT(
      adapter_->FromHf(
          RandomDict(
              {{layer_ + "experts.down_proj", {2, 6, 4}, DType::kF8E4M3}}),
          {}),
      StatusIs(kInvalid, HasSubstr("without a scale")));
}

TEST_F(Mistral4Test, TextAloneIsReadWithAndWithoutThePrefix) {
  const auto adapter = MakeAdapter(Whole(kText4), R"({"text_only": true})");
  for (const char* prefix : {"", "language_model."}) {
    const StateDict hf = RandomDict(
        {{absl::StrCat(prefix, "model.layers.0.mlp.experts.gate_up_proj"),
          {2, 8, 6}},
         {absl::StrCat(prefix, "model.layers.0.mlp.experts.down_proj"),
          {2, 6, 4}},
         {absl::StrCat("base_model.model.", prefix, "model.norm.lora_A.weight"),
          {1, 1}}});
    ASSERT_OK_AND_ASSIGN(const StateDict native, adapter->FromHf(hf, {}));
    EXPECT_THAT(Names(native),
                ElementsAre("base_model.model.model.norm.lora_A.weight",
                            "model.layers.0.mlp.experts.gate_and_up_projs",
                            "model.layers.0.mlp.experts.down_projs"));
    ASSERT_OK_AND_ASSIGN(const StateDict back, adapter->ToHf(native, {}));
    EXPECT_THAT(
        Names(back),
        ElementsAre("base_model.model.language_model.model.norm.lora_A.weight",
                    "language_model.model.layers.0.mlp.experts.gate_up_proj",
                    "language_model.model.layers.0.mlp.experts.down_proj"));
  }
}

}  // namespace
}  // namespace windlass
