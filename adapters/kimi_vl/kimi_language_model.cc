#include "windlass/adapters/kimi_vl/kimi_language_model.h"

#include "windlass/adapters/common/expert_tables.h"

namespace windlass {

LayoutTable KimiExpertTable(const MoeOptions& moe) {
  ExpertNames names;
  names.hf = names.native = "language_model.model.layers.{l}.mlp.experts";
  names.router = "language_model.model.layers.{l}.mlp.gate.weight";
  // The reference keeps what PEFT puts before the names.
  ExpertNames lora;
  lora.hf = lora.native =
      "{b:base_model|language_model}.model.{p*}layers.{l}.mlp.experts";
  LayoutTable table = ExpertTable(moe, names);
  table.Append(ExpertLoraTable(moe, /*param_wrapper=*/false, lora))
      .Else()
      .Append(ScaleDropTable());
  return table;
}

AdapterOption LmHeadOption() {
  return {"lm_head_in_language_model", "false",
          "call the native head model.language_model.lm_head, as the model's "
          "parameter is called, and not lm_head"};
}

absl::StatusOr<bool> ReadLmHeadOption(const JsonFields& options) {
  return options.GetBoolOr(LmHeadOption().name, false);
}

std::vector<AdapterOption> KimiOptions(std::vector<AdapterOption> others) {
  std::vector<AdapterOption> options = NestedMoeAdapterOptions();
  options.insert(options.end(), others.begin(), others.end());
  return options;
}

}  // namespace windlass
