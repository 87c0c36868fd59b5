// Qwen3-VL mixture of experts: experts lie in HF's files as in the native
// model, under other names.
//
// The reference: models/qwen3_vl_moe/state_dict_adapter.py,
// Qwen3VLMoeStateDictAdapter.

#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "windlass/adapters/common/expert_tables.h"
#include "windlass/adapters/common/model_prefix.h"
#include "windlass/adapters/common/moe_options.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/layout_table.h"
#include "windlass/core/model_config.h"
#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

absl::StatusOr<std::unique_ptr<StateDictAdapter>> Create(
    const ModelConfig& config, const JsonFields& options) {
  WINDLASS_ASSIGN_OR_RETURN(MoeOptions moe, ReadMoeOptions(config, options));
  if (!options.Has("expert_layout")) moe.expert_layout = "fused";
  moe.ep_shard = true;
  ExpertNames names;
  names.fused_as_native = true;
  std::vector<LayoutStage> stages =
      ExpertStages(moe, /*param_wrapper=*/true, names);
  stages.insert(stages.begin() + 1, ModelRootTable());
  LayoutTraits traits;
  traits.write_through = true;
  return MakeLayoutAdapter(std::move(stages), traits);
}

const AdapterRegistrar registrar({
    /*name=*/"qwen3_vl_moe",
    /*framework=*/"automodel",
    /*summary=*/"Qwen3-VL, mixture of experts",
    /*architectures=*/{"Qwen3VLMoeForConditionalGeneration"},
    /*model_types=*/{"qwen3_vl_moe"},
    /*options=*/NestedMoeAdapterOptions("fused"),
    &Create,
    /*expert_parallel=*/true,
    /*supports=*/nullptr,
    /*example_config=*/
    R"({"dtype": "bfloat16", "text_config": {
          "num_experts": 4, "moe_intermediate_size": 8, "hidden_size": 6}})",
});

}  // namespace
}  // namespace windlass
