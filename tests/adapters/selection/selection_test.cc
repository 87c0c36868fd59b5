// Which adapter a config.json selects: every architecture that the reference
// registers, and where more than its name decides.

#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/model_config.h"
#include "windlass/testing/status_matchers.h"

namespace windlass {
namespace {

struct Selection {
  const char* architecture;
  const char* adapter;  // null for none
  // More of the config.
  const char* fields = "";
};

constexpr Selection kSelections[] = {
    {"LlamaForCausalLM", "llama"},
    {"Qwen2ForCausalLM", "qwen2"},
    {"Qwen3ForCausalLM", "qwen3"},
    {"Qwen3_5ForCausalLM", "qwen3_5"},
    {"Qwen3_5ForConditionalGeneration", "qwen3_5"},
    {"Qwen3_5MoeForCausalLM", "qwen3_5_moe"},
    {"Qwen3_5MoeForConditionalGeneration", "qwen3_5_moe"},
    {"Qwen3MoeForCausalLM", "qwen3_moe"},
    {"Qwen3NextForCausalLM", "qwen3_next"},
    {"Qwen3VLMoeForConditionalGeneration", "qwen3_vl_moe"},
    {"Qwen3OmniMoeForConditionalGeneration", "qwen3_omni_moe"},
    {"Qwen2_5OmniModel", "qwen2_5_omni"},
    {"Qwen2_5OmniForConditionalGeneration", "qwen2_5_omni"},
    {"Qwen2_5OmniThinkerForConditionalGeneration", "qwen2_5_omni"},
    {"DeepseekV3ForCausalLM", "deepseek_v3"},
    {"DeepseekV3ForCausalLM", "deepseek_v3", R"("model_type": "kimi_k2")"},
    {"DeepseekV32ForCausalLM", "deepseek_v32"},
    {"DeepseekV4ForCausalLM", "deepseek_v4"},
    {"Glm4MoeForCausalLM", "glm4_moe"},
    {"Glm4MoeLiteForCausalLM", "glm4_moe"},
    {"GlmMoeDsaForCausalLM", "glm_moe_dsa"},
    {"GptOssForCausalLM", "gpt_oss"},
    {"Ernie4_5_MoeForCausalLM", "ernie4_5_moe"},
    {"Ernie4_5ForCausalLM", "ernie4_5"},
    {"HYV3ForCausalLM", "hy_v3"},
    {"HYV3ForCausalLM", "hy_mt2",
     R"("model_type": "hy_v3", "hidden_size": 2048, "num_hidden_layers": 48,
        "num_experts": 128, "expert_hidden_dim": 768,
        "moe_intermediate_size": 768, "enable_lm_head_fp32": true)"},
    {"HyMT2ForCausalLM", "hy_mt2"},
    {"KimiVLForConditionalGeneration", "kimi_vl"},
    {"KimiK25ForConditionalGeneration", "kimi_k25_vl"},
    {"KimiK25VLForConditionalGeneration", "kimi_k25_vl"},
    {"KimiK3ForConditionalGeneration", "kimi_k3"},
    {"KimiK3ForCausalLM", "kimi_k3"},
    {"KimiLinear48BForCausalLM", "kimi_linear"},
    {"LagunaForCausalLM", "laguna"},
    {"BailingMoeV2ForCausalLM", "ling_v2"},
    {"MiMoV2FlashForCausalLM", "mimo_v2_flash"},
    {"MiniMaxM2ForCausalLM", "minimax_m2"},
    {"MiniMaxM3SparseForCausalLM", "minimax_m3"},
    {"MiniMaxM3SparseForConditionalGeneration", "minimax_m3_vl"},
    {"NemotronHForCausalLM", "nemotron_v3", R"("n_routed_experts": 4)"},
    {"NemotronHForCausalLM", "nemotron_v3", R"("layers_block_type": ["moe"])"},
    {"NemotronHForCausalLM", nullptr},
    {"NemotronH_Nano_Omni_Reasoning_V3", "nemotron_omni"},
    {"Step3p5ForCausalLM", "step3p5"},
    {"Step3p6ForConditionalGeneration", "step3p7"},
    {"Step3p7ForConditionalGeneration", "step3p7"},
    {"Gemma4ForConditionalGeneration", "gemma4_moe",
     R"("text_config": {"enable_moe_block": true})"},
    {"Gemma4ForConditionalGeneration", "identity",
     R"("text_config": {"enable_moe_block": false})"},
    {"Gemma4ForConditionalGeneration", "identity"},
    {"Gemma4UnifiedForConditionalGeneration", "gemma4_unified"},
    {"DiffusionGemmaForBlockDiffusion", "diffusion_gemma"},
    {"InklingForConditionalGeneration", "inkling"},
    {"LLaVAOneVision1_5_ForConditionalGeneration", "llava_onevision"},
    {"Ministral3ForCausalLM", "mistral3_fp8",
     R"("quantization_config": {"quant_method": "fp8"})"},
    {"Ministral3ForCausalLM", nullptr,
     R"("model_type": "ministral3",
        "quantization_config": {"quant_method": "awq"})"},
    {"Mistral3FP8VLMForConditionalGeneration", "mistral3_fp8"},
    {"Mistral3ForConditionalGeneration", "mistral3_fp8",
     R"("text_config": {"model_type": "ministral3"})"},
    {"Mistral3ForConditionalGeneration", "mistral3_fp8",
     R"("text_config": {"model_type": "ministral3"},
        "quantization_config": {"quant_method": "fp8"})"},
    {"Mistral3ForConditionalGeneration", "mistral4",
     R"("text_config": {"model_type": "mistral4"})"},
    {"Mistral3ForConditionalGeneration", nullptr,
     R"("text_config": {"model_type": "mistral"})"},
    {"Mistral4ForCausalLM", "mistral4"},
    {"MuseGlimmerForConditionalGeneration", "muse_glimmer"},
    {"BagelForUnifiedMultimodal", "bagel", R"("model_type": "bagel")"},
    {"BagelForConditionalGeneration", "bagel", R"("model_type": "bagel")"},
    {"BagelForConditionalGeneration", nullptr, R"("model_type": "qwen2")"},
    {"BaichuanForCausalLM", "identity"},
    {"Gemma4AssistantForCausalLM", "identity"},
    {"NemotronParseForConditionalGeneration", "identity"},
    {"Qwen3VLForConditionalGeneration", "identity"},
};

TEST(SelectionTest, TheFirstArchitectureSelectsAsInTheReference) {
  for (const Selection& s : kSelections) {
    const std::string text = absl::StrCat(
        R"({"architectures": [")", s.architecture, R"(", "LlamaForCausalLM"])",
        *s.fields == '\0' ? "" : ", ", s.fields, "}");
    SCOPED_TRACE(text);
    ASSERT_OK_AND_ASSIGN(const ModelConfig config, ModelConfig::Parse(text));
    const auto found = AdapterRegistry::FindByConfig(config);
    if (s.adapter == nullptr) {
      EXPECT_THAT(found, StatusIs(absl::StatusCode::kNotFound,
                                  ::testing::HasSubstr(s.architecture)));
      continue;
    }
    ASSERT_OK(found);
    EXPECT_EQ((*found)->name, s.adapter);
  }
}

}  // namespace
}  // namespace windlass
