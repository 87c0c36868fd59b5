// Gemma4 with a mixture of experts in each layer. A factor that HF has for each
// expert goes into its down projection; ones are written.
//
// The reference: models/gemma4_moe/state_dict_adapter.py,
// Gemma4MoEStateDictAdapter.

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "windlass/adapters/common/expert_tables.h"
#include "windlass/adapters/common/moe_options.h"
#include "windlass/adapters/gemma4/gemma4_experts.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/layout_table.h"
#include "windlass/core/model_config.h"
#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

absl::StatusOr<std::unique_ptr<StateDictAdapter>> Create(
    const ModelConfig& config, const JsonFields& options) {
  WINDLASS_ASSIGN_OR_RETURN(const MoeOptions moe,
                            ReadGemma4Options(config, options));
  std::vector<LayoutStage> stages = Gemma4ExpertStages(moe);
  stages.insert(stages.begin(), BlockFp8Table(moe));
  return MakeLayoutAdapter(std::move(stages));
}

// Dense ones keep Hugging Face's layout.
absl::StatusOr<bool> HasExperts(const ModelConfig& config) {
  return config.GetBoolOr("enable_moe_block", false);
}

const AdapterRegistrar registrar({
    /*name=*/"gemma4_moe",
    /*framework=*/"automodel",
    /*summary=*/"Gemma4, mixture of experts",
    /*architectures=*/{"Gemma4ForConditionalGeneration"},
    /*model_types=*/{"gemma4"},
    /*options=*/FusedMoeAdapterOptions(),
    &Create,
    /*expert_parallel=*/true,
    /*supports=*/&HasExperts,
    /*example_config=*/
    R"({"dtype": "bfloat16", "text_config": {"enable_moe_block": true,
          "num_experts": 4, "moe_intermediate_size": 8}})",
});

}  // namespace
}  // namespace windlass
