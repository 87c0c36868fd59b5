// Qwen3-Omni: the native model is the thinker, whose experts are merged. What a
// whole checkpoint has beside it, talker and code2wav, goes along as it is.
//
// The reference: models/qwen3_omni_moe/state_dict_adapter.py,
// Qwen3OmniMoeStateDictAdapter.

#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "windlass/adapters/common/expert_tables.h"
#include "windlass/adapters/common/model_prefix.h"
#include "windlass/adapters/common/moe_options.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/layout_table.h"
#include "windlass/core/model_config.h"
#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

constexpr char kThinkerPrefix[] = "uses_thinker_prefix";

// The talker is a mixture of another size, which is not converted.
LayoutTable OtherModels() {
  LayoutTable table;
  table.Rename("talker.{r*}", "talker.{r*}")
      .Rename("code2wav.{r*}", "code2wav.{r*}");
  return table;
}

absl::StatusOr<std::unique_ptr<StateDictAdapter>> Create(
    const ModelConfig& config, const JsonFields& options) {
  WINDLASS_ASSIGN_OR_RETURN(
      MoeOptions moe, ReadMoeOptions(config.Has("thinker_config")
                                         ? config.Section("thinker_config")
                                         : config,
                                     options));
  WINDLASS_ASSIGN_OR_RETURN(const auto dtype, ReadDTypeOption(config, options));
  if (dtype.has_value()) moe.dtype = dtype;
  WINDLASS_ASSIGN_OR_RETURN(const bool prefix,
                            options.GetBoolOr(kThinkerPrefix, true));

  LayoutTable thinker = OtherModels();
  thinker.Else().OneOf(
      {kThinkerPrefix, prefix ? "thinker" : "none", "", nullptr},
      {{"thinker", ThinkerTable()}, {"none", {}}});

  ExpertNames names;
  // The audio tower has layers, too.
  names.router = "{p:model.|}layers.{l}.mlp.gate.weight";
  LayoutTable table = OtherModels();
  table.Else()
      .Append(ExpertTable(moe, names))
      .Append(ExpertLoraTable(moe, /*param_wrapper=*/false, names))
      .Else()
      .Append(ScaleDropTable());
  LayoutTraits traits;
  traits.write_through = true;
  return MakeLayoutAdapter({BlockFp8Table(moe), thinker, table}, traits);
}

std::vector<AdapterOption> Options() {
  std::vector<AdapterOption> options = NestedMoeAdapterOptions();
  options.push_back({kThinkerPrefix, "true",
                     "whether names are written with \"thinker.\" before"});
  return options;
}

const AdapterRegistrar registrar({
    /*name=*/"qwen3_omni_moe",
    /*framework=*/"automodel",
    /*summary=*/"Qwen3-Omni, the thinker",
    /*architectures=*/{"Qwen3OmniMoeForConditionalGeneration"},
    /*model_types=*/{"qwen3_omni_moe"},
    /*options=*/Options(),
    &Create,
    /*expert_parallel=*/true,
    /*supports=*/nullptr,
    /*example_config=*/
    R"({"dtype": "bfloat16", "thinker_config": {"text_config": {
          "num_experts": 4, "moe_intermediate_size": 8}}})",
});

}  // namespace
}  // namespace windlass
