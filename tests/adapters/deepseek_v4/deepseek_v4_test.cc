// Golden cases show the rest.

#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/dequantize.h"
#include "windlass/core/dtype.h"
#include "windlass/core/model_config.h"
#include "windlass/core/state_dict.h"
#include "windlass/core/state_dict_adapter.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/testing/tensors.h"

namespace windlass {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

class DeepSeekV4Test : public ::testing::Test {
 protected:
  // Of three layers.
  static std::unique_ptr<StateDictAdapter> Adapter(int mtp_depth = 1,
                                                   int hash_layers = 0) {
    const AdapterInfo* info =
        AdapterRegistry::FindByName("deepseek_v4").value();
    const std::string config = absl::StrCat(
        R"({"n_routed_experts": 2, "moe_intermediate_size": 32,
            "num_hidden_layers": 3, "num_nextn_predict_layers": )",
        mtp_depth, R"(, "num_hash_layers": )", hash_layers, "}");
    return AdapterRegistry::Create(*info, ModelConfig::Parse(config).value(),
                                   {})
        .value();
  }

  Tensor Random(DType dtype, Shape shape) {
    return RandomTensor(dtype, std::move(shape), &random_);
  }

  StateDict Dict(const std::vector<std::string>& names) {
    StateDict dict;
    for (const std::string& name : names) {
      EXPECT_OK(dict.Insert(name, Random(DType::kBF16, {4})));
    }
    return dict;
  }

  std::mt19937 random_{1};
};

TEST_F(DeepSeekV4Test, FindsMtpLayersUnderEachOfTheirNames) {
  for (const char* name :
       {"mtp.0.attn_norm.weight", "layers.3.attn_norm.weight",
        "model.layers.3.attn_norm.weight"}) {
    ASSERT_OK_AND_ASSIGN(const StateDict native,
                         Adapter()->FromHf(Dict({name}), {}));
    EXPECT_THAT(Names(native),
                ElementsAre("mtp.layers.0.input_layernorm.weight"));
    ASSERT_OK_AND_ASSIGN(const StateDict hf, Adapter()->ToHf(native, {}));
    EXPECT_THAT(Names(hf), ElementsAre("mtp.0.attn_norm.weight"));
  }
}

TEST_F(DeepSeekV4Test, MtpLayersStandBehindAllOthers) {
  const StateDict hf = Dict({"layers.3.enorm.weight", "mtp.0.attn_norm.weight",
                             "layers.0.attn_norm.weight", "norm.weight"});
  ASSERT_OK_AND_ASSIGN(const StateDict native, Adapter()->FromHf(hf, {}));
  EXPECT_THAT(Names(native),
              ElementsAre("model.layers.0.input_layernorm.weight",
                          "model.norm.weight", "mtp.layers.0.enorm.weight",
                          "mtp.layers.0.input_layernorm.weight"));
}

TEST_F(DeepSeekV4Test, DropsMtpLayersBeyondTheDepth) {
  const StateDict hf = Dict({"layers.2.attn_norm.weight", "mtp.0.enorm.weight",
                             "mtp.1.enorm.weight", "layers.4.enorm.weight"});
  ASSERT_OK_AND_ASSIGN(const StateDict native, Adapter()->FromHf(hf, {}));
  EXPECT_THAT(Names(native),
              ElementsAre("model.layers.2.input_layernorm.weight",
                          "mtp.layers.0.enorm.weight"));
}

TEST_F(DeepSeekV4Test, WithoutDepthCountedLayersAreOrdinaryOnes) {
  const StateDict hf =
      Dict({"layers.3.attn_norm.weight", "mtp.0.enorm.weight"});
  ASSERT_OK_AND_ASSIGN(const StateDict native, Adapter(0)->FromHf(hf, {}));
  EXPECT_THAT(Names(native),
              ElementsAre("model.layers.3.input_layernorm.weight"));
}

TEST_F(DeepSeekV4Test, RefusesAnMtpLayerUnderTwoNames) {
  EXPECT_THAT(Adapter()->FromHf(
                  Dict({"mtp.0.enorm.weight", "layers.3.enorm.weight"}), {}),
              StatusIs(absl::StatusCode::kAlreadyExists,
                       AllOf(HasSubstr("\"mtp.0.enorm.weight\""),
                             HasSubstr("\"layers.3.enorm.weight\""))));
}

TEST_F(DeepSeekV4Test, HashLayersLoseTheirBiasOnTheWayToHfAlone) {
  const StateDict hf = Dict({"layers.0.ffn.gate.bias", "layers.1.ffn.gate.bias",
                             "mtp.0.ffn.gate.bias"});
  ASSERT_OK_AND_ASSIGN(const StateDict native, Adapter(1, 1)->FromHf(hf, {}));
  EXPECT_THAT(Names(native),
              ElementsAre("model.layers.0.mlp.gate.e_score_correction_bias",
                          "model.layers.1.mlp.gate.e_score_correction_bias",
                          "mtp.layers.0.mlp.gate.e_score_correction_bias"));
  ASSERT_OK_AND_ASSIGN(const StateDict back, Adapter(1, 1)->ToHf(native, {}));
  EXPECT_THAT(Names(back),
              ElementsAre("layers.1.ffn.gate.bias", "mtp.0.ffn.gate.bias"));
}

TEST_F(DeepSeekV4Test, TakesScalesUnderEitherNameTheShortOneFirst) {
  const Tensor weight = Random(DType::kF8E4M3, {130, 4});
  const Tensor scale = Random(DType::kF32, {2, 1});
  const Tensor other = Random(DType::kF32, {2, 1});
  ASSERT_OK_AND_ASSIGN(const Tensor expected,
                       Dequantize(weight, scale, BlockFormat(), DType::kBF16));
  const std::vector<std::vector<NamedTensor>> kFiles = {
      {{"layers.0.attn.wq_a.weight", weight},
       {"layers.0.attn.wq_a.scale", scale}},
      {{"layers.0.attn.wq_a.weight_scale_inv", scale},
       {"layers.0.attn.wq_a.weight", weight}},
      {{"layers.0.attn.wq_a.weight_scale_inv", other},
       {"layers.0.attn.wq_a.weight", weight},
       {"layers.0.attn.wq_a.scale", scale}},
  };
  for (const auto& file : kFiles) {
    StateDict hf;
    for (const auto& [name, tensor] : file) ASSERT_OK(hf.Insert(name, tensor));
    ASSERT_OK_AND_ASSIGN(const StateDict native, Adapter()->FromHf(hf, {}));
    StateDict wanted;
    ASSERT_OK(wanted.Insert("model.layers.0.self_attn.wq_a.weight", expected));
    EXPECT_EQ(Difference(native, wanted), "");
  }
}

TEST_F(DeepSeekV4Test, UnpacksFp4WhereverItLies) {
  const Tensor weight = Random(DType::kI8, {4, 16});
  const Tensor scale = Random(DType::kF8E8M0, {4, 1});
  StateDict hf;
  ASSERT_OK(hf.Insert("layers.0.ffn.shared_experts.w1.weight", weight));
  ASSERT_OK(hf.Insert("layers.0.ffn.shared_experts.w1.scale", scale));
  ASSERT_OK_AND_ASSIGN(const StateDict native, Adapter()->FromHf(hf, {}));
  StateDict wanted;
  ASSERT_OK_AND_ASSIGN(
      const Tensor expected,
      Dequantize(weight, scale, DeepSeekFp4Format(), DType::kBF16));
  ASSERT_OK(wanted.Insert("model.layers.0.mlp.shared_experts.gate_proj.weight",
                          expected));
  EXPECT_EQ(Difference(native, wanted), "");
}

TEST_F(DeepSeekV4Test, RefusesCodesWithoutAScale) {
  for (DType dtype : {DType::kI8, DType::kF8E4M3}) {
    StateDict hf;
    ASSERT_OK(hf.Insert("layers.0.attn.wq_a.weight", Random(dtype, {4, 16})));
    EXPECT_THAT(Adapter()->FromHf(hf, {}),
                StatusIs(kInvalid, AllOf(HasSubstr("wq_a.weight"),
                                         HasSubstr("without a scale"))));
  }
}

TEST_F(DeepSeekV4Test, RefusesExpertsThatAreIncompleteOrMissing) {
  StateDict hf;
  ASSERT_OK(hf.Insert("mtp.0.ffn.experts.0.w2.weight",
                      Random(DType::kBF16, {8, 32})));
  EXPECT_THAT(Adapter()->FromHf(hf, {}),
              StatusIs(kInvalid,
                       AllOf(HasSubstr("experts.1.w2.weight"),
                             HasSubstr("\"mtp.0.ffn.experts.0.w2.weight\""))));
  EXPECT_THAT(Adapter()->FromHf(Dict({"mtp.0.ffn.gate.weight"}), {}),
              StatusIs(kInvalid, HasSubstr("no experts")));
  EXPECT_THAT(
      Adapter()->FromHf(Dict({"model.layers.0.ffn.experts.0.w1.weight"}), {}),
      StatusIs(kInvalid, HasSubstr("model.layers.0.ffn.experts.0.w1.weight")));
}

TEST_F(DeepSeekV4Test, LeavesLoraOfOtherModulesAsPeftNamesIt) {
  const StateDict hf =
      Dict({"base_model.model.model.layers.0.self_attn.wq_a.lora_A.weight"});
  ASSERT_OK_AND_ASSIGN(const StateDict native, Adapter()->FromHf(hf, {}));
  EXPECT_EQ(Difference(native, hf), "");
}

}  // namespace
}  // namespace windlass
