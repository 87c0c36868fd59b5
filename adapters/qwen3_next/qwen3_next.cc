// Qwen3-Next: experts are merged, the shared expert has another name, and the
// gates of GatedDeltaNet layers live in F32 holders.
//
// The reference: models/qwen3_next/state_dict_adapter.py,
// Qwen3NextStateDictAdapter.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "windlass/adapters/common/expert_lora.h"
#include "windlass/adapters/common/experts.h"
#include "windlass/adapters/common/fp32_params.h"
#include "windlass/adapters/common/layout_step.h"
#include "windlass/adapters/common/moe_options.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/key_rewriter.h"
#include "windlass/core/model_config.h"
#include "windlass/core/regex.h"
#include "windlass/core/state_dict_adapter.h"
#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

constexpr char kHfSharedExpert[] = ".mlp.shared_expert.";
constexpr char kNativeSharedExpert[] = ".mlp.shared_experts.";

class Qwen3NextStateDictAdapter : public StepAdapter {
 public:
  using StepAdapter::StepAdapter;

  std::vector<std::pair<std::string, DType>> ForcedHfDtypeMapping(
      const StateDict& hf_state_dict) const override {
    return Fp32ParamDTypes(hf_state_dict);
  }
};

absl::StatusOr<std::unique_ptr<StateDictAdapter>> Create(
    const ModelConfig& config, const JsonFields& options) {
  WINDLASS_ASSIGN_OR_RETURN(const MoeOptions moe,
                            ReadMoeOptions(config, options, "num_experts"));
  WINDLASS_ASSIGN_OR_RETURN(KeyRewriter to_hf,
                            KeyRewriter::Create({KeyRewriter::Substring(
                                {{kNativeSharedExpert, kHfSharedExpert}})}));
  WINDLASS_ASSIGN_OR_RETURN(KeyRewriter from_hf,
                            KeyRewriter::Create({KeyRewriter::Substring(
                                {{kHfSharedExpert, kNativeSharedExpert}})}));
  std::vector<std::unique_ptr<LayoutStep>> steps;
  steps.push_back(
      std::make_unique<ExpertLoraStep>(moe, /*param_wrapper=*/false));
  steps.push_back(std::make_unique<ExpertsStep>(moe));
  steps.push_back(
      std::make_unique<RenameStep>(std::move(to_hf), std::move(from_hf)));
  steps.push_back(std::make_unique<Fp32ParamsStep>(/*route=*/true));
  return std::make_unique<Qwen3NextStateDictAdapter>(
      std::move(steps), StepAdapter::Traits{NameFilter::Anchor::kMatch,
                                            /*write_through=*/true});
}

const AdapterRegistrar registrar({
    /*name=*/"qwen3_next",
    /*framework=*/"automodel",
    /*summary=*/"Qwen3-Next",
    /*architectures=*/{"Qwen3NextForCausalLM"},
    /*model_types=*/{"qwen3_next"},
    /*options=*/MoeAdapterOptions(),
    &Create,
    /*expert_parallel=*/true,
});

}  // namespace
}  // namespace windlass
