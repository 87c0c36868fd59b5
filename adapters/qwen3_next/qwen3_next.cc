// Qwen3-Next: experts are merged, the shared expert has another name, and the
// gates of GatedDeltaNet layers live in F32 holders.
//
// The reference: models/qwen3_next/state_dict_adapter.py,
// Qwen3NextStateDictAdapter.

#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "windlass/adapters/common/expert_tables.h"
#include "windlass/adapters/common/gated_delta_net.h"
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
  WINDLASS_ASSIGN_OR_RETURN(const bool route, ReadRouteOption(options));
  LayoutTable shared;
  shared.Rename("{p*}mlp.shared_expert.{r*}", "{p*}mlp.shared_experts.{r*}");
  std::vector<LayoutStage> stages =
      ExpertStages(moe, /*param_wrapper=*/false, {}, shared);
  stages.emplace_back(GatedDeltaNetRules(route));
  LayoutTraits traits;
  traits.write_through = true;
  return MakeLayoutAdapter(std::move(stages), traits);
}

std::vector<AdapterOption> Options() {
  std::vector<AdapterOption> options = MoeAdapterOptions();
  options.push_back(RouteOption());
  return options;
}

const AdapterRegistrar registrar({
    /*name=*/"qwen3_next",
    /*framework=*/"automodel",
    /*summary=*/"Qwen3-Next",
    /*architectures=*/{"Qwen3NextForCausalLM"},
    /*model_types=*/{"qwen3_next"},
    /*options=*/Options(),
    &Create,
    /*expert_parallel=*/true,
    /*supports=*/nullptr,
});

}  // namespace
}  // namespace windlass
