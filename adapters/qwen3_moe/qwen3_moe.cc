// Qwen3 mixture of experts: experts are merged; expert LoRA is written as
// PEFT's ParamWrapper.
//
// The reference: models/qwen3_moe/state_dict_adapter.py,
// Qwen3MoeStateDictAdapter.

#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "windlass/adapters/common/expert_lora.h"
#include "windlass/adapters/common/experts.h"
#include "windlass/adapters/common/layout_step.h"
#include "windlass/adapters/common/moe_options.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/model_config.h"
#include "windlass/core/regex.h"
#include "windlass/core/state_dict_adapter.h"
#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

absl::StatusOr<std::unique_ptr<StateDictAdapter>> Create(
    const ModelConfig& config, const JsonFields& options) {
  WINDLASS_ASSIGN_OR_RETURN(const MoeOptions moe,
                            ReadMoeOptions(config, options, "num_experts"));
  std::vector<std::unique_ptr<LayoutStep>> steps;
  steps.push_back(
      std::make_unique<ExpertLoraStep>(moe, /*param_wrapper=*/true));
  steps.push_back(std::make_unique<ExpertsStep>(moe));
  return std::make_unique<StepAdapter>(
      std::move(steps),
      StepAdapter::Traits{NameFilter::Anchor::kMatch, /*write_through=*/true});
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
});

}  // namespace
}  // namespace windlass
