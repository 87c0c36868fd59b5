// Models whose native layout is Hugging Face's: nothing but extra states
// changes.
//
// The reference has no adapter for them: its custom models have HF names.

#include <memory>

#include "absl/status/statusor.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/layout_table.h"
#include "windlass/core/model_config.h"
#include "windlass/core/state_dict_adapter.h"

namespace windlass {
namespace {

absl::StatusOr<std::unique_ptr<StateDictAdapter>> Create(const ModelConfig&,
                                                         const JsonFields&) {
  LayoutTraits traits;
  traits.write_through = true;
  return MakeLayoutAdapter({}, traits);
}

// Gemma4 with experts has another layout.
absl::StatusOr<bool> IsDense(const ModelConfig& config) {
  absl::StatusOr<bool> experts = config.GetBoolOr("enable_moe_block", false);
  if (!experts.ok()) return experts.status();
  return !*experts;
}

const AdapterRegistrar registrar([] {
  AdapterInfo info;
  info.name = "identity";
  info.framework = "automodel";
  info.summary = "Models that keep Hugging Face's layout";
  info.architectures = {"BaichuanForCausalLM", "Gemma4AssistantForCausalLM",
                        "Gemma4ForConditionalGeneration",
                        "NemotronParseForConditionalGeneration",
                        "Qwen3VLForConditionalGeneration"};
  info.factory = &Create;
  info.supports = &IsDense;
  return info;
}());

}  // namespace
}  // namespace windlass
