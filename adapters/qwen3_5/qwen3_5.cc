// Qwen3.5 dense, text and vision-language: the first adapter, and the one to
// copy.
//
// The native model keeps the gates of its GatedDeltaNet layers in F32 holders
// and names its multi-token-prediction (MTP) module as Megatron does. Nothing
// else differs from Hugging Face: no tensor changes its shape.
//
// The reference: models/qwen3_5/state_dict_adapter.py,
// Qwen3_5DenseStateDictAdapter.

#include <memory>

#include "absl/status/statusor.h"
#include "windlass/adapters/common/gated_delta_net.h"
#include "windlass/adapters/common/tied_head.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/layout_table.h"
#include "windlass/core/model_config.h"
#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

absl::StatusOr<std::unique_ptr<StateDictAdapter>> Create(
    const ModelConfig& config, const JsonFields& options) {
  WINDLASS_ASSIGN_OR_RETURN(const bool route, ReadRouteOption(options));
  WINDLASS_ASSIGN_OR_RETURN(const bool tied,
                            config.GetBoolOr("tie_word_embeddings", false));
  WINDLASS_ASSIGN_OR_RETURN(
      const LayoutTable head,
      TiedHeadTable(options, tied,
                    {"model.language_model.embed_tokens.weight",
                     "model.embed_tokens.weight"}));
  LayoutTraits traits;
  traits.write_through = true;
  return MakeLayoutAdapter(
      {QwenMtpTable().Append(head), GatedDeltaNetRules(route)}, traits);
}

const AdapterRegistrar registrar({
    /*name=*/"qwen3_5",
    /*framework=*/"automodel",
    /*summary=*/"Qwen3.5 dense, text and vision-language",
    /*architectures=*/
    {"Qwen3_5ForConditionalGeneration", "Qwen3_5ForCausalLM"},
    /*model_types=*/{"qwen3_5", "qwen3_5_text"},
    /*options=*/{RouteOption(), DropTiedHeadOption()},
    &Create,
    /*expert_parallel=*/false,
    /*supports=*/nullptr,
});

}  // namespace
}  // namespace windlass
