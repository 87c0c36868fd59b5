// Kimi-K2.5: as Kimi-VL, and its routed experts are INT4. Any packed weight is
// read; written are those of experts, of all layers but the first, which is
// dense in the published model.
//
// The reference: models/kimi_k25_vl/state_dict_adapter.py,
// KimiK25VLStateDictAdapter. What is unpacked stands behind all else, and the
// language model behind that.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "windlass/adapters/common/expert_tables.h"
#include "windlass/adapters/common/moe_options.h"
#include "windlass/adapters/kimi_vl/kimi_language_model.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/layout_op.h"
#include "windlass/core/layout_table.h"
#include "windlass/core/model_config.h"
#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

LayoutTable PackedTable(const MoeOptions& moe, bool quantize) {
  const auto triplet = [](const std::string& name) {
    return std::vector<std::string>{name + "_packed", name + "_scale",
                                    name + "_shape"};
  };
  LayoutTable table;
  if (quantize) {
    const std::string expert =
        "{p*}layers.{l>=1}.mlp.experts.{e}.{w:gate_proj|up_proj|down_proj}."
        "weight";
    table.Map(triplet(expert), {expert}, {layout::Int4()}).OnlyToHf();
  }
  const std::string any = "{n*}{k:weight|bias}";
  table.Else()
      .Map(triplet(any), {any}, {layout::Int4()})
      .AtEnd()
      .OnlyToNative()
      .Append(BlockFp8Table(moe))
      .OnlyToNative();
  return table;
}

LayoutTable Names(bool lm_head_inside) {
  LayoutTable table;
  table.Rename("language_model.model.{r*}", "model.language_model.model.{r*}")
      .AtEnd()
      .Rename("mm_projector.proj.{k:0=1|2=2}.{r*}",
              "model.multi_modal_projector.linear_{k}.{r*}")
      .Rename("language_model.lm_head.{r*}", "lm_head.{r*}");
  // Without the option the head has its name in one direction alone, as in the
  // reference: its files call it "lm_head.".
  if (lm_head_inside) {
    table.OnlyToHf()
        .Rename("lm_head.{r*}", "model.language_model.lm_head.{r*}")
        .OnlyToNative();
  } else {
    table.OnlyToNative();
  }
  table.Else()
      .Rename("{k:language_model|vision_tower}.{r*}", "model.{k}.{r*}")
      .Rename("mm_projector.{r*}", "model.multi_modal_projector.{r*}")
      .Rename("multi_modal_projector.{r*}", "model.multi_modal_projector.{r*}")
      .OnlyToNative()
      .Else()
      .Rename("{r*}", "model.{r*}")
      .OnlyToHf();
  return table;
}

absl::StatusOr<std::unique_ptr<StateDictAdapter>> Create(
    const ModelConfig& config, const JsonFields& options) {
  WINDLASS_ASSIGN_OR_RETURN(MoeOptions moe, ReadMoeOptions(config, options));
  // The reference asks no field for it, and the shapes agree with each other.
  moe.hidden = {"H", -1, ""};
  WINDLASS_ASSIGN_OR_RETURN(const bool lm_head_inside,
                            ReadLmHeadOption(options));
  WINDLASS_ASSIGN_OR_RETURN(const bool quantize,
                            options.GetBoolOr("quantize_experts", true));
  WINDLASS_ASSIGN_OR_RETURN(const bool cast_all,
                            options.GetBoolOr("cast_all", true));
  std::vector<LayoutStage> stages = {
      PackedTable(moe, quantize), KimiExpertTable(moe), Names(lm_head_inside)};
  if (cast_all && moe.dtype.has_value()) {
    LayoutTable cast;
    cast.Map({"{r*}"}, {"{r*}"},
             {layout::CastFloats(*moe.dtype == DType::kF32 ? DType::kBF16
                                                           : *moe.dtype)});
    stages.emplace_back(cast);
  }
  return MakeLayoutAdapter(std::move(stages));
}

std::vector<AdapterOption> Options() {
  return KimiOptions({
      {"cast_all", "true",
       "cast every float on the way to native, as the reference does (and to "
       "bfloat16 where dtype is float32); else experts alone"},
      LmHeadOption(),
      {"quantize_experts", "true",
       "write routed experts as INT4, as the reference does; else as they "
       "are"},
  });
}

const AdapterRegistrar registrar({
    /*name=*/"kimi_k25_vl",
    /*framework=*/"automodel",
    /*summary=*/"Kimi-K2.5",
    /*architectures=*/
    {"KimiK25ForConditionalGeneration", "KimiK25VLForConditionalGeneration"},
    /*model_types=*/{"kimi_k25"},
    /*options=*/Options(),
    &Create,
    /*expert_parallel=*/true,
    /*supports=*/nullptr,
});

}  // namespace
}  // namespace windlass
