#include "windlass/adapters/common/gated_delta_net.h"

namespace windlass {

AdapterOption RouteOption() {
  return {
      "route_linear_attn_fp32_params", "true",
      "keep linear_attn.A_log and dt_bias in the native _fp32_params holder"};
}

absl::StatusOr<bool> ReadRouteOption(const JsonFields& options) {
  return options.GetBoolOr(RouteOption().name, true);
}

NameRules GatedDeltaNetRules(bool route) {
  constexpr char kHolder[] = "._fp32_params.";
  NameRules rules;
  rules.to_hf =
      KeyRewriter::Create(
          {KeyRewriter::Regex(R"((\.linear_attn)\._fp32_params\.)", R"(\1.)")
               .Only(kHolder)})
          .value();
  if (route) {
    // The greedy first group ends with the last ".linear_attn.".
    rules.to_native =
        KeyRewriter::Create(
            {KeyRewriter::Regex(
                 R"((?s)^(.*\.linear_attn\.)(.*(?:A_log|dt_bias))$)",
                 R"(\1_fp32_params.\2)")
                 .Only(".linear_attn.", kHolder)})
            .value();
  }
  rules.held_names =
      NameFilter::Create(R"((?s)\.linear_attn\..*(?:A_log|dt_bias)$)",
                         NameFilter::Anchor::kSearch)
          .value();
  rules.held = DType::kF32;
  rules.examples = {"model.layers.0.linear_attn.A_log",
                    "model.layers.0.linear_attn.dt_bias"};
  return rules;
}

LayoutTable QwenMtpTable() {
  LayoutTable table;
  table.Rename("mtp.fc.weight", "mtp.layers.0.eh_proj.weight")
      .Rename("mtp.pre_fc_norm_embedding.weight", "mtp.layers.0.enorm.weight")
      .Rename("mtp.pre_fc_norm_hidden.weight", "mtp.layers.0.hnorm.weight")
      .Rename("mtp.norm.weight", "mtp.layers.0.final_layernorm.weight");
  return table;
}

}  // namespace windlass
