// What the golden cases of Step-3.5 and 3.7 do not show.

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
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

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

std::unique_ptr<StateDictAdapter> Step3p5() {
  return MakeAdapter(
      R"({"architectures": ["Step3p5ForCausalLM"], "dtype": "bfloat16",
          "num_experts": 2, "moe_intermediate_size": 4})");
}

// Of three layers, with `fields` of MTP.
std::unique_ptr<StateDictAdapter> Step3p7(const std::string& fields) {
  return MakeAdapter(absl::StrCat(
      R"({"architectures": ["Step3p6ForConditionalGeneration"],
          "dtype": "bfloat16", "text_config": {
            "num_experts": 2, "moe_intermediate_size": 4,
            "num_hidden_layers": 3)",
      fields, "}}"));
}

const std::string kMoe = "model.layers.1.moe.";

TEST(Step3p5Test, RefusesAMixtureThatIsNotWhole) {
  const TensorSpec gate = {kMoe + "gate_proj.weight", {2, 4, 6}};
  const TensorSpec up = {kMoe + "up_proj.weight", {2, 4, 6}};
  const TensorSpec down = {kMoe + "down_proj.weight", {2, 6, 4}};
  const struct {
    std::vector<TensorSpec> given;
    std::string said;
  } kCases[] = {
      {{gate, down}, up.name},
      {{up, down}, gate.name},
      {{gate, up}, down.name},
      {{{kMoe + "gate.weight", {2, 6}}}, "\"model.layers.1.\""},
      {{gate, {up.name, {2, 5, 6}}, down}, "moe_intermediate_size"},
      {{{gate.name, {3, 4, 6}}, {up.name, {3, 4, 6}}, down}, "num_experts"},
      {{gate, up, down, {kMoe + "experts.0.up_proj.weight", {4, 6}}},
       "experts.0.up_proj"},
  };
  for (const auto& c : kCases) {
    EXPECT_THAT(Step3p5()->FromHf(RandomDict(c.given), {}),
                StatusIs(kInvalid, HasSubstr(c.said)));
  }
  EXPECT_THAT(Step3p5()->ToHf(
                  RandomDict({{kMoe + "experts.lora_down_A", {2, 4, 3}}}), {}),
              StatusIs(kInvalid, HasSubstr("lora_down_A")));
}

TEST(Step3p5Test, ABiasOfOldIsWrittenAsTheOtherIs) {
  for (const char* name : {"gate.bias", "gate.e_score_correction_bias"}) {
    ASSERT_OK_AND_ASSIGN(const StateDict hf,
                         Step3p5()->ToHf(RandomDict({{kMoe + name, {2}}}), {}));
    EXPECT_THAT(Names(hf), ElementsAre(kMoe + "router_bias"));
  }
}

TEST(Step3p5Test, ScalesOfFp8AreOfEachExpert) {
  const struct {
    const char* name;
    Shape shape;
  } kProjections[] = {{"gate_proj", {2, 4, 6}},
                      {"up_proj", {2, 4, 6}},
                      {"down_proj", {2, 6, 4}}};
  std::vector<TensorSpec> specs;
  for (const auto& [name, shape] : kProjections) {
    const std::string weight = absl::StrCat(kMoe, name, ".weight");
    specs.push_back({weight, shape, DType::kF8E4M3});
    specs.push_back({weight + "_scale_inv", {2, 1, 1}, DType::kF32});
  }
  ASSERT_OK_AND_ASSIGN(const StateDict native,
                       Step3p5()->FromHf(RandomDict(specs), {}));
  EXPECT_THAT(Names(native), ElementsAre(kMoe + "experts.gate_and_up_projs",
                                         kMoe + "experts.down_projs"));
  EXPECT_EQ(native.begin()->tensor.ToString(), "BF16 [2, 6, 8]");
}

TEST(Step3p7Test, LayersBehindTheModelsAreMtps) {
  const struct {
    const char* fields;
    const char* hf;
    const char* native;
  } kCases[] = {
      {"", "model.layers.3.x", "model.language_model.layers.3.x"},
      {R"(, "num_nextn_predict_layers": 2)", "model.layers.2.x",
       "model.language_model.layers.2.x"},
      {R"(, "num_nextn_predict_layers": 2)", "model.layers.3.x",
       "mtp.layers.0.x"},
      {R"(, "num_nextn_predict_layers": 2)", "model.layers.4.x",
       "mtp.layers.1.x"},
      {R"(, "num_nextn_predict_layers": 2)", "model.layers.5.x",
       "model.language_model.layers.5.x"},
      {R"(, "num_nextn_predict_layers": 1, "mtp_base_layer_idx": 7)",
       "model.layers.7.x", "mtp.layers.0.x"},
      {R"(, "num_nextn_predict_layers": 1, "mtp_base_layer_idx": 7)",
       "model.layers.3.x", "model.language_model.layers.3.x"},
  };
  for (const auto& c : kCases) {
    const auto adapter = Step3p7(c.fields);
    const StateDict hf = RandomDict({{c.hf, {2}}});
    ASSERT_OK_AND_ASSIGN(const StateDict native, adapter->FromHf(hf, {}));
    EXPECT_THAT(Names(native), ElementsAre(c.native));
    ASSERT_OK_AND_ASSIGN(const StateDict back, adapter->ToHf(native, {}));
    EXPECT_EQ(Difference(back, hf), "");
  }
}

TEST(Step3p7Test, MtpKeepsTheLayoutOfFiles) {
  const auto adapter = Step3p7(R"(, "num_nextn_predict_layers": 1)");
  const StateDict hf =
      RandomDict({{"model.layers.3.moe.gate_proj.weight", {2, 4, 6}}});
  ASSERT_OK_AND_ASSIGN(const StateDict native, adapter->FromHf(hf, {}));
  EXPECT_THAT(Names(native), ElementsAre("mtp.layers.0.moe.gate_proj.weight"));
  EXPECT_EQ(native.begin()->tensor.ToString(), "BF16 [2, 4, 6]");
}

TEST(Step3p7Test, NamesOfFiles) {
  const auto adapter = Step3p7(R"(, "num_nextn_predict_layers": 1)");
  const struct {
    const char* hf;
    const char* native;
    const char* back;
  } kCases[] = {
      {"model.norm.weight", "model.language_model.norm.weight",
       "model.norm.weight"},
      {"model.language_model.norm.weight", "model.language_model.norm.weight",
       "model.norm.weight"},
      {"language_model.norm.weight", "model.language_model.norm.weight",
       "model.norm.weight"},
      {"language_model.layers.3.x", "mtp.layers.0.x", "model.layers.3.x"},
      {"model.language_model.layers.4.x", "model.language_model.layers.4.x",
       "model.layers.4.x"},
      {"vision_model.x.weight", "model.vision_model.x.weight",
       "vision_model.x.weight"},
      {"model.vision_model.x.weight", "model.vision_model.x.weight",
       "vision_model.x.weight"},
      {"vit_large_projector.weight", "model.vit_large_projector.weight",
       "vit_large_projector.weight"},
      {"model.other.weight", "model.other.weight", "model.other.weight"},
      {"lm_head.weight", "lm_head.weight", "lm_head.weight"},
  };
  for (const auto& c : kCases) {
    ASSERT_OK_AND_ASSIGN(const StateDict native,
                         adapter->FromHf(RandomDict({{c.hf, {2}}}), {}));
    EXPECT_THAT(Names(native), ElementsAre(c.native));
    ASSERT_OK_AND_ASSIGN(const StateDict back, adapter->ToHf(native, {}));
    EXPECT_THAT(Names(back), ElementsAre(c.back));
  }
}

}  // namespace
}  // namespace windlass
