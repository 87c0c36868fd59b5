// MiniMax-M2 and M3: experts w1, w3 and w2 of a block_sparse_moe are merged
// under mlp; M2 is published in blocks of FP8, M3 in MXFP8. M3 has shared
// experts, an indexer and layers for predicting more tokens (MTP); as part of a
// vision language model it lives below "language_model.".
//
// The reference: models/minimax_m2/state_dict_adapter.py,
// MiniMaxM2StateDictAdapter, and models/minimax_m3_vl/state_dict_adapter.py,
// MiniMaxM3StateDictAdapter and MiniMaxM3VLStateDictAdapter.

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "windlass/adapters/common/expert_tables.h"
#include "windlass/adapters/common/moe_options.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/dequantize.h"
#include "windlass/core/dtype.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/layout_op.h"
#include "windlass/core/layout_table.h"
#include "windlass/core/model_config.h"
#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

// The names of a mixture's parts. What is renamed stands at the end. LoRA of
// experts keeps the native model's names, as in the reference; PEFT's own files
// have the others.
LayoutTable PartsTable(const std::string& layer) {
  const std::string hf = "{p*}block_sparse_moe.";
  const std::string expert =
      layer +
      "block_sparse_moe.experts.{e}.{w:w1=gate_proj|w3=up_proj|w2=down_proj}";
  const std::string native = layer + "mlp.experts.{e}.{w}";
  LayoutTable table;
  table.Rename(hf + "gate.weight", "{p*}mlp.gate.weight")
      .AtEndAsTheyCome()
      .Rename(hf + "e_score_correction_bias",
              "{p*}mlp.gate.e_score_correction_bias")
      .AtEndAsTheyCome()
      .Rename(expert + ".weight", native + ".weight")
      .AtEndAsTheyCome()
      .Rename(expert + ".{m:lora_A|lora_B}.weight", native + ".{m}.weight")
      .OnlyToNative();
  return table;
}

absl::StatusOr<std::unique_ptr<StateDictAdapter>> CreateM2(
    const ModelConfig& config, const JsonFields& options) {
  WINDLASS_ASSIGN_OR_RETURN(
      const MoeOptions moe,
      ReadMoeOptions(config, options, "intermediate_size"));
  return MakeLayoutAdapter({BlockFp8Table(moe), PartsTable("{p*}layers.{l}."),
                            MixtureTable(moe, /*param_wrapper=*/true)});
}

const AdapterRegistrar minimax_m2({
    /*name=*/"minimax_m2",
    /*framework=*/"automodel",
    /*summary=*/"MiniMax-M2",
    /*architectures=*/{"MiniMaxM2ForCausalLM"},
    /*model_types=*/{"minimax_m2"},
    /*options=*/NestedMoeAdapterOptions(),
    &CreateM2,
    /*expert_parallel=*/true,
    /*supports=*/nullptr,
    /*example_config=*/
    R"({"dtype": "bfloat16", "num_local_experts": 4, "intermediate_size": 8})",
});

LayoutTable Mxfp8Table(const MoeOptions& moe) {
  LayoutTable table;
  table.Decode(
      "{n*}weight", {"{n*}weight_scale_inv"}, "{n*}weight",
      {layout::Dequantize(MxFp8Format(), moe.dtype.value_or(DType::kBF16))});
  return table;
}

// The text model behind its scales.
absl::StatusOr<std::vector<LayoutStage>> TextStages(const ModelConfig& config,
                                                    const MoeOptions& moe) {
  int64_t mtp_modules = 0;
  if (config.Has("num_mtp_modules")) {
    const JsonFields& fields = config.FieldsWith("num_mtp_modules");
    WINDLASS_ASSIGN_OR_RETURN(mtp_modules, fields.GetInt("num_mtp_modules"));
  }
  // Within an MTP layer there is another.
  const std::string layer = "{p*}layers.{l}.{t:|transformer_layer.}";
  LayoutTable parts;
  if (mtp_modules <= 0) parts.DropHf("{p*}mtp.{r*}").Else();
  parts.Append(PartsTable(layer))
      .Else()
      .Rename("{p*}block_sparse_moe.shared_experts.{r*}",
              "{p*}shared_experts.{r*}")
      .AtEndAsTheyCome()
      .Else()
      .Rename("{p*}self_attn.index_{s+}.{r*}",
              "{p*}self_attn.indexer.index_{s+}.{r*}")
      .AtEndAsTheyCome();
  ExpertNames names;
  names.hf = names.native = layer + "mlp.experts";
  names.router = layer + "mlp.gate.weight";
  std::vector<LayoutStage> stages = {
      parts, MixtureTable(moe, /*param_wrapper=*/false, names)};
  if (mtp_modules > 0) {
    // MTP stands behind all else, the layers within it last.
    for (const char* rest :
         {"mtp.{r*}", "mtp.layers.{l}.transformer_layer.{r*}"}) {
      LayoutTable mtp;
      const std::string name = absl::StrCat("{p*}", rest);
      mtp.Rename(name, name).AtEnd();
      stages.emplace_back(mtp);
    }
  }
  return stages;
}

// The text model is "language_model." in files, where the vision tower has its
// projectors beside it; natively they are its own. PEFT puts its prefix before
// all names.
LayoutTable VisionTable() {
  LayoutTable table;
  table
      .DropHf(
          "{k:vision_tower|multi_modal_projector|patch_merge_mlp}.{p*}mtp.{r*}")
      .Else()
      .Rename(
          "{b:|base_model.model.}{k:multi_modal_projector|patch_merge_mlp}.{r*"
          "}",
          "{b}vision_tower.{k}.{r*}")
      .Else()
      .Rename("{b:|base_model.model.}vision_tower.{r*}", "{b}vision_tower.{r*}")
      .Else()
      .Rename("base_model.model.language_model.{r*}", "base_model.model.{r*}")
      .Rename("language_model.base_model.model.{r*}", "base_model.model.{r*}")
      .OnlyToNative()
      .Else()
      .Rename("language_model.{r*}", "{r*}")
      .AtEndAsTheyCome();
  return table;
}

template <bool vision>
absl::StatusOr<std::unique_ptr<StateDictAdapter>> CreateM3(
    const ModelConfig& config, const JsonFields& options) {
  WINDLASS_ASSIGN_OR_RETURN(
      const MoeOptions moe,
      ReadMoeOptions(config, options, "intermediate_size"));
  std::vector<LayoutStage> stages = {Mxfp8Table(moe)};
  if (vision) stages.push_back(VisionTable());
  WINDLASS_ASSIGN_OR_RETURN(const auto text, TextStages(config, moe));
  stages.insert(stages.end(), text.begin(), text.end());
  return MakeLayoutAdapter(std::move(stages));
}

AdapterInfo M3(std::string name, std::string summary, std::string architecture,
               AdapterInfo::Factory factory, std::string example_config) {
  AdapterInfo info;
  info.name = name;
  info.framework = "automodel";
  info.summary = std::move(summary);
  info.architectures = {std::move(architecture)};
  info.model_types = {std::move(name)};
  info.options = NestedMoeAdapterOptions();
  info.factory = std::move(factory);
  info.expert_parallel = true;
  info.example_config = std::move(example_config);
  return info;
}

const AdapterRegistrar minimax_m3(
    M3("minimax_m3", "MiniMax-M3, text", "MiniMaxM3SparseForCausalLM",
       &CreateM3</*vision=*/false>,
       R"({"dtype": "bfloat16", "num_local_experts": 4,
           "intermediate_size": 8, "num_mtp_modules": 1})"));
const AdapterRegistrar minimax_m3_vl(
    M3("minimax_m3_vl", "MiniMax-M3", "MiniMaxM3SparseForConditionalGeneration",
       &CreateM3</*vision=*/true>,
       R"({"dtype": "bfloat16", "text_config": {"num_local_experts": 4,
           "intermediate_size": 8, "num_mtp_modules": 1}})"));

}  // namespace
}  // namespace windlass
