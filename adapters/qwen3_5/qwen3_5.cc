#include "windlass/adapters/qwen3_5/qwen3_5.h"

#include "windlass/adapters/common/fp32_params.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/key_rewriter.h"
#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

// _MTP_HF_TO_NATIVE
const KeyRewriter::Pairs& MtpHfToNative() {
  static const auto* const pairs = new KeyRewriter::Pairs{
      {"mtp.fc.weight", "mtp.layers.0.eh_proj.weight"},
      {"mtp.pre_fc_norm_embedding.weight", "mtp.layers.0.enorm.weight"},
      {"mtp.pre_fc_norm_hidden.weight", "mtp.layers.0.hnorm.weight"},
      {"mtp.norm.weight", "mtp.layers.0.final_layernorm.weight"},
  };
  return *pairs;
}

const KeyRewriter& MtpFromHf() {
  static const auto* const rewriter = new KeyRewriter(
      KeyRewriter::Create({KeyRewriter::Exact(MtpHfToNative())}).value());
  return *rewriter;
}

const KeyRewriter& MtpToHf() {
  static const auto* const rewriter = [] {
    KeyRewriter::Pairs reversed;
    for (const auto& [hf, native] : MtpHfToNative()) {
      reversed.emplace_back(native, hf);
    }
    return new KeyRewriter(
        KeyRewriter::Create({KeyRewriter::Exact(reversed)}).value());
  }();
  return *rewriter;
}

std::vector<std::unique_ptr<LayoutStep>> Steps(bool route) {
  std::vector<std::unique_ptr<LayoutStep>> steps;
  steps.push_back(std::make_unique<Fp32ParamsStep>(route));
  steps.push_back(std::make_unique<RenameStep>(MtpToHf(), MtpFromHf()));
  return steps;
}

}  // namespace

std::string MapQwen3_5MtpFromHfKey(absl::string_view key) {
  return MtpFromHf().Rewrite(key);
}

std::string MapQwen3_5MtpToHfKey(absl::string_view key) {
  return MtpToHf().Rewrite(key);
}

Qwen3_5DenseStateDictAdapter::Qwen3_5DenseStateDictAdapter(
    bool route_linear_attn_fp32_params)
    : StepAdapter(Steps(route_linear_attn_fp32_params),
                  Traits{NameFilter::Anchor::kMatch, /*write_through=*/true}) {}

absl::StatusOr<std::unique_ptr<StateDictAdapter>>
Qwen3_5DenseStateDictAdapter::Create(const ModelConfig&,
                                     const JsonFields& options) {
  WINDLASS_ASSIGN_OR_RETURN(
      const bool route,
      options.GetBoolOr("route_linear_attn_fp32_params", true));
  return std::make_unique<Qwen3_5DenseStateDictAdapter>(route);
}

std::vector<std::pair<std::string, DType>>
Qwen3_5DenseStateDictAdapter::ForcedHfDtypeMapping(
    const StateDict& hf_state_dict) const {
  return Fp32ParamDTypes(hf_state_dict);
}

namespace {

const AdapterRegistrar registrar({
    /*name=*/"qwen3_5",
    /*framework=*/"automodel",
    /*summary=*/"Qwen3.5 dense, text and vision-language",
    /*architectures=*/
    {"Qwen3_5ForConditionalGeneration", "Qwen3_5ForCausalLM"},
    /*model_types=*/{"qwen3_5", "qwen3_5_text"},
    /*options=*/
    {{"route_linear_attn_fp32_params", "true",
      "keep linear_attn.A_log and dt_bias in the native _fp32_params holder"}},
    &Qwen3_5DenseStateDictAdapter::Create,
});

}  // namespace
}  // namespace windlass
