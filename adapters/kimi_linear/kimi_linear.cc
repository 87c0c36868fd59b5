// Kimi-Linear and, built upon it, Kimi-K3: experts w1, w3 and w2 of a
// block_sparse_moe are merged under mlp, and the gates of KDA layers live in
// F32 holders. K3 packs its experts as MXFP4, holds more in F32, pads A_log,
// and lives under "language_model.".
//
// The reference: models/kimi_linear/state_dict_adapter.py,
// KimiLinear48BStateDictAdapter, and models/kimi_k3/state_dict_adapter.py,
// KimiK3StateDictAdapter.

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "windlass/adapters/common/expert_tables.h"
#include "windlass/adapters/common/gated_delta_net.h"
#include "windlass/adapters/common/moe_options.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/dequantize.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/layout_op.h"
#include "windlass/core/layout_table.h"
#include "windlass/core/model_config.h"
#include "windlass/core/regex.h"
#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

ExpertNames Names() {
  ExpertNames names;
  names.hf = "{p*}layers.{l}.block_sparse_moe.experts";
  names.gate = "w1";
  names.up = "w3";
  names.down = "w2";
  names.router = "{p*}layers.{l}.block_sparse_moe.gate.weight";
  return names;
}

// Parts of a mixture but its experts; a dense layer's mlp keeps its name.
void RenameParts(const std::string& parts, LayoutTable* table) {
  table->Rename(absl::StrCat("{p*}block_sparse_moe.{k:", parts, "}.{r*}"),
                "{p*}mlp.{k}.{r*}");
}

// Gates in holders; what has `held` in its name is F32 in the native layout.
NameRules HolderRules(const char* held) {
  NameRules rules = GateHolderRules("self_attn");
  rules.held_names =
      NameFilter::Create(held, NameFilter::Anchor::kSearch).value();
  rules.held = DType::kF32;
  rules.held_in_hf = false;
  rules.examples = {"model.layers.0.self_attn.dt_bias"};
  return rules;
}

absl::StatusOr<std::unique_ptr<StateDictAdapter>> CreateLinear(
    const ModelConfig& config, const JsonFields& options) {
  WINDLASS_ASSIGN_OR_RETURN(const MoeOptions moe,
                            ReadMoeOptions(config, options));
  // The reference leaves LoRA under the native model's names; PEFT's own files
  // have the others.
  LayoutTable table = ExpertTable(moe, Names());
  table
      .OneOf({"expert_lora_names", "mlp", "", nullptr},
             {{"mlp", ExpertLoraTable(moe, /*param_wrapper=*/false)},
              {"block_sparse_moe",
               ExpertLoraTable(moe, /*param_wrapper=*/false, Names())}})
      .Else()
      .Append(ScaleDropTable())
      .Else();
  RenameParts("gate|shared_experts", &table);
  return MakeLayoutAdapter(
      {BlockFp8Table(moe), table,
       HolderRules("A_log|dt_bias|e_score_correction_bias")});
}

const AdapterRegistrar kimi_linear({
    /*name=*/"kimi_linear",
    /*framework=*/"automodel",
    /*summary=*/"Kimi-Linear",
    /*architectures=*/{"KimiLinear48BForCausalLM"},
    /*model_types=*/{"kimi_linear_48b_a3b"},
    /*options=*/NestedMoeAdapterOptions(),
    &CreateLinear,
    /*expert_parallel=*/true,
    /*supports=*/nullptr,
});

// What is unpacked stands at the end.
LayoutTable Mxfp4Table(const MoeOptions& moe) {
  LayoutTable table;
  table
      .Map(
          {"{n*}weight_packed", "{n*}weight_scale"}, {"{n*}weight"},
          {layout::Dequantize(MxFp4Format(), moe.dtype.value_or(DType::kBF16))})
      .AtEnd()
      .OnlyToNative()
      .Append(BlockFp8Table(moe))
      .OnlyToNative();
  return table;
}

LayoutTable OuterPrefixTable() {
  LayoutTable table;
  table
      .Rename("{b:|base_model.model.}language_model.{k:model|lm_head}.{r*}",
              "{b}{k}.{r*}")
      .Else()
      .Rename("{b:|base_model.model.}language_model.{r*}", "{b}{r*}")
      .OnlyToNative();
  return table;
}

absl::StatusOr<std::unique_ptr<StateDictAdapter>> CreateK3(
    const ModelConfig& config, const JsonFields& options) {
  WINDLASS_ASSIGN_OR_RETURN(MoeOptions moe, ReadMoeOptions(config, options));
  const JsonFields attention =
      config.FieldsWith("linear_attn_config").GetObject("linear_attn_config");
  LayoutDim heads = {"heads", -1,
                     absl::StrCat(config.origin(),
                                  ": field \"linear_attn_config.num_heads\"")};
  WINDLASS_ASSIGN_OR_RETURN(heads.size, attention.GetPositiveInt("num_heads"));
  if (config.Has("routed_expert_hidden_size")) {
    WINDLASS_ASSIGN_OR_RETURN(
        moe.hidden.size, config.GetPositiveInt("routed_expert_hidden_size"));
    moe.hidden.origin =
        absl::StrCat(config.origin(), ": field \"routed_expert_hidden_size\"");
  }
  // A config may say anything.
  const int64_t padded = heads.size > INT64_MAX - 127
                             ? heads.size
                             : (heads.size + 127) / 128 * 128;
  LayoutTable parts;
  parts
      .Map({"{p*}self_attn.A_log"}, {"{p*}self_attn.A_log"},
           {layout::Pad(-1, heads, padded)})
      .Rename("{p*}self_attn.{k:q_conv1d|k_conv1d|v_conv1d|o_norm}.weight",
              "{p*}self_attn.{k}._fp32_params.weight")
      .Else();
  RenameParts(
      "gate|shared_experts|routed_expert_down_proj|routed_expert_up_proj|"
      "routed_expert_norm",
      &parts);
  return MakeLayoutAdapter(
      {Mxfp4Table(moe), OuterPrefixTable(),
       MixtureTable(moe, /*param_wrapper=*/false, Names(), parts),
       HolderRules("A_log|dt_bias|e_score_correction_bias|"
                   "(?:[qkv]_conv1d|o_norm)\\.(?:_fp32_params\\.)?weight")});
}

const AdapterRegistrar kimi_k3({
    /*name=*/"kimi_k3",
    /*framework=*/"automodel",
    /*summary=*/"Kimi-K3",
    /*architectures=*/
    {"KimiK3ForConditionalGeneration", "KimiK3ForCausalLM"},
    /*model_types=*/{"kimi_k3", "kimi_linear"},
    /*options=*/NestedMoeAdapterOptions(),
    &CreateK3,
    /*expert_parallel=*/true,
    /*supports=*/nullptr,
    /*example_config=*/
    R"({"num_experts": 4, "moe_intermediate_size": 8, "dtype": "bfloat16",
        "linear_attn_config": {"num_heads": 6}})",
});

}  // namespace
}  // namespace windlass
