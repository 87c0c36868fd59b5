// BAGEL: the native model is rooted at "model.". Of a file's parts, training to
// understand (stage 1) takes a language model and a vision tower, training to
// generate (stage 2) the twins of its layers for generation, too; the image
// autoencoder is loaded by other means. A name of no part is an error.
//
// The reference: models/bagel/state_dict_adapter.py, BagelStateDictAdapter.

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/layout_table.h"
#include "windlass/core/model_config.h"
#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

constexpr const char* kUnderstanding[] = {
    "language_model.model.embed_tokens.weight",
    "language_model.model.norm.weight",
    "language_model.lm_head.weight",
    "language_model.model.layers.{l}.self_attn.{k:q_proj|k_proj|v_proj}."
    "{w:weight|bias}",
    "language_model.model.layers.{l}.self_attn.{k:o_proj|q_norm|k_norm}.weight",
    "language_model.model.layers.{l}.mlp.{k:gate_proj|up_proj|down_proj}."
    "weight",
    "language_model.model.layers.{l}."
    "{k:input_layernorm|post_attention_layernorm}.weight",
    "vit_model.{r*}",
    "connector.{k:fc1|fc2}.{w:weight|bias}",
    "vit_pos_embed.pos_embed",
};

constexpr const char* kGeneration[] = {
    "language_model.model.norm_moe_gen.weight",
    "language_model.model.layers.{l}.self_attn."
    "{k:q_proj|k_proj|v_proj}_moe_gen.{w:weight|bias}",
    "language_model.model.layers.{l}.self_attn."
    "{k:o_proj|q_norm|k_norm}_moe_gen.weight",
    "language_model.model.layers.{l}.mlp_moe_gen."
    "{k:gate_proj|up_proj|down_proj}.weight",
    "language_model.model.layers.{l}."
    "{k:input_layernorm|post_attention_layernorm}_moe_gen.weight",
    "time_embedder.mlp.{k:0|2}.{w:weight|bias}",
    "{k:vae2llm|llm2vae}.{w:weight|bias}",
    "latent_pos_embed.pos_embed",
};

LayoutTable Parts(bool generation, bool strict) {
  LayoutTable table;
  for (const char* name : kUnderstanding) {
    table.Rename(name, absl::StrCat("model.", name));
  }
  for (const char* name : kGeneration) {
    if (generation) {
      table.Rename(name, absl::StrCat("model.", name)).AtEndAsTheyCome();
    } else {
      table.DropHf(name);
    }
  }
  table.DropHf("{k:encoder|decoder}.{r*}")
      .Else()
      .Rename("{r*}", "model.{r*}")
      .OnlyToHf();
  return strict ? table.Closed() : table.DropHf("{r*}");
}

// Trained as the reference's recipes do where nothing says it: to generate, so
// that nothing of the model is left out.
absl::StatusOr<bool> ReadGeneration(const ModelConfig& config,
                                    const JsonFields& options) {
  if (!options.Has("stage")) return config.GetBoolOr("visual_gen", true);
  WINDLASS_ASSIGN_OR_RETURN(const std::string stage,
                            options.GetString("stage"));
  if (stage == "stage1" || stage == "stage2") return stage == "stage2";
  return options.WrongValue("stage", "stage1 or stage2");
}

absl::StatusOr<std::unique_ptr<StateDictAdapter>> Create(
    const ModelConfig& config, const JsonFields& options) {
  WINDLASS_ASSIGN_OR_RETURN(const bool generation,
                            ReadGeneration(config, options));
  WINDLASS_ASSIGN_OR_RETURN(const bool strict,
                            options.GetBoolOr("strict", true));
  LayoutTable unrooted;
  unrooted.DropHf("{r*}_extra_state")
      .Else()
      .Rename("model.{r*}", "{r*}")
      .OnlyToNative();
  LayoutTraits traits;
  traits.exclude_native = true;
  traits.write_through = true;
  return MakeLayoutAdapter({unrooted, Parts(generation, strict)}, traits);
}

absl::StatusOr<bool> IsBagel(const ModelConfig& config) {
  WINDLASS_ASSIGN_OR_RETURN(const std::string type, config.ModelType());
  return type == "bagel";
}

const AdapterRegistrar registrar({
    /*name=*/"bagel",
    /*framework=*/"automodel",
    /*summary=*/"BAGEL",
    /*architectures=*/
    {"BagelForUnifiedMultimodal", "BagelForConditionalGeneration"},
    /*model_types=*/{"bagel"},
    /*options=*/
    {{"stage", "by config.json's visual_gen",
      "stage1 leaves out what is for generation, stage2 takes it"},
     {"strict", "true", "refuse names of no known part; false drops them"}},
    &Create,
    /*expert_parallel=*/false,
    /*supports=*/&IsBagel,
    /*example_config=*/R"({"model_type": "bagel", "visual_gen": true})",
});

}  // namespace
}  // namespace windlass
