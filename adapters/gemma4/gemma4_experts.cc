#include "windlass/adapters/gemma4/gemma4_experts.h"

#include "windlass/adapters/common/expert_tables.h"
#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

// Other names that files may have.
LayoutTable Synonyms() {
  LayoutTable table;
  table
      .Rename("{p*}layers.{l}.moe.{k:gate_up_proj|down_proj}",
              "{p*}layers.{l}.experts.{k}")
      .OnlyToNative();
  for (const char* name : {"{p*}layers.{l}.moe.per_expert_scale",
                           "{p*}layers.{l}.experts.per_expert_scale"}) {
    table.Rename(name, "{p*}layers.{l}.router.per_expert_scale").OnlyToNative();
  }
  return table;
}

}  // namespace

absl::StatusOr<MoeOptions> ReadGemma4Options(const ModelConfig& config,
                                             const JsonFields& options) {
  const bool old = !config.Has("moe_intermediate_size") &&
                   config.Has("expert_intermediate_size");
  WINDLASS_ASSIGN_OR_RETURN(MoeOptions moe,
                            ReadMoeOptions(config, options,
                                           old ? "expert_intermediate_size"
                                               : "moe_intermediate_size"));
  moe.ep_shard = true;
  return moe;
}

std::vector<LayoutStage> Gemma4ExpertStages(const MoeOptions& moe) {
  ExpertNames names;
  names.hf = "{p*}layers.{l}.experts";
  names.native = "{p*}layers.{l}.moe.experts";
  names.router = "{p*}layers.{l}.router.proj.weight";
  names.down_scale = "{p*}layers.{l}.router.per_expert_scale";
  names.fused_at_end = true;
  LayoutTable table = FusedExpertTable(moe, names);
  table.Rename("{p*}layers.{l}.router.{k:proj.weight|scale}",
               "{p*}layers.{l}.moe.gate.{k}");
  return {Synonyms(), table};
}

}  // namespace windlass
