// What the golden cases of GPT-OSS do not show.

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/core/dtype.h"
#include "windlass/core/state_dict.h"
#include "windlass/core/state_dict_adapter.h"
#include "windlass/testing/adapters.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/testing/tensors.h"

namespace windlass {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

std::unique_ptr<StateDictAdapter> Adapter(const std::string& options = "{}") {
  return MakeAdapter(
      R"({"architectures": ["GptOssForCausalLM"], "dtype": "float32",
          "num_local_experts": 2, "intermediate_size": 32,
          "hidden_size": 64})",
      options);
}

const std::string kMlp = "model.layers.0.mlp.";

TEST(GptOssTest, RenamedTensorsStandAtTheEndAsTheyCome) {
  ASSERT_OK_AND_ASSIGN(
      const StateDict native,
      Adapter()->FromHf(
          RandomDict({{kMlp + "experts.down_proj", {2, 32, 64}},
                      {kMlp + "experts.gate_up_proj", {2, 64, 64}},
                      {kMlp + "router.bias", {2}},
                      {kMlp + "router.weight", {2, 64}},
                      {"model.norm.weight", {64}}}),
          {}));
  EXPECT_THAT(Names(native),
              ElementsAre("model.norm.weight", kMlp + "experts.down_projs",
                          kMlp + "experts.gate_and_up_projs",
                          kMlp + "gate.bias", kMlp + "gate.weight"));
}

TEST(GptOssTest, PackedTensorsBecomeBf16WhateverTheModelIsIn) {
  ASSERT_OK_AND_ASSIGN(
      const StateDict native,
      Adapter()->FromHf(RandomDict({{"x.any_blocks", {3, 4, 2, 16}, DType::kU8},
                                    {"x.any_scales", {3, 4, 2}, DType::kU8}}),
                        {}));
  EXPECT_THAT(Names(native), ElementsAre("x.any"));
  EXPECT_EQ(native.begin()->tensor.ToString(), "BF16 [3, 64, 4]");
}

TEST(GptOssTest, RefusesPackedTensorsThatDoNotFit) {
  const std::string down = kMlp + "experts.down_proj";
  const TensorSpec blocks = {down + "_blocks", {2, 64, 1, 16}, DType::kU8};
  const struct {
    std::vector<TensorSpec> given;
    std::vector<std::string> said;
  } kCases[] = {
      {{blocks}, {down + "_scales"}},
      {{{down + "_scales", {2, 64, 1}, DType::kU8}}, {down + "_blocks"}},
      {{blocks, {down + "_scales", {2, 64, 2}, DType::kU8}},
       {down + "_scales", "[2, 64, 2]", "expected 1"}},
      {{blocks, {down + "_scales", {2, 64, 1}, DType::kF32}}, {down}},
      {{{down + "_blocks", {2, 64, 1, 8}, DType::kU8},
        {down + "_scales", {2, 64, 1}, DType::kU8}},
       {down + "_blocks", "expected 16"}},
      // As many experts as another model has.
      {{{down + "_blocks", {3, 64, 1, 16}, DType::kU8},
        {down + "_scales", {3, 64, 1}, DType::kU8}},
       {down, "num_local_experts"}},
  };
  for (const auto& c : kCases) {
    const auto native = Adapter()->FromHf(RandomDict(c.given), {});
    for (const std::string& said : c.said) {
      EXPECT_THAT(native, StatusIs(kInvalid, HasSubstr(said)));
    }
  }
}

TEST(GptOssTest, TransformerEngineHasAnotherNameForSinks) {
  const StateDict hf = RandomDict({{"model.layers.0.self_attn.sinks", {4}}});
  for (const bool te : {false, true}) {
    const auto adapter = Adapter(te ? R"({"te_attention": true})" : R"({})");
    ASSERT_OK_AND_ASSIGN(const StateDict native, adapter->FromHf(hf, {}));
    EXPECT_THAT(
        Names(native),
        ElementsAre(te ? "model.layers.0.self_attn.attn_module.softmax_offset"
                       : "model.layers.0.self_attn.sinks"));
    ASSERT_OK_AND_ASSIGN(const StateDict back, adapter->ToHf(native, {}));
    EXPECT_EQ(Difference(back, hf), "");
  }
}

TEST(GptOssTest, RefusesExpertsThatItDoesNotKnow) {
  const auto adapter = Adapter();
  EXPECT_THAT(
      adapter->FromHf(
          RandomDict({{kMlp + "experts.0.down_proj.weight", {2, 2}}}), {}),
      StatusIs(kInvalid, HasSubstr("experts.0.down_proj")));
  EXPECT_THAT(adapter->ToHf(
                  RandomDict({{kMlp + "experts.lora_down_A", {2, 32, 4}}}), {}),
              StatusIs(kInvalid, HasSubstr("lora_down_A")));
  EXPECT_THAT(
      adapter->FromHf(RandomDict({{kMlp + "router.weight", {2, 64}}}), {}),
      StatusIs(kInvalid, AllOf(HasSubstr("\"model.layers.0.\""),
                               HasSubstr("no experts"))));
  EXPECT_THAT(adapter->FromHf(
                  RandomDict({{kMlp + "experts.down_proj", {2, 64, 32}}}), {}),
              StatusIs(kInvalid, HasSubstr("intermediate_size")));
}

}  // namespace
}  // namespace windlass
