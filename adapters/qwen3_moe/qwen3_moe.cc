// Qwen3 mixture of experts: experts are merged; expert LoRA is written as
// PEFT's ParamWrapper.
//
// The reference: models/qwen3_moe/state_dict_adapter.py,
// Qwen3MoeStateDictAdapter.

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
  return MakeLayoutAdapter(ExpertStages(moe, /*param_wrapper=*/true), traits);
}

const AdapterRegistrar registrar({
    /*name=*/"qwen3_moe",
    /*framework=*/"automodel",
    /*summary=*/"Qwen3 mixture of experts",
    /*architectures=*/{"Qwen3MoeForCausalLM"},
    /*model_types=*/{"qwen3_moe"},
    /*options=*/MoeAdapterOptions(),
    &Create,
    /*expert_parallel=*/true,
    /*supports=*/nullptr,
});

}  // namespace
}  // namespace windlass
