// Ministral 3, text alone and with vision: weights in FP8, with a scale for
// each tensor, become BF16.
//
// The reference: models/mistral3_vlm/state_dict_adapter.py,
// Mistral3FP8StateDictAdapter.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "windlass/adapters/common/expert_tables.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/dtype.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/layout_op.h"
#include "windlass/core/layout_table.h"
#include "windlass/core/model_config.h"
#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

constexpr char kTextModelType[] = "ministral3";

// That of Mistral 4, too.
constexpr char kSharedArchitecture[] = "Mistral3ForConditionalGeneration";

// Only the largest model is published under the native model's names.
constexpr int64_t kLayersOfNativeNames = 88;

LayoutTable VisionNames() {
  LayoutTable table;
  table.Rename("language_model.lm_head.{r*}", "lm_head.{r*}")
      .Rename("{k:vision_tower|multi_modal_projector}.{r*}", "model.{k}.{r*}")
      .Rename("language_model.model.{r*}", "model.language_model.model.{r*}")
      .OnlyToHf()
      .Else()
      .Rename("language_model.model.{r*}", "model.language_model.{r*}");
  return table;
}

absl::StatusOr<std::unique_ptr<StateDictAdapter>> Create(
    const ModelConfig& config, const JsonFields&) {
  LayoutTable fp8;
  fp8.Decode("{n*}weight", {"{n*}weight_scale_inv"}, "{n*}weight",
             {layout::DequantizeByScale(DType::kBF16)});
  LayoutTable scales = ScaleDropTable();
  scales.DropHf("{r*}activation_scale");
  std::vector<LayoutStage> stages = {fp8, scales};

  const ModelConfig text = config.Section("text_config");
  WINDLASS_ASSIGN_OR_RETURN(const std::string text_type, text.ModelType());
  bool vision_names = !text_type.empty();
  if (text.Has("num_hidden_layers")) {
    WINDLASS_ASSIGN_OR_RETURN(const int64_t layers,
                              text.GetPositiveInt("num_hidden_layers"));
    vision_names = vision_names && layers != kLayersOfNativeNames;
  }
  if (vision_names) stages.push_back(VisionNames());
  LayoutTraits traits;
  traits.exclude_native = true;
  return MakeLayoutAdapter(stages, traits);
}

// Others of these architectures have another text model, or are quantised by
// other means.
absl::StatusOr<bool> IsMinistral3(const ModelConfig& config) {
  const JsonFields quantization =
      config.FieldsWith("quantization_config").GetObject("quantization_config");
  if (quantization.Has("quant_method")) {
    WINDLASS_ASSIGN_OR_RETURN(const std::string method,
                              quantization.GetString("quant_method"));
    if (method != "fp8") return false;
  }
  WINDLASS_ASSIGN_OR_RETURN(const auto architectures, config.Architectures());
  if (!architectures.empty() && architectures.front() != kSharedArchitecture) {
    return true;
  }
  for (const ModelConfig& model : {config, config.Section("text_config")}) {
    WINDLASS_ASSIGN_OR_RETURN(const std::string type, model.ModelType());
    if (type == kTextModelType) return true;
  }
  return false;
}

const AdapterRegistrar registrar({
    /*name=*/"mistral3_fp8",
    /*framework=*/"automodel",
    /*summary=*/"Ministral 3 and its like, FP8 and BF16",
    /*architectures=*/
    {"Ministral3ForCausalLM", "Mistral3FP8VLMForConditionalGeneration",
     kSharedArchitecture},
    /*model_types=*/{kTextModelType, "mistral3"},
    /*options=*/{},
    &Create,
    /*expert_parallel=*/false,
    /*supports=*/&IsMinistral3,
    /*example_config=*/R"({"text_config": {"model_type": "ministral3"}})",
});

}  // namespace
}  // namespace windlass
