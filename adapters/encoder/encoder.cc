// Bidirectional models that embed or rank text: the native model is a wrapper
// of HF's.
//
// The reference: models/common/bidirectional.py, EncoderStateDictAdapter.

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
  table.Rename("base_model.model.{r*}", "base_model.model.model.{r*}")
      .Else()
      .Rename("{r*}", "model.{r*}")
      .Else()
      // The wrapper's own: what HF's model has no place for.
      .DropNative("{r*}");
  return MakeLayoutAdapter({table});
}

const AdapterRegistrar registrar({
    /*name=*/"encoder",
    /*framework=*/"automodel",
    /*summary=*/"Bidirectional encoders",
    /*architectures=*/
    {"LlamaBidirectionalModel", "LlamaBidirectionalForSequenceClassification"},
    /*model_types=*/
    {"llama_bidirec", "ministral3_bidirec", "llama_nemotron_vl"},
    /*options=*/{},
    &Create,
    /*expert_parallel=*/false,
    /*supports=*/nullptr,
});

}  // namespace
}  // namespace windlass
