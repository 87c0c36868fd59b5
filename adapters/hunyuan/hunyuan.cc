// Hunyuan's HY-V3 and Hy-MT2: experts are merged, their router has other names.
//
// The reference: models/hy_v3/state_dict_adapter.py, HYV3StateDictAdapter, and
// models/hy_mt2/state_dict_adapter.py, HyMT2StateDictAdapter, which differ in
// the number of layers that a config means without saying it.

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "windlass/adapters/common/expert_tables.h"
#include "windlass/adapters/common/moe_options.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/layout_table.h"
#include "windlass/core/model_config.h"
#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

template <int64_t default_layers>
absl::StatusOr<std::unique_ptr<StateDictAdapter>> Create(
    const ModelConfig& config, const JsonFields& options) {
  WINDLASS_ASSIGN_OR_RETURN(const MoeOptions moe,
                            ReadMoeOptions(config, options));
  int64_t layers = default_layers;
  if (config.Has("num_hidden_layers")) {
    WINDLASS_ASSIGN_OR_RETURN(layers,
                              config.GetPositiveInt("num_hidden_layers"));
  }
  ExpertNames names;
  names.router = "{p*}layers.{l}.mlp.router.gate.weight";
  LayoutTable others;
  others.Rename("{p*}mlp.expert_bias", "{p*}mlp.gate.e_score_correction_bias")
      .Rename("{p*}mlp.router.gate.weight", "{p*}mlp.gate.weight")
      .Else()
      .Rename("{p*}mlp.shared_mlp.{r*}", "{p*}mlp.shared_experts.{r*}");
  // Layers for predicting more tokens have no place in the native model.
  LayoutTable more;
  more.DropHf(absl::StrCat("{p:model.|}layers.{l>=", layers, "}.{r*}"));
  std::vector<LayoutStage> stages =
      ExpertStages(moe, /*param_wrapper=*/false, names, others);
  stages.insert(stages.begin() + 1, more);
  LayoutTraits traits;
  traits.write_through = true;
  return MakeLayoutAdapter(std::move(stages), traits);
}

// Hy-MT2 is published under HY-V3's architecture, too: these fields tell them
// apart, the last one by being there.
bool LooksLikeMt2(const ModelConfig& config) {
  constexpr std::pair<const char*, int64_t> kFields[] = {
      {"hidden_size", 2048},
      {"num_hidden_layers", 48},
      {"num_experts", 128},
      {"expert_hidden_dim", 768},
      {"moe_intermediate_size", 768}};
  for (const auto& [field, value] : kFields) {
    const auto found = config.GetPositiveInt(field);
    if (!found.ok() || *found != value) return false;
  }
  constexpr char kLast[] = "enable_lm_head_fp32";
  const auto model_type = config.ModelType();
  return model_type.ok() && *model_type == "hy_v3" &&
         absl::c_linear_search(config.FieldsWith(kLast).Names(), kLast);
}

constexpr char kMt2[] = "HyMT2ForCausalLM";

absl::StatusOr<bool> IsV3(const ModelConfig& config) {
  return !LooksLikeMt2(config);
}

absl::StatusOr<bool> IsMt2(const ModelConfig& config) {
  WINDLASS_ASSIGN_OR_RETURN(const auto architectures, config.Architectures());
  WINDLASS_ASSIGN_OR_RETURN(const auto model_type, config.ModelType());
  return LooksLikeMt2(config) ||
         (architectures.empty() ? model_type == "hy_mt2"
                                : architectures.front() == kMt2);
}

const AdapterRegistrar hy_v3({
    /*name=*/"hy_v3",
    /*framework=*/"automodel",
    /*summary=*/"Hunyuan HY-V3",
    /*architectures=*/{"HYV3ForCausalLM"},
    /*model_types=*/{"hy_v3"},
    /*options=*/MoeAdapterOptions(),
    &Create</*default_layers=*/80>,
    /*expert_parallel=*/true,
    /*supports=*/&IsV3,
});

const AdapterRegistrar hy_mt2({
    /*name=*/"hy_mt2",
    /*framework=*/"automodel",
    /*summary=*/"Hunyuan Hy-MT2",
    /*architectures=*/{kMt2, "HYV3ForCausalLM"},
    /*model_types=*/{"hy_mt2", "hy_v3"},
    /*options=*/MoeAdapterOptions(),
    &Create</*default_layers=*/48>,
    /*expert_parallel=*/true,
    /*supports=*/&IsMt2,
});

}  // namespace
}  // namespace windlass
