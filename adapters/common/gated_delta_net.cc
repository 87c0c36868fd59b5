#include "windlass/adapters/common/gated_delta_net.h"

#include "absl/strings/str_cat.h"

namespace windlass {

AdapterOption RouteOption() {
  return {
      "route_linear_attn_fp32_params", "true",
      "keep linear_attn.A_log and dt_bias in the native _fp32_params holder"};
}

absl::StatusOr<bool> ReadRouteOption(const JsonFields& options) {
  return options.GetBoolOr(RouteOption().name, true);
}

NameRules GateHolderRules(const std::string& attention, bool route) {
  constexpr char kHolder[] = "._fp32_params.";
  NameRules rules;
  rules.to_hf = KeyRewriter::Create(
                    {KeyRewriter::Regex(absl::StrCat(R"((\.)", attention,
                                                     R"()\._fp32_params\.)"),
                                        R"(\1.)")
                         .Only(kHolder)})
                    .value();
  if (route) {
    // The greedy first group ends with the last ".linear_attn.".
    rules.to_native =
        KeyRewriter::Create(
            {KeyRewriter::Regex(absl::StrCat(R"((?s)^(.*\.)", attention,
                                             R"(\.)(.*(?:A_log|dt_bias))$)"),
                                R"(\1_fp32_params.\2)")
                 .Only(absl::StrCat(".", attention, "."), kHolder)})
            .value();
  }
  for (const char* gate : {"A_log", "dt_bias"}) {
    rules.examples.push_back(
        absl::StrCat("model.layers.0.", attention, ".", gate));
  }
  return rules;
}

NameRules GatedDeltaNetRules(bool route) {
  NameRules rules = GateHolderRules("linear_attn", route);
  rules.held_names =
      NameFilter::Create(R"((?s)\.linear_attn\..*(?:A_log|dt_bias)$)",
                         NameFilter::Anchor::kSearch)
          .value();
  rules.held = DType::kF32;
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
