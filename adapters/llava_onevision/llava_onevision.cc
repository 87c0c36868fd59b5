// LLaVA-OneVision-1.5: what HF has at the root lives in the native model as
// model.language_model and model.visual.
//
// The reference: models/llava_onevision/state_dict_adapter.py,
// LlavaOneVisionStateDictAdapter.

#include <memory>

#include "absl/status/statusor.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/layout_table.h"
#include "windlass/core/model_config.h"

namespace windlass {
namespace {

absl::StatusOr<std::unique_ptr<StateDictAdapter>> Create(const ModelConfig&,
                                                         const JsonFields&) {
  LayoutTable table;
  table.Rename("visual.{r*}", "model.visual.{r*}")
      .Rename("model.{k:language_model|visual}.{r*}", "model.{k}.{r*}")
      .OnlyToNative()
      .Else()
      .Rename("model.{r*}", "model.language_model.{r*}");
  LayoutTraits traits;
  traits.exclude_native = true;
  traits.write_through = true;
  return MakeLayoutAdapter({table}, traits);
}

const AdapterRegistrar registrar({
    /*name=*/"llava_onevision",
    /*framework=*/"automodel",
    /*summary=*/"LLaVA-OneVision-1.5",
    /*architectures=*/{"LLaVAOneVision1_5_ForConditionalGeneration"},
    /*model_types=*/{"llavaonevision1_5"},
    /*options=*/{},
    &Create,
    /*expert_parallel=*/false,
    /*supports=*/nullptr,
});

}  // namespace
}  // namespace windlass
