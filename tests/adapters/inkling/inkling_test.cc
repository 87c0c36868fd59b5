// What the golden case of Inkling does not show: files of transformers, whose
// names and layout are others for the same model.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/core/state_dict.h"
#include "windlass/core/state_dict_adapter.h"
#include "windlass/core/tensor_ops.h"
#include "windlass/testing/adapters.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/testing/tensors.h"

namespace windlass {
namespace {

using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

constexpr char kConfig[] =
    R"({"architectures": ["InklingForConditionalGeneration"],
        "dtype": "bfloat16", "text_config": {"hidden_size": 6,
        "n_routed_experts": 2, "moe_intermediate_size": 4}})";

// The makers' layout of the same: rows of gate and up in turn.
Tensor Interleaved(const Tensor& tensor, int dim) {
  return Interleave(tensor, dim).value();
}

class InklingTest : public ::testing::Test {
 protected:
  const std::unique_ptr<StateDictAdapter> adapter_ = MakeAdapter(kConfig);
};

TEST_F(InklingTest, ReadsTransformersFormOfTheSameModel) {
  const std::string hf_layer = "model.language_model.layers.0.";
  const std::string raw_layer = "model.llm.layers.0.";
  StateDict hf = RandomDict({
      {hf_layer + "self_attn.q_proj.weight", {6, 6}},
      {hf_layer + "self_attn.k_sconv.conv1d.weight", {4, 1, 4}},
      {hf_layer + "mlp_sconv.conv1d.weight", {6, 1, 4}},
      {hf_layer + "input_layernorm.weight", {6}},
      {hf_layer + "mlp.gate.weight", {2, 6}},
      {hf_layer + "mlp.gate.e_score_correction_bias", {2}},
      {hf_layer + "mlp.experts.gate_up_proj", {2, 8, 6}},
      {hf_layer + "mlp.experts.down_proj", {2, 6, 4}},
      {hf_layer + "mlp.shared_experts.gate_proj", {3, 4, 6}},
      {hf_layer + "mlp.shared_experts.up_proj", {3, 4, 6}},
      {hf_layer + "mlp.shared_experts.down_proj", {3, 6, 4}},
      {hf_layer + "mlp.gate_proj.weight", {5, 6}},
      {hf_layer + "mlp.up_proj.weight", {5, 6}},
      {hf_layer + "mlp.down_proj.weight", {6, 5}},
  });
  const auto of = [&](const std::string& name) {
    return *hf.Find(hf_layer + name);
  };
  StateDict raw;
  const std::pair<const char*, Tensor> kSame[] = {
      {"attn.wq_du.weight", of("self_attn.q_proj.weight")},
      {"attn.k_sconv.weight", of("self_attn.k_sconv.conv1d.weight")},
      {"mlp_sconv.weight", of("mlp_sconv.conv1d.weight")},
      {"attn_norm.weight", of("input_layernorm.weight")},
      {"mlp.gate.weight", of("mlp.gate.weight")},
      {"mlp.gate.bias", of("mlp.gate.e_score_correction_bias")},
      {"mlp.experts.w13_weight",
       Interleaved(of("mlp.experts.gate_up_proj"), 1)},
      {"mlp.experts.w2_weight", of("mlp.experts.down_proj")},
      {"mlp.shared_experts.shared_w13_weight",
       Interleaved(Concat({of("mlp.shared_experts.gate_proj"),
                           of("mlp.shared_experts.up_proj")},
                          1)
                       .value(),
                   1)},
      {"mlp.shared_experts.shared_w2_weight",
       of("mlp.shared_experts.down_proj")},
      {"mlp.w13_dn.weight",
       Interleaved(
           Concat({of("mlp.gate_proj.weight"), of("mlp.up_proj.weight")}, 0)
               .value(),
           0)},
      {"mlp.w2_md.weight", of("mlp.down_proj.weight")},
  };
  for (const auto& [name, tensor] : kSame) {
    ASSERT_OK(raw.Insert(raw_layer + name, tensor));
  }
  ASSERT_OK_AND_ASSIGN(const StateDict expected, adapter_->FromHf(raw, {}));
  ASSERT_OK_AND_ASSIGN(const StateDict native, adapter_->FromHf(hf, {}));
  EXPECT_EQ(Difference(native, expected), "");
  ASSERT_OK_AND_ASSIGN(const StateDict back, adapter_->ToHf(native, {}));
  EXPECT_EQ(Difference(back, raw), "");
  // Where the whole model's root is missing.
  StateDict unrooted;
  for (const auto& [name, tensor] : hf) {
    ASSERT_OK(unrooted.Insert(name.substr(6), tensor));
  }
  ASSERT_OK_AND_ASSIGN(const StateDict rooted, adapter_->FromHf(unrooted, {}));
  EXPECT_EQ(Difference(rooted, expected), "");
}

TEST_F(InklingTest, RefusesHalvesAndWhatIsNoKnownExpert) {
  const std::string layer = "model.language_model.layers.0.mlp.";
  const struct {
    std::vector<TensorSpec> specs;
    const char* said;
  } kRows[] = {
      {{{layer + "up_proj.weight", {4, 6}}}, "gate_proj.weight"},
      {{{layer + "shared_experts.gate_proj", {1, 4, 6}}},
       "shared_experts.up_proj"},
      {{{"model.llm.layers.0.mlp.experts.w13_weight", {2, 8, 6}}}, "w2_weight"},
      {{{"model.llm.layers.0.mlp.experts.w13_weight.scale2", {2}}}, "scale2"},
      {{{layer + "experts.0.gate_proj.weight", {4, 6}}}, "experts.0.gate_proj"},
      {{{"model.llm.layers.0.mlp.gate.weight", {2, 6}}}, "mlp.gate.weight"},
      {{{"model.llm.layers.0.mlp.experts.w2_weight", {2, 6, 3}}},
       "moe_intermediate_size"},
  };
  for (const auto& row : kRows) {
    EXPECT_THAT(adapter_->FromHf(RandomDict(row.specs), {}),
                StatusIs(kInvalid, HasSubstr(row.said)));
  }
}

TEST_F(InklingTest, RefusesLoraOfExpertsAndLeavesOtherLora) {
  const std::string expert =
      "base_model.model.model.language_model.layers.0.mlp.experts."
      "lora_down_A";
  EXPECT_THAT(adapter_->ToHf(RandomDict({{expert, {2, 4, 1}}}), {}),
              StatusIs(kInvalid, HasSubstr(expert)));
  const StateDict other = RandomDict(
      {{"base_model.model.model.language_model.layers.0.self_attn.q_proj."
        "lora_A.weight",
        {1, 6}}});
  ASSERT_OK_AND_ASSIGN(const StateDict hf, adapter_->ToHf(other, {}));
  EXPECT_EQ(Difference(hf, other), "");
}

}  // namespace
}  // namespace windlass
