// Kimi-VL: a DeepSeek-V3 behind a vision tower. FP8 blocks are dequantised,
// experts are merged, and all lives below "model.".
//
// The reference: models/kimivl/model.py, KimiVLStateDictAdapter. What it makes
// of the language model stands behind all else.

#include <memory>

#include "absl/status/statusor.h"
#include "windlass/adapters/common/expert_tables.h"
#include "windlass/adapters/common/moe_options.h"
#include "windlass/adapters/kimi_vl/kimi_language_model.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/layout_table.h"
#include "windlass/core/model_config.h"
#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

LayoutTable Names(bool lm_head_inside) {
  LayoutTable table;
  table.Rename("language_model.model.{r*}", "model.language_model.model.{r*}")
      .AtEnd()
      .Rename("language_model.lm_head.{r*}", "lm_head.{r*}");
  // Beside it, a head inside of the language model is always written.
  if (lm_head_inside) table.OnlyToHf();
  // Native models of old have no "model." within.
  table
      .Rename("language_model.model.{k:embed_tokens|layers|norm}.{r*}",
              "model.language_model.{k}.{r*}")
      .OnlyToHf()
      .DropNative("model.model.{r*}")
      .Else()
      .Rename("{k:language_model|vision_tower|multi_modal_projector}.{r*}",
              "model.{k}.{r*}")
      .Else()
      .Rename("{r*}", "model.{r*}")
      .OnlyToHf();
  return table;
}

absl::StatusOr<std::unique_ptr<StateDictAdapter>> Create(
    const ModelConfig& config, const JsonFields& options) {
  WINDLASS_ASSIGN_OR_RETURN(const MoeOptions moe,
                            ReadMoeOptions(config, options));
  WINDLASS_ASSIGN_OR_RETURN(const bool lm_head_inside,
                            ReadLmHeadOption(options));
  LayoutTraits traits;
  traits.exclude_native = true;
  return MakeLayoutAdapter({BlockFp8Table(moe).OnlyToNative(),
                            KimiExpertTable(moe), Names(lm_head_inside)},
                           traits);
}

const AdapterRegistrar registrar({
    /*name=*/"kimi_vl",
    /*framework=*/"automodel",
    /*summary=*/"Kimi-VL",
    /*architectures=*/{"KimiVLForConditionalGeneration"},
    /*model_types=*/{"kimi_vl"},
    /*options=*/KimiOptions({LmHeadOption()}),
    &Create,
    /*expert_parallel=*/true,
    /*supports=*/nullptr,
});

}  // namespace
}  // namespace windlass
