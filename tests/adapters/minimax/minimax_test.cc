// What the golden cases of MiniMax-M2 and M3 do not show.

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
using ::testing::IsEmpty;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

std::unique_ptr<StateDictAdapter> Adapter(const std::string& architecture,
                                          int mtp_modules = 0) {
  return MakeAdapter(
      absl::StrCat(R"({"architectures": ["MiniMax)", architecture,
                   R"("], "dtype": "bfloat16", "intermediate_size": 9,
          "text_config": {"num_local_experts": 1, "intermediate_size": 4,
                          "num_mtp_modules": )",
                   mtp_modules, "}}"));
}

constexpr char kM2[] = "M2ForCausalLM";
constexpr char kM3[] = "M3SparseForCausalLM";
constexpr char kM3Vl[] = "M3SparseForConditionalGeneration";

// A mixture with one expert.
std::vector<TensorSpec> Mixture(const std::string& prefix) {
  const std::string moe = prefix + "block_sparse_moe.";
  return {{moe + "experts.0.w1.weight", {4, 6}},
          {moe + "experts.0.w2.weight", {6, 4}},
          {moe + "experts.0.w3.weight", {4, 6}},
          {moe + "gate.weight", {1, 6}}};
}

TEST(MiniMaxTest, M2LoraIsReadUnderBothNamesOfAnExpert) {
  const auto adapter = Adapter(kM2);
  const std::string layer = "base_model.model.model.layers.1.";
  const StateDict native =
      RandomDict({{layer + "mlp.experts.lora_down_A", {1, 4, 3}},
                  {layer + "mlp.experts.lora_down_B", {1, 3, 8}}});
  ToHfOptions v4;
  v4.v4_compatible = true;
  ASSERT_OK_AND_ASSIGN(const StateDict hf, adapter->ToHf(native, v4));
  StateDict peft;
  for (const char* matrix : {"A", "B"}) {
    ASSERT_OK(peft.Insert(
        absl::StrCat(layer, "block_sparse_moe.experts.0.w2.lora_", matrix,
                     ".weight"),
        *hf.Find(absl::StrCat(layer, "mlp.experts.0.down_proj.lora_", matrix,
                              ".weight"))));
  }
  for (const StateDict* given : {&hf, static_cast<const StateDict*>(&peft)}) {
    ASSERT_OK_AND_ASSIGN(const StateDict back, adapter->FromHf(*given, {}));
    EXPECT_EQ(Difference(back, native), "");
  }
}

TEST(MiniMaxTest, EachIsDequantisedInItsOwnBlocks) {
  const struct {
    const char* architecture;
    TensorSpec scale;
    bool fits;
  } kCases[] = {
      {kM2, {"model.x.weight_scale_inv", {2, 1}, DType::kF32}, true},
      {kM3, {"model.x.weight_scale_inv", {130, 2}, DType::kU8}, true},
      {kM2, {"model.x.weight_scale_inv", {1, 1}, DType::kF32}, false},
      {kM3, {"model.x.weight_scale_inv", {2, 1}, DType::kF32}, false},
  };
  for (const auto& c : kCases) {
    const auto native =
        Adapter(c.architecture)
            ->FromHf(RandomDict({{"model.x.weight", {130, 64}, DType::kF8E4M3},
                                 c.scale}),
                     {});
    if (c.fits) {
      ASSERT_OK(native);
      EXPECT_THAT(Names(*native), ElementsAre("model.x.weight"));
      EXPECT_EQ(native->begin()->tensor.ToString(), "BF16 [130, 64]");
    } else {
      EXPECT_THAT(native, StatusIs(kInvalid, HasSubstr("model.x.weight")));
    }
  }
}

TEST(MiniMaxTest, M3DropsMtpThatTheConfigDoesNotHave) {
  const std::string inner = "model.mtp.layers.0.transformer_layer.";
  ASSERT_OK_AND_ASSIGN(const StateDict native,
                       Adapter(kM3)->FromHf(RandomDict(Mixture(inner)), {}));
  EXPECT_THAT(Names(native), IsEmpty());
}

TEST(MiniMaxTest, M3ConvertsTheLayersWithinMtp) {
  const auto adapter = Adapter(kM3, /*mtp_modules=*/1);
  const std::string mtp = "model.mtp.layers.0.";
  const std::string inner = mtp + "transformer_layer.";
  std::vector<TensorSpec> specs = Mixture(inner);
  specs.push_back({mtp + "eh_proj.weight", {6, 12}});
  specs.push_back(
      {inner + "block_sparse_moe.shared_experts.up_proj.weight", {4, 6}});
  specs.push_back({inner + "self_attn.index_q_proj.weight", {4, 6}});
  specs.push_back({"model.norm.weight", {6}});
  const StateDict hf = RandomDict(specs);
  ASSERT_OK_AND_ASSIGN(const StateDict native, adapter->FromHf(hf, {}));
  EXPECT_THAT(Names(native),
              ElementsAre("model.norm.weight", mtp + "eh_proj.weight",
                          inner + "mlp.experts.down_projs",
                          inner + "mlp.experts.gate_and_up_projs",
                          inner + "mlp.gate.weight",
                          inner + "shared_experts.up_proj.weight",
                          inner + "self_attn.indexer.index_q_proj.weight"));
  ASSERT_OK_AND_ASSIGN(const StateDict back, adapter->ToHf(native, {}));
  EXPECT_EQ(Difference(Sorted(back), Sorted(hf)), "");
}

TEST(MiniMaxTest, M3sMtpStandsBehindAllElseAndTheLayersWithinItLast) {
  const std::string mtp = "model.mtp.layers.";
  ASSERT_OK_AND_ASSIGN(
      const StateDict native,
      Adapter(kM3, /*mtp_modules=*/2)
          ->FromHf(
              RandomDict(
                  {{mtp + "1.transformer_layer.self_attn.index_k.weight", {2}},
                   {mtp + "0.transformer_layer.norm.weight", {2}},
                   {mtp + "0.enorm.weight", {2}},
                   {mtp + "1.transformer_layer.norm.weight", {2}},
                   {mtp + "1.enorm.weight", {2}},
                   {"model.layers.0.self_attn.index_k.weight", {2}},
                   {"model.norm.weight", {2}}}),
              {}));
  EXPECT_THAT(
      Names(native),
      ElementsAre(
          "model.norm.weight",
          "model.layers.0.self_attn.indexer.index_k.weight",
          mtp + "0.enorm.weight", mtp + "1.enorm.weight",
          mtp + "0.transformer_layer.norm.weight",
          mtp + "1.transformer_layer.norm.weight",
          mtp + "1.transformer_layer.self_attn.indexer.index_k.weight"));
}

TEST(MiniMaxTest, M3LivesBelowLanguageModel) {
  const auto adapter = Adapter(kM3Vl, /*mtp_modules=*/1);
  const struct {
    const char* hf;
    const char* native;  // null where it is dropped
    const char* back;    // null where it is `hf`
  } kCases[] = {
      {"language_model.lm_head.weight", "lm_head.weight", nullptr},
      {"language_model.model.mtp.layers.0.enorm.weight",
       "model.mtp.layers.0.enorm.weight", nullptr},
      {"model.mtp.layers.0.enorm.weight", "model.mtp.layers.0.enorm.weight",
       "language_model.model.mtp.layers.0.enorm.weight"},
      {"vision_tower.mtp.x.weight", nullptr, nullptr},
      {"vision_tower.x.weight", "vision_tower.x.weight", nullptr},
      {"patch_merge_mlp.x.bias", "vision_tower.patch_merge_mlp.x.bias",
       nullptr},
      {"model.norm.weight", "model.norm.weight",
       "language_model.model.norm.weight"},
      {"base_model.model.language_model.model.x.lora_A.weight",
       "base_model.model.model.x.lora_A.weight", nullptr},
      {"language_model.base_model.model.model.x.lora_A.weight",
       "base_model.model.model.x.lora_A.weight",
       "base_model.model.language_model.model.x.lora_A.weight"},
      {"base_model.model.multi_modal_projector.x.lora_A.weight",
       "base_model.model.vision_tower.multi_modal_projector.x.lora_A.weight",
       nullptr},
  };
  for (const auto& c : kCases) {
    ASSERT_OK_AND_ASSIGN(const StateDict native,
                         adapter->FromHf(RandomDict({{c.hf, {2}}}), {}));
    if (c.native == nullptr) {
      EXPECT_THAT(Names(native), IsEmpty()) << c.hf;
      continue;
    }
    EXPECT_THAT(Names(native), ElementsAre(c.native));
    ASSERT_OK_AND_ASSIGN(const StateDict back, adapter->ToHf(native, {}));
    EXPECT_THAT(Names(back), ElementsAre(c.back == nullptr ? c.hf : c.back));
  }
}

TEST(MiniMaxTest, RefusesRoutersWithoutExperts) {
  for (const char* architecture : {kM2, kM3}) {
    EXPECT_THAT(
        Adapter(architecture)
            ->FromHf(RandomDict({{"model.layers.0.block_sparse_moe.gate.weight",
                                  {1, 6}}}),
                     {}),
        StatusIs(kInvalid, HasSubstr("\"model.layers.0.\"")));
  }
}

}  // namespace
}  // namespace windlass
