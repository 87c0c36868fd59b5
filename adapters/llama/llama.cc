// Llama: Hugging Face's names and shapes are the native ones. Only a tied head
// that the file leaves out is filled in.
//
// The reference: models/llama/state_dict_adapter.py, LlamaStateDictAdapter.

#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "windlass/adapters/common/layout_step.h"
#include "windlass/adapters/common/tied_head.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/model_config.h"
#include "windlass/core/regex.h"
#include "windlass/core/state_dict_adapter.h"
#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

absl::StatusOr<std::unique_ptr<StateDictAdapter>> Create(
    const ModelConfig& config, const JsonFields&) {
  WINDLASS_ASSIGN_OR_RETURN(const bool tied,
                            config.GetBoolOr("tie_word_embeddings", false));
  std::vector<std::unique_ptr<LayoutStep>> steps;
  steps.push_back(std::make_unique<TiedHeadStep>(tied));
  return std::make_unique<StepAdapter>(
      std::move(steps), StepAdapter::Traits{NameFilter::Anchor::kSearch,
                                            /*write_through=*/false});
}

const AdapterRegistrar registrar({
    /*name=*/"llama",
    /*framework=*/"automodel",
    /*summary=*/"Llama",
    /*architectures=*/{"LlamaForCausalLM"},
    /*model_types=*/{"llama"},
    /*options=*/{},
    &Create,
});

}  // namespace
}  // namespace windlass
