// Mistral 4, text alone and with vision: FP8 weights with a scale for each
// tensor, expert or block are dequantised, fused experts turned, and a router's
// bias that files leave out is zero.
//
// The reference: models/mistral4/state_dict_adapter.py,
// Mistral4StateDictAdapter and Mistral4MultimodalStateDictAdapter.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "windlass/adapters/common/expert_tables.h"
#include "windlass/adapters/common/model_prefix.h"
#include "windlass/adapters/common/moe_options.h"
#include "windlass/adapters/common/text_only.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/dtype.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/layout_op.h"
#include "windlass/core/layout_table.h"
#include "windlass/core/model_config.h"
#include "windlass/core/state_dict.h"
#include "windlass/core/status_macros.h"
#include "windlass/core/tensor_ops.h"

namespace windlass {
namespace {

constexpr char kTextArchitecture[] = "Mistral4ForCausalLM";
constexpr char kTextModelType[] = "mistral4";
constexpr char kBias[] = "{p*}mlp.gate.e_score_correction_bias";

// Of a router's weight [E, H], zeros for its bias.
LayoutOp Zeros(const LayoutDim& experts) {
  auto forward = [size = experts.size](
                     const LayoutContext&,
                     std::vector<Tensor>* tensors) -> absl::Status {
    WINDLASS_ASSIGN_OR_RETURN(tensors->front(), Fill(DType::kF32, {size}, 0));
    return absl::OkStatus();
  };
  auto backward = [](const LayoutContext&, std::vector<Tensor>*) {
    return absl::OkStatus();
  };
  return layout::OneWay("zeros", 1, 1, forward, backward);
}

LayoutTable FileTable(const MoeOptions& moe) {
  // Experts are no modules, so their names have no ".weight".
  constexpr char kPacked[] = "{n*}{k:weight|gate_up_proj|down_proj}";
  LayoutTable table;
  table
      .Decode(kPacked, {absl::StrCat(kPacked, "_scale_inv")}, kPacked,
              {layout::DequantizeByScale(moe.dtype.value_or(DType::kBF16))})
      .Synthesize(
          kBias, "{p*}mlp.gate.weight",
          {layout::Shapes({{moe.experts, moe.hidden}}), Zeros(moe.experts)});
  return table;
}

LayoutTable ScaleTable() {
  LayoutTable table = ScaleDropTable();
  table.DropHf("{r*}activation_scale").DropHf("{r*}{s+}_activation_scale");
  return table;
}

// Biases that were made stand behind the experts.
LayoutTable BiasTable() {
  LayoutChoice bias;
  bias.name = "bias";
  bias.on_export = "given";
  bias.detect = [](const StateDict& hf) -> absl::StatusOr<std::string> {
    const bool given = absl::c_any_of(hf, [](const NamedTensor& named) {
      return absl::EndsWith(named.name, ".e_score_correction_bias");
    });
    return std::string(given ? "given" : "made");
  };
  LayoutTable made;
  made.Rename(kBias, kBias).AtEnd();
  LayoutTable table;
  table.OneOf(bias, {{"given", {}}, {"made", made}});
  return table;
}

LayoutTable VisionNames() {
  LayoutTable table;
  table.Rename("{k:language_model|vision_tower|multi_modal_projector}.{r*}",
               "model.{k}.{r*}");
  return table;
}

absl::StatusOr<std::unique_ptr<StateDictAdapter>> Create(
    const ModelConfig& config, const JsonFields& options) {
  WINDLASS_ASSIGN_OR_RETURN(MoeOptions moe, ReadMoeOptions(config, options));
  if (!options.Has("expert_layout")) moe.expert_layout = "fused";
  WINDLASS_ASSIGN_OR_RETURN(
      const bool text_only,
      ReadTextOnlyOption(config, options, kTextArchitecture, kTextModelType));
  const LayoutTable files = FileTable(moe);
  // What was no FP8 keeps its dtype.
  moe.dtype = std::nullopt;
  ExpertNames names;
  names.merged_at_end = true;
  names.fused_at_end = true;
  LayoutTable table = ExpertTable(moe, names);
  table.Append(ExpertLoraTable(moe, /*param_wrapper=*/true, names))
      .Append(BiasTable());
  return MakeLayoutAdapter(
      {files, ScaleTable(),
       text_only ? PrefixTable("language_model.") : VisionNames(), table});
}

// Mistral 3 shares the architecture of the whole.
absl::StatusOr<bool> IsMistral4(const ModelConfig& config) {
  WINDLASS_ASSIGN_OR_RETURN(const auto architectures, config.Architectures());
  if (!architectures.empty() && architectures.front() == kTextArchitecture) {
    return true;
  }
  WINDLASS_ASSIGN_OR_RETURN(const std::string type, config.ModelType());
  WINDLASS_ASSIGN_OR_RETURN(const std::string text,
                            config.Section("text_config").ModelType());
  return type == kTextModelType || text == kTextModelType;
}

std::vector<AdapterOption> Options() {
  std::vector<AdapterOption> options = NestedMoeAdapterOptions("fused");
  options.push_back(TextOnlyOption());
  return options;
}

const AdapterRegistrar registrar({
    /*name=*/"mistral4",
    /*framework=*/"automodel",
    /*summary=*/"Mistral 4",
    /*architectures=*/{kTextArchitecture, "Mistral3ForConditionalGeneration"},
    /*model_types=*/{kTextModelType, "mistral3"},
    /*options=*/Options(),
    &Create,
    /*expert_parallel=*/true,
    /*supports=*/&IsMistral4,
    /*example_config=*/
    R"({"dtype": "bfloat16", "text_config": {"model_type": "mistral4",
          "n_routed_experts": 4, "moe_intermediate_size": 8}})",
});

}  // namespace
}  // namespace windlass
