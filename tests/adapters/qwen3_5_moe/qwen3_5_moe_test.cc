#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/json_fields.h"
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
using ::testing::IsSupersetOf;
using ::testing::Pair;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

constexpr auto kExists = absl::StatusCode::kAlreadyExists;

constexpr char kConfig[] = R"({
    "architectures": ["Qwen3_5MoeForConditionalGeneration"],
    "text_config": {"num_experts": 2, "moe_intermediate_size": 4,
                    "hidden_size": 6, "dtype": "bfloat16"}})";
constexpr char kTextConfig[] = R"({
    "architectures": ["Qwen3_5MoeForCausalLM"], "num_experts": 2,
    "moe_intermediate_size": 4, "hidden_size": 6, "dtype": "bfloat16"})";

constexpr char kDecoder[] = "model.language_model.layers.0.mlp.experts.";
constexpr char kMtp[] = "mtp.layers.0.mlp.experts.";

std::unique_ptr<StateDictAdapter> Make(const char* config = kConfig,
                                       const char* options = "{}") {
  return MakeAdapter(config, options);
}

std::vector<TensorSpec> Fused(const std::string& experts) {
  return {{experts + "gate_up_proj", {2, 8, 6}},
          {experts + "down_proj", {2, 6, 4}}};
}

std::vector<TensorSpec> Split(const std::string& experts,
                              DType dtype = DType::kBF16) {
  std::vector<TensorSpec> specs;
  for (int e = 0; e < 2; ++e) {
    for (const char* name : {"gate_proj", "up_proj", "down_proj"}) {
      specs.push_back({absl::StrCat(experts, e, ".", name, ".weight"),
                       name[0] == 'd' ? Shape{6, 4} : Shape{4, 6}, dtype});
    }
  }
  return specs;
}

std::vector<TensorSpec> With(std::vector<TensorSpec> specs,
                             const std::vector<TensorSpec>& more) {
  specs.insert(specs.end(), more.begin(), more.end());
  return specs;
}

// All weights of the specs, with a scale each.
std::vector<TensorSpec> Scaled(const std::vector<TensorSpec>& specs,
                               Shape scale) {
  std::vector<TensorSpec> scaled;
  for (const TensorSpec& spec : specs) {
    scaled.push_back(spec);
    scaled.push_back({spec.name + "_scale_inv", scale, DType::kBF16});
  }
  return scaled;
}

TEST(Qwen3_5MoeTest, MtpExpertsAreWrittenAsTheyCame) {
  const std::vector<TensorSpec> rest = {
      {"mtp.norm.weight", {3}}, {"mtp.layers.0.mlp.gate.weight", {2, 6}}};
  for (const bool split : {false, true}) {
    const std::vector<TensorSpec> mtp =
        With(split ? Split(kMtp) : Fused(kMtp), rest);
    // Shards may have MTP first.
    for (const StateDict& hf : {RandomDict(With(mtp, Fused(kDecoder))),
                                RandomDict(With(Fused(kDecoder), mtp))}) {
      ASSERT_OK_AND_ASSIGN(const StateDict native, Make()->FromHf(hf, {}));
      ASSERT_OK_AND_ASSIGN(const StateDict back, Make()->ToHf(native, {}));
      EXPECT_EQ(Difference(Sorted(back), Sorted(hf)), "");
    }
  }
}

TEST(Qwen3_5MoeTest, AnOptionOrTheConfigSaysHowMtpExpertsAreWritten) {
  ASSERT_OK_AND_ASSIGN(
      const StateDict native,
      Make()->FromHf(RandomDict(With(Fused(kMtp), {{"lm_head.weight", {3}}})),
                     {}));
  const struct {
    const char* word;
    bool split;
  } kCases[] = {{"split", true},
                {"Per_Expert", true},
                {"grouped", false},
                {"per-expert-safetensors", true},
                {"group", false}};
  for (const auto& c : kCases) {
    const std::string field =
        absl::StrCat(R"("mtp_expert_hf_layout": ")", c.word, R"(")");
    const std::string config =
        absl::StrCat(R"({"architectures": ["Qwen3_5MoeForCausalLM"],
                        "num_experts": 2, "moe_intermediate_size": 4, )",
                     field, "}");
    const auto by_option = Make(kConfig, absl::StrCat("{", field, "}").c_str());
    const auto by_config = Make(config.c_str());
    for (const StateDictAdapter* adapter : {by_option.get(), by_config.get()}) {
      ASSERT_OK_AND_ASSIGN(const StateDict hf, adapter->ToHf(native, {}));
      EXPECT_EQ(hf.Contains(absl::StrCat(kMtp, "gate_up_proj")), !c.split);
      EXPECT_EQ(hf.Contains(absl::StrCat(kMtp, "1.up_proj.weight")), c.split);
    }
  }
  const ModelConfig config = ModelConfig::Parse(kConfig).value();
  EXPECT_THAT(
      AdapterRegistry::Create(
          **AdapterRegistry::FindByConfig(config), config,
          JsonFields::Parse(R"({"mtp_expert_hf_layout": "x"})", "options")
              .value()),
      StatusIs(kInvalid, HasSubstr("split or grouped")));
}

TEST(Qwen3_5MoeTest, ReadsATensorAnExpertInAnyDType) {
  ASSERT_OK_AND_ASSIGN(const StateDict bf16,
                       Make()->FromHf(RandomDict(Split(kDecoder)), {}));
  ASSERT_OK_AND_ASSIGN(
      const StateDict fp8,
      Make()->FromHf(RandomDict(Scaled(With(Split(kDecoder, DType::kF8E4M3),
                                            Split(kMtp, DType::kF8E4M3)),
                                       {1, 1})),
                     {}));
  EXPECT_THAT(Names(bf16),
              ElementsAre(absl::StrCat(kDecoder, "gate_and_up_projs"),
                          absl::StrCat(kDecoder, "down_projs")));
  EXPECT_EQ(fp8.size(), 4u);
  for (const StateDict* native : {&bf16, &fp8}) {
    for (const auto& [name, tensor] : *native) {
      EXPECT_EQ(tensor.dtype(), DType::kBF16) << name;
    }
    ASSERT_OK_AND_ASSIGN(const StateDict hf, Make()->ToHf(*native, {}));
    EXPECT_THAT(Names(hf), IsSupersetOf({absl::StrCat(kDecoder, "gate_up_proj"),
                                         absl::StrCat(kDecoder, "down_proj")}));
  }
  const auto per_expert = Make(kConfig, R"({"expert_layout": "per_expert"})");
  ASSERT_OK_AND_ASSIGN(const StateDict hf, per_expert->ToHf(bf16, {}));
  EXPECT_TRUE(hf.Contains(absl::StrCat(kDecoder, "1.down_proj.weight")));
}

TEST(Qwen3_5MoeTest, DequantisesWhatIsNoExpert) {
  ASSERT_OK_AND_ASSIGN(
      const StateDict native,
      Make()->FromHf(
          RandomDict(
              Scaled({{"model.language_model.layers.0.self_attn.q_proj.weight",
                       {4, 4},
                       DType::kF8E4M3}},
                     {1, 1})),
          {}));
  ASSERT_EQ(native.size(), 1u);
  EXPECT_EQ(native.begin()->tensor.dtype(), DType::kBF16);
}

TEST(Qwen3_5MoeTest, RefusesWhatDoesNotFitTogether) {
  std::vector<TensorSpec> lacking = Split(kDecoder);
  lacking.resize(3);  // expert 0 alone
  std::vector<TensorSpec> half =
      Scaled(Split(kDecoder, DType::kF8E4M3), {1, 1});
  half.erase(half.begin() + 1);
  const struct {
    std::vector<TensorSpec> specs;
    absl::StatusCode code;
    std::string said;
  } kCases[] = {
      {lacking, kInvalid, absl::StrCat(kDecoder, "1.gate_proj.weight")},
      {half, kInvalid, "without a scale"},
      {Scaled(Split(kDecoder, DType::kF8E4M3), {2, 1}), kInvalid, "scale"},
      {With(Split(kDecoder), Fused(kDecoder)), kExists, "gate_up_proj"},
      {With(Split(kMtp), Fused(kMtp)), kExists, "gate_up_proj"},
      {Split("mtp.layers.0.mlp.other.experts."), kInvalid, "no row has"},
  };
  for (const auto& c : kCases) {
    EXPECT_THAT(Make()->FromHf(RandomDict(c.specs), {}),
                StatusIs(c.code, HasSubstr(c.said)));
  }
}

TEST(Qwen3_5MoeTest, ATextModelReadsTheLanguageModelOfAWholeOne) {
  const std::vector<TensorSpec> specs =
      With(Fused(kDecoder),
           {{"model.language_model.layers.0.linear_attn.A_log", {3}},
            {"model.lm_head.weight", {3}},
            {"mtp.fc.weight", {3}}});
  const std::vector<std::string> expected = {
      "model.layers.0.mlp.experts.gate_and_up_projs",
      "model.layers.0.mlp.experts.down_projs",
      "model.layers.0.linear_attn._fp32_params.A_log", "lm_head.weight",
      "mtp.layers.0.eh_proj.weight"};
  for (const auto& adapter :
       {std::shared_ptr<StateDictAdapter>(Make(kTextConfig)),
        std::shared_ptr<StateDictAdapter>(
            Make(kConfig, R"({"text_only": true})")),
        std::shared_ptr<StateDictAdapter>(
            Make(R"({"model_type": "qwen3_5_moe_text", "num_experts": 2,
                     "moe_intermediate_size": 4})"))}) {
    ASSERT_OK_AND_ASSIGN(const StateDict native,
                         adapter->FromHf(RandomDict(specs), {}));
    EXPECT_EQ(Names(native), expected);
    ASSERT_OK_AND_ASSIGN(const StateDict hf, adapter->ToHf(native, {}));
    EXPECT_THAT(
        adapter->ForcedHfDtypeMapping(hf),
        ElementsAre(Pair("model.layers.0.linear_attn.A_log", DType::kF32)));
  }
  ASSERT_OK_AND_ASSIGN(const StateDict whole,
                       Make()->FromHf(RandomDict(specs), {}));
  EXPECT_TRUE(whole.Contains(absl::StrCat(kDecoder, "down_projs")));
}

TEST(Qwen3_5MoeTest, ALayersNamesKeepTheirPrefixAllOfThem) {
  const std::string layer = "model.layers.0.mlp.";
  ASSERT_OK_AND_ASSIGN(
      const StateDict native,
      Make()->FromHf(RandomDict(With(Fused(layer + "experts."),
                                     {{layer + "gate.weight", {2, 6}}})),
                     {}));
  EXPECT_THAT(Names(native),
              ElementsAre(layer + "experts.gate_and_up_projs",
                          layer + "experts.down_projs", layer + "gate.weight"));
}

TEST(Qwen3_5MoeTest, HasNoHolderWhereItIsNotWanted) {
  const auto adapter =
      Make(kConfig, R"({"route_linear_attn_fp32_params": false})");
  ASSERT_OK_AND_ASSIGN(
      const StateDict native,
      adapter->FromHf(RandomDict({{"model.linear_attn.A_log", {3}}}), {}));
  EXPECT_THAT(Names(native), ElementsAre("model.linear_attn.A_log"));
  EXPECT_EQ(native.begin()->tensor.dtype(), DType::kF32);
}

}  // namespace
}  // namespace windlass
