// Inkling: files have the names of the model's makers or those of transformers;
// both are read, the former written. Gate and up are interleaved in the native
// model, as in the makers' files.
//
// The reference: models/inkling/state_dict_adapter.py, InklingStateDictAdapter.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "windlass/adapters/common/expert_tables.h"
#include "windlass/adapters/common/moe_options.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/layout_op.h"
#include "windlass/core/layout_table.h"
#include "windlass/core/model_config.h"
#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

using layout::Concat;
using layout::Interleave;
using layout::Shapes;
using layout::Share;

constexpr char kLayer[] = "model.llm.layers.{l}.";

std::vector<std::string> InLayer(std::vector<std::string> names) {
  for (std::string& name : names) name.insert(0, kLayer);
  return names;
}

// `ops`, and what is done to every matrix of the feed-forward layers.
std::vector<LayoutOp> Turned(const MoeOptions& moe, std::vector<LayoutOp> ops) {
  ops.push_back(layout::Transpose());
  ops.push_back(moe.dtype.has_value() ? layout::Cast(*moe.dtype)
                                      : layout::NotPacked());
  return ops;
}

LayoutTable RawMatrices(const MoeOptions& moe) {
  const LayoutDim& E = moe.experts;
  const LayoutDim& H = moe.hidden;
  const LayoutDim any = {"", -1, ""};
  LayoutTable experts;
  experts
      .Map(InLayer({"mlp.experts.w13_weight"}),
           InLayer({"mlp.experts.gate_and_up_projs"}),
           Turned(moe, {Shapes({{E, Doubled(moe.intermediate), H}}), Share(E)}))
      .Map(InLayer({"mlp.experts.w2_weight"}),
           InLayer({"mlp.experts.down_projs"}),
           Turned(moe, {Shapes({{E, H, moe.intermediate}}), Share(E)}))
      .Together();
  LayoutTable table;
  table.Append(experts)
      .Map(InLayer({"mlp.shared_experts.{k:shared_w13_weight=gate_up_proj|"
                    "shared_w2_weight=down_proj}"}),
           InLayer({"mlp.shared_experts.{k}"}),
           Turned(moe, {Shapes({{any, any, any}})}))
      .Map(InLayer({"mlp.{k:w13_dn.weight=gate_up_proj|"
                    "w2_md.weight=down_proj}"}),
           InLayer({"mlp.{k}"}), Turned(moe, {Shapes({{any, any}})}));
  return table;
}

// Of transformers, which has gate and up one after the other.
LayoutTable OtherMatrices(const MoeOptions& moe) {
  const LayoutDim& E = moe.experts;
  const LayoutDim& I = moe.intermediate;
  const LayoutDim& H = moe.hidden;
  const LayoutDim D = {"D", -1, ""};  // of a dense layer
  const LayoutDim S = {"S", -1, ""};  // shared experts
  LayoutTable experts;
  experts
      .Map(InLayer({"mlp.experts.gate_up_proj"}),
           InLayer({"mlp.experts.gate_and_up_projs"}),
           Turned(moe, {Shapes({{E, Doubled(I), H}}), Share(E), Interleave(1)}))
      .OnlyToNative()
      .Map(InLayer({"mlp.experts.down_proj"}),
           InLayer({"mlp.experts.down_projs"}),
           Turned(moe, {Shapes({{E, H, I}}), Share(E)}))
      .OnlyToNative()
      .Together();
  LayoutTable table;
  table.Append(experts)
      .Map(InLayer(
               {"mlp.shared_experts.gate_proj", "mlp.shared_experts.up_proj"}),
           InLayer({"mlp.shared_experts.gate_up_proj"}),
           Turned(moe, {Shapes({{S, D, H}, {S, D, H}}), Concat(1, {-1, -1}),
                        Interleave(1)}))
      .OnlyToNative()
      .Map(InLayer({"mlp.shared_experts.down_proj"}),
           InLayer({"mlp.shared_experts.down_proj"}),
           Turned(moe, {Shapes({{S, H, D}})}))
      .OnlyToNative()
      .Map(InLayer({"mlp.gate_proj.weight", "mlp.up_proj.weight"}),
           InLayer({"mlp.gate_up_proj"}),
           Turned(moe, {Shapes({{D, H}, {D, H}}), Concat(0, {-1, -1}),
                        Interleave(0)}))
      .OnlyToNative()
      .Map(InLayer({"mlp.down_proj.weight"}), InLayer({"mlp.down_proj"}),
           Turned(moe, {Shapes({{H, D}})}))
      .OnlyToNative();
  return table;
}

// Names within a layer.
LayoutTable LayerNames() {
  constexpr std::pair<const char*, const char*> kRaw[] = {
      {"attn.{k:wq_du=q_proj|wk_dv=k_proj|wv_dv=v_proj|wr_du=r_proj|"
       "wo_ud=o_proj}.weight",
       "self_attn.{k}.weight"},
      {"attn.{k:q_norm|k_norm|rel_logits_proj}.{r*}", "self_attn.{k}.{r*}"},
      {"attn.{k:k_sconv|v_sconv}.weight", "self_attn.{k}._fp32_params.weight"},
      {"{k:attn_sconv|mlp_sconv}.weight", "{k}._fp32_params.weight"},
      {"{k:attn_norm=input_layernorm|mlp_norm=post_attention_layernorm}.{r*}",
       "{k}.{r*}"},
      {"mlp.gate.bias", "mlp.gate._fp32_params.e_score_correction_bias"},
  };
  constexpr std::pair<const char*, const char*> kOther[] = {
      {"self_attn.{k:k_sconv|v_sconv}.conv1d.weight",
       "self_attn.{k}._fp32_params.weight"},
      {"{k:attn_sconv|mlp_sconv}.conv1d.weight", "{k}._fp32_params.weight"},
      {"mlp.gate.e_score_correction_bias",
       "mlp.gate._fp32_params.e_score_correction_bias"},
  };
  LayoutTable table;
  for (const auto& [hf, native] : kRaw) {
    table.Rename(absl::StrCat(kLayer, hf), absl::StrCat(kLayer, native));
  }
  for (const auto& [hf, native] : kOther) {
    table.Rename(absl::StrCat(kLayer, hf), absl::StrCat(kLayer, native))
        .OnlyToNative();
  }
  return table;
}

LayoutTable Names() {
  LayoutTable table;
  table.DropHf("model.mtp.{r*}")
      .DropHf("mtp.{r*}")
      .Rename("model.llm.embed.weight",
              "model.language_model.embed_tokens.weight")
      .Rename("model.llm.{k:embed_norm|norm|layers}.{r*}",
              "model.language_model.{k}.{r*}")
      .Rename("model.llm.unembed.weight", "lm_head.weight")
      .Rename("model.audio.encoder.weight",
              "model.audio_tower.embed_audio_tokens.embed_audio_tokens.weight")
      .Rename("model.audio.final_norm.{r*}", "model.audio_tower.norm.{r*}")
      .Rename("model.visual.layers.linear_{i}.weight",
              "model.vision_tower.encoder_layers.{i}.projection.weight")
      .Rename("model.visual.layers.norm_{i}.{r*}",
              "model.vision_tower.encoder_layers.{i}.layer_norm.{r*}")
      .Rename("model.visual.final_norm.{r*}",
              "model.vision_tower.final_norm.{r*}");
  return table;
}

// Layers of both kinds of names under one root.
LayoutTable Roots() {
  LayoutTable table;
  table.Rename("model.language_model.layers.{r*}", "model.llm.layers.{r*}")
      .OnlyToNative()
      .Rename("language_model.layers.{r*}", "model.llm.layers.{r*}")
      .OnlyToNative();
  return table;
}

absl::StatusOr<std::unique_ptr<StateDictAdapter>> Create(
    const ModelConfig& config, const JsonFields& options) {
  WINDLASS_ASSIGN_OR_RETURN(const MoeOptions moe,
                            ReadMoeOptions(config, options));
  LayoutTable layers = RawMatrices(moe);
  layers.Append(OtherMatrices(moe))
      .ClosedExperts(
          {"model.llm.layers.{l}.mlp.gate.weight", SparseLayers(moe)})
      .Append(ScaleDropTable())
      .Else()
      .Append(LayerNames());
  return MakeLayoutAdapter({BlockFp8Table(moe), Roots(), layers, Names()});
}

const AdapterRegistrar registrar({
    /*name=*/"inkling",
    /*framework=*/"automodel",
    /*summary=*/"Inkling",
    /*architectures=*/{"InklingForConditionalGeneration"},
    /*model_types=*/{"inkling_mm_model"},
    /*options=*/FusedMoeAdapterOptions(),
    &Create,
    /*expert_parallel=*/true,
    /*supports=*/nullptr,
});

}  // namespace
}  // namespace windlass
