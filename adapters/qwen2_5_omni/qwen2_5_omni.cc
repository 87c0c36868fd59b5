// Qwen2.5-Omni: the native model is the thinker alone.
//
// The reference: models/qwen2_5_omni/state_dict_adapter.py,
// Qwen2_5OmniStateDictAdapter.

#include <memory>

#include "absl/status/statusor.h"
#include "windlass/adapters/common/model_prefix.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/layout_table.h"
#include "windlass/core/model_config.h"

namespace windlass {
namespace {

absl::StatusOr<std::unique_ptr<StateDictAdapter>> Create(const ModelConfig&,
                                                         const JsonFields&) {
  LayoutTable table;
  table.DropHf("talker.{r*}")
      .DropHf("token2wav.{r*}")
      .Else()
      .DropHf("{p*}audio_tower.audio_bos_eos_token.{r*}")
      .Else()
      .Append(ThinkerTable());
  LayoutTraits traits;
  traits.write_through = true;
  return MakeLayoutAdapter({table}, traits);
}

const AdapterRegistrar registrar({
    /*name=*/"qwen2_5_omni",
    /*framework=*/"automodel",
    /*summary=*/"Qwen2.5-Omni, the thinker",
    /*architectures=*/
    {"Qwen2_5OmniForConditionalGeneration", "Qwen2_5OmniModel",
     "Qwen2_5OmniThinkerForConditionalGeneration"},
    /*model_types=*/{"qwen2_5_omni"},
    /*options=*/{},
    &Create,
    /*expert_parallel=*/false,
    /*supports=*/nullptr,
});

}  // namespace
}  // namespace windlass
