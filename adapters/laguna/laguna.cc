// Laguna: experts are merged; the shared expert and the router's bias have
// other names.
//
// The reference: models/laguna/state_dict_adapter.py, LagunaStateDictAdapter.

#include <memory>
#include <utility>
#include <vector>

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
  LayoutTable shared;
  shared.Rename("{p*}mlp.shared_expert.{r*}", "{p*}mlp.shared_experts.{r*}");
  std::vector<LayoutStage> stages =
      ExpertStages(moe, /*param_wrapper=*/false, {}, shared);
  // Before the experts' table, where it would pass for one.
  LayoutTable bias;
  bias.Rename("{p*}mlp.experts.e_score_correction_bias",
              "{p*}mlp.gate.e_score_correction_bias");
  stages.insert(stages.begin() + 1, bias);
  LayoutTraits traits;
  traits.write_through = true;
  return MakeLayoutAdapter(std::move(stages), traits);
}

const AdapterRegistrar registrar({
    /*name=*/"laguna",
    /*framework=*/"automodel",
    /*summary=*/"Laguna",
    /*architectures=*/{"LagunaForCausalLM"},
    /*model_types=*/{"laguna"},
    /*options=*/MoeAdapterOptions(),
    &Create,
    /*expert_parallel=*/true,
});

}  // namespace
}  // namespace windlass
