// GLM-4.5 and its successors: experts are merged.
//
// The reference: models/glm4_moe/state_dict_adapter.py,
// Glm4MoeStateDictAdapter, and models/glm_moe_dsa/state_dict_adapter.py,
// GlmMoeDsaStateDictAdapter, which differs only in placeholders.

#include <memory>

#include "absl/status/statusor.h"
#include "windlass/adapters/common/expert_tables.h"
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
  WINDLASS_ASSIGN_OR_RETURN(const MoeOptions moe,
                            ReadMoeOptions(config, options));
  LayoutTraits traits;
  traits.write_through = true;
  return MakeLayoutAdapter(ExpertStages(moe, /*param_wrapper=*/false), traits);
}

const AdapterRegistrar glm4_moe({
    /*name=*/"glm4_moe",
    /*framework=*/"automodel",
    /*summary=*/"GLM-4.5, GLM-4.6, GLM-4.7 and Flash",
    /*architectures=*/{"Glm4MoeForCausalLM", "Glm4MoeLiteForCausalLM"},
    /*model_types=*/{"glm4_moe", "glm4_moe_lite"},
    /*options=*/MoeAdapterOptions(),
    &Create,
    /*expert_parallel=*/true,
    /*supports=*/nullptr,
});

const AdapterRegistrar glm_moe_dsa({
    /*name=*/"glm_moe_dsa",
    /*framework=*/"automodel",
    /*summary=*/"GLM-5",
    /*architectures=*/{"GlmMoeDsaForCausalLM"},
    /*model_types=*/{"glm_moe_dsa"},
    /*options=*/MoeAdapterOptions(),
    &Create,
    /*expert_parallel=*/true,
    /*supports=*/nullptr,
});

}  // namespace
}  // namespace windlass
