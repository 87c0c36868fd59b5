// ERNIE 4.5: dense models are laid out as in Hugging Face's files; of mixtures
// the experts are merged and the router's bias loses a dimension.
//
// The reference: models/ernie4_5/state_dict_adapter.py,
// Ernie4_5StateDictAdapter and Ernie4_5_MoeStateDictAdapter.

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "windlass/adapters/common/expert_tables.h"
#include "windlass/adapters/common/model_prefix.h"
#include "windlass/adapters/common/moe_options.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/layout_op.h"
#include "windlass/core/layout_table.h"
#include "windlass/core/model_config.h"
#include "windlass/core/state_dict.h"
#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

absl::StatusOr<std::unique_ptr<StateDictAdapter>> CreateDense(
    const ModelConfig&, const JsonFields&) {
  LayoutTraits traits;
  traits.write_through = true;
  return MakeLayoutAdapter({LayoutTable()}, traits);
}

const AdapterRegistrar dense([] {
  AdapterInfo info;
  info.name = "ernie4_5";
  info.framework = "automodel";
  info.summary = "ERNIE 4.5, dense";
  info.architectures = {"Ernie4_5ForCausalLM"};
  info.model_types = {"ernie4_5"};
  info.factory = &CreateDense;
  return info;
}());

constexpr char kBias[] = "e_score_correction_bias";

// The reference writes experts without "model." where the last name that it
// read, biases aside, was without it, as a head at the end is.
LayoutTable ExpertPrefixTable(const MoeOptions& moe) {
  LayoutChoice prefix;
  prefix.name = "uses_model_prefix";
  prefix.on_export = moe.uses_model_prefix.value_or(false) ? "true" : "false";
  if (!moe.uses_model_prefix.has_value()) {
    prefix.detect_on_export = [](const StateDict& native) -> std::string {
      bool uses = false;
      for (const NamedTensor& named : native) {
        if (absl::EndsWith(named.name, kBias)) continue;
        uses = absl::StartsWith(named.name, "model.");
      }
      return uses ? "true" : "false";
    };
  }
  LayoutTable bare;
  bare.Rename("layers.{l}.mlp.experts.{e}.{s+}.weight",
              "model.layers.{l}.mlp.experts.{e}.{s}.weight")
      .OnlyToHf();
  LayoutTable table;
  table.OneOf(prefix, {{"true", LayoutTable()}, {"false", bare}});
  return table;
}

absl::StatusOr<std::unique_ptr<StateDictAdapter>> CreateMoe(
    const ModelConfig& config, const JsonFields& options) {
  WINDLASS_ASSIGN_OR_RETURN(const MoeOptions moe,
                            ReadMoeOptions(config, options));
  // Layers for predicting more tokens have no place in the native model.
  LayoutTable mtp;
  mtp.DropHf("model.mtp_{s+}.{r*}");
  LayoutTable bias;
  bias.Map({"{p*}mlp.moe_statics.e_score_correction_bias"},
           {"{p*}mlp.gate.e_score_correction_bias"},
           {layout::Squeeze(0, /*native_rank=*/1)})
      .AtEnd();
  LayoutTraits traits;
  traits.write_through = true;
  return MakeLayoutAdapter(
      {BlockFp8Table(moe), mtp, ModelRootTable({"base_model."}),
       ExpertPrefixTable(moe), bias,
       MixtureTable(moe, /*param_wrapper=*/false)},
      traits);
}

std::vector<AdapterOption> MoeOptionList() {
  std::vector<AdapterOption> options = NestedMoeAdapterOptions();
  options.push_back({"uses_model_prefix", "as the last tensor's name",
                     "whether split experts are named model.layers..., as "
                     "everything else is; not after a head at the end, which "
                     "misleads the reference"});
  return options;
}

const AdapterRegistrar moe({
    /*name=*/"ernie4_5_moe",
    /*framework=*/"automodel",
    /*summary=*/"ERNIE 4.5, mixture of experts",
    /*architectures=*/{"Ernie4_5_MoeForCausalLM"},
    /*model_types=*/{"ernie4_5_moe"},
    /*options=*/MoeOptionList(),
    &CreateMoe,
    /*expert_parallel=*/true,
    /*supports=*/nullptr,
    /*example_config=*/
    R"({"dtype": "bfloat16", "moe_num_experts": 4,
        "moe_intermediate_size": 8})",
});

}  // namespace
}  // namespace windlass
