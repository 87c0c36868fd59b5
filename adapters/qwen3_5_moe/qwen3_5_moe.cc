// Qwen3.5 and Qwen3.6 mixtures of experts, vision-language and text alone.
//
// Experts are published fused, and in FP8 a tensor an expert; those of the
// multi-token-prediction (MTP) module fused (3.6) or a tensor an expert (3.5).
// All are read; the decoder's are written fused, MTP's as they were.
//
// The reference: models/qwen3_5_moe/state_dict_adapter.py,
// Qwen3_5MoeStateDictAdapter.

#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "windlass/adapters/common/expert_tables.h"
#include "windlass/adapters/common/gated_delta_net.h"
#include "windlass/adapters/common/model_prefix.h"
#include "windlass/adapters/common/moe_options.h"
#include "windlass/adapters/common/text_only.h"
#include "windlass/adapters/qwen3_5_moe/mtp_layout.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/layout_table.h"
#include "windlass/core/model_config.h"
#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

constexpr char kTextArchitecture[] = "Qwen3_5MoeForCausalLM";
constexpr char kTextModelType[] = "qwen3_5_moe_text";

// Names that only files have: a head within the model, and where the model is
// text alone, the language model of the whole.
LayoutTable FileNames(bool text_only) {
  LayoutTable table;
  table.Rename("model.lm_head.{r*}", "lm_head.{r*}").OnlyToNative();
  if (text_only) {
    table.Rename("model.language_model.{r*}", "model.{r*}").OnlyToNative();
    table.Rename("language_model.{r*}", "{r*}").OnlyToNative();
  }
  return table;
}

absl::StatusOr<std::unique_ptr<StateDictAdapter>> Create(
    const ModelConfig& config, const JsonFields& options) {
  WINDLASS_ASSIGN_OR_RETURN(MoeOptions moe, ReadMoeOptions(config, options));
  if (!options.Has("expert_layout")) moe.expert_layout = "fused";
  moe.ep_shard = true;
  WINDLASS_ASSIGN_OR_RETURN(const bool route, ReadRouteOption(options));
  WINDLASS_ASSIGN_OR_RETURN(
      const bool text_only,
      ReadTextOnlyOption(config, options, kTextArchitecture, kTextModelType));
  WINDLASS_ASSIGN_OR_RETURN(LayoutChoice mtp_layout,
                            ReadMtpLayout(config, options));

  ExpertNames decoder;
  decoder.merged_at_end = true;
  ExpertNames mtp = decoder;
  mtp.hf = mtp.native = "mtp.layers.{l}.mlp.experts";
  LayoutTable table;
  table.Append(ExpertTable(moe, mtp, std::move(mtp_layout)))
      .Else()
      .Append(ExpertTable(moe, decoder))
      .Append(ExpertLoraTable(moe, /*param_wrapper=*/true, decoder))
      .Else()
      .Append(ScaleDropTable())
      .Else()
      .Rename("{p*}mlp.shared_expert.{r*}", "{p*}mlp.shared_experts.{r*}")
      .Append(QwenMtpTable());
  return MakeLayoutAdapter({BlockFp8Table(moe, /*exact_scales=*/true),
                            ModelRootTable({"mtp."}), FileNames(text_only),
                            table, GatedDeltaNetRules(route)});
}

std::vector<AdapterOption> Options() {
  std::vector<AdapterOption> options = NestedMoeAdapterOptions("fused");
  options.push_back(MtpLayoutOption());
  options.push_back(RouteOption());
  options.push_back(TextOnlyOption());
  return options;
}

const AdapterRegistrar registrar({
    /*name=*/"qwen3_5_moe",
    /*framework=*/"automodel",
    /*summary=*/"Qwen3.5 and Qwen3.6 mixtures of experts",
    /*architectures=*/
    {"Qwen3_5MoeForConditionalGeneration", kTextArchitecture},
    /*model_types=*/{"qwen3_5_moe", kTextModelType},
    /*options=*/Options(),
    &Create,
    /*expert_parallel=*/true,
    /*supports=*/nullptr,
    /*example_config=*/
    R"({"dtype": "bfloat16", "text_config": {
          "num_experts": 4, "moe_intermediate_size": 8}})",
});

}  // namespace
}  // namespace windlass
