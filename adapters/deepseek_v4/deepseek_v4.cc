// DeepSeek-V4: other names for nearly everything, experts in FP4 or FP8, layers
// for predicting more tokens (MTP), layers whose router is a hash.
//
// The reference: models/deepseek_v4/state_dict_adapter.py,
// DeepSeekV4StateDictAdapter.

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

LayoutTable ScaleTable(const MoeOptions& moe) {
  LayoutTable table;
  table.Decode(
      "{n*}weight", {"{n*}scale", "{n*}weight_scale_inv"}, "{n*}weight",
      {layout::Dequantize(BlockFormat(), /*packed=*/DeepSeekFp4Format(),
                          moe.dtype.value_or(DType::kBF16))});
  return table;
}

// MTP layers go by their own names or follow the `layers` others; those beyond
// the `depth` that the config has are dropped, the others stand at the end.
LayoutTable MtpTable(int64_t layers, int64_t depth) {
  LayoutTable table, own, counted, counted_in_model;
  own.Rename("mtp.{k}.{r*}", "mtp.layers.{k}.{r}").AtEnd();
  if (depth == 0) return table.DropHf("mtp.{r*}").Else().Append(own);
  const std::string behind = absl::StrCat("layers.{l>=", layers, "}.{r*}");
  const std::string native = absl::StrCat("mtp.layers.{l-", layers, "}.{r}");
  counted.Rename(behind, native).AtEnd();
  counted_in_model.Rename("model." + behind, native).AtEnd();
  return table.DropHf(absl::StrCat("mtp.{k>=", depth, "}.{r*}"))
      .DropHf(absl::StrCat("{p:model.|}layers.{l>=", layers + depth, "}.{r*}"))
      .Else()
      .OneOf({"mtp_names", "own", "", nullptr},
             {{"own", own},
              {"counted", counted},
              {"counted_in_model", counted_in_model}});
}

LayoutTable NamesTable(const MoeOptions& moe, int64_t hash_layers) {
  const std::string in = "{b:layers=model.layers|mtp.layers}.{l}.";
  const std::string out = "{b}.{l}.";
  const ExpertNames experts = {
      in + "ffn.experts",    out + "mlp.experts", "w1", "w3", "w2",
      in + "ffn.gate.weight"};
  // PEFT names modules of the native kind.
  ExpertNames lora;
  lora.hf = lora.native =
      "{q:base_model.model.|}{m:model|mtp}.layers.{l}.mlp.experts";
  LayoutTable table;
  const auto layer = [&](const std::string& hf, const std::string& native) {
    table.Rename(in + hf, out + native);
  };
  if (hash_layers > 0) {
    // A hash needs no bias, and the published layers have none.
    table
        .DropNative(absl::StrCat("model.layers.{l<", hash_layers,
                                 "}.mlp.gate.e_score_correction_bias"))
        .Else();
  }
  table.Append(ExpertTable(moe, experts))
      .Append(ExpertLoraTable(moe, /*param_wrapper=*/false, lora));
  table.Rename("embed.{r*}", "model.embed_tokens.{r}");
  table.Rename("norm.{r*}", "model.norm.{r}");
  table.Rename("head.{r*}", "lm_head.{r}");
  table.Rename("hc_head_{s+}", "model.hc_head.hc_{s}");
  layer("hc_head_{h:fn|base|scale}", "hc_head.hc_{h}");
  layer("hc_{a:attn|ffn}_{h:fn|base|scale}", "{a}_hc.{h}");
  layer("attn_norm.{r*}", "input_layernorm.{r}");
  layer("ffn_norm.{r*}", "post_attention_layernorm.{r}");
  layer("attn.attn_sink", "self_attn.sinks_param.weight");
  const std::string compressor =
      "attn.{c:compressor|indexer.compressor=compressor.indexer}";
  layer(compressor + ".norm.{r*}", "self_attn.{c}.kv_norm.{r}");
  layer(compressor + ".ape", "self_attn.{c}.ape_param.weight");
  layer("attn.indexer.compressor.{w:wgate|wkv}.{r*}",
        "self_attn.compressor.indexer.{w}.{r}");
  layer("ffn.gate.bias", "mlp.gate.e_score_correction_bias");
  layer("ffn.shared_experts.{w:w1=gate_proj|w3=up_proj|w2=down_proj}.{r*}",
        "mlp.shared_experts.{w}.{r}");
  layer("ffn.{f:fc1|fc2}_latent_proj.{r*}", "mlp.{f}_latent_proj.{r}");
  table.Else();
  layer("attn.indexer.{r*}", "self_attn.compressor.indexer.{r}");
  layer("ffn.gate.{r*}", "mlp.gate.{r}");
  table.Else();
  layer("attn.{r*}", "self_attn.{r}");
  return table;
}

// Zero without the field.
absl::StatusOr<int64_t> Layers(const ModelConfig& config, const char* field) {
  if (!config.Has(field)) return 0;
  const JsonFields& fields = config.FieldsWith(field);
  WINDLASS_ASSIGN_OR_RETURN(const int64_t count, fields.GetInt(field));
  if (count >= 0 && count <= INT32_MAX) return count;
  return fields.WrongValue(field, "a number of layers");
}

absl::StatusOr<std::unique_ptr<StateDictAdapter>> Create(
    const ModelConfig& config, const JsonFields& options) {
  WINDLASS_ASSIGN_OR_RETURN(const auto moe, ReadMoeOptions(config, options));
  WINDLASS_ASSIGN_OR_RETURN(const auto hash, Layers(config, "num_hash_layers"));
  WINDLASS_ASSIGN_OR_RETURN(const auto layers,
                            Layers(config, "num_hidden_layers"));
  WINDLASS_ASSIGN_OR_RETURN(const auto depth,
                            Layers(config, "num_nextn_predict_layers"));
  if (depth > 0 && layers == 0) {
    return config.GetPositiveInt("num_hidden_layers").status();
  }
  LayoutTraits traits;
  traits.exclude_native = true;
  return MakeLayoutAdapter(
      {ScaleTable(moe), MtpTable(layers, depth), NamesTable(moe, hash)},
      traits);
}

const AdapterRegistrar registrar({
    /*name=*/"deepseek_v4",
    /*framework=*/"automodel",
    /*summary=*/"DeepSeek-V4",
    /*architectures=*/{"DeepseekV4ForCausalLM"},
    /*model_types=*/{"deepseek_v4"},
    /*options=*/NestedMoeAdapterOptions(),
    &Create,
    /*expert_parallel=*/true,
    /*supports=*/nullptr,
    /*example_config=*/
    R"({"dtype": "bfloat16", "n_routed_experts": 4, "moe_intermediate_size": 8,
        "num_hidden_layers": 8, "num_nextn_predict_layers": 2})",
});

}  // namespace
}  // namespace windlass
