// Nemotron 3: experts without a gate are merged, Mamba's parameters live in F32
// holders, and the model is called "backbone" in Hugging Face's files. Nemotron
// Nano Omni has one behind towers for vision and sound.
//
// The reference: models/nemotron_v3/state_dict_adapter.py,
// NemotronV3StateDictAdapter, and models/nemotron_omni/state_dict_adapter.py,
// NemotronOmniStateDictAdapter.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "windlass/adapters/common/expert_tables.h"
#include "windlass/adapters/common/moe_options.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/dtype.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/key_rewriter.h"
#include "windlass/core/layout_op.h"
#include "windlass/core/layout_table.h"
#include "windlass/core/model_config.h"
#include "windlass/core/regex.h"
#include "windlass/core/status_macros.h"
#include "windlass/core/tensor.h"

namespace windlass {
namespace {

LayoutTable NamesTable(int64_t layers) {
  LayoutTable table;
  table.DropHf(absl::StrCat("{p:backbone|model}.layers.{l>=", layers, "}.{r*}"))
      .Else()
      .Rename("backbone.norm_f.weight", "model.norm.weight")
      .Rename("backbone.embeddings.weight", "model.embed_tokens.weight")
      // As transformers 5 has them.
      .Rename("model.norm_f.weight", "model.norm.weight")
      .OnlyToNative()
      .Rename("model.embeddings.weight", "model.embed_tokens.weight")
      .OnlyToNative()
      .Else()
      .Rename("backbone.{r*}", "model.{r*}");
  return table;
}

// Mamba's parameters, by the whole rest of the name.
NameRules HolderRules() {
  NameRules rules;
  rules.to_native =
      KeyRewriter::Create(
          {KeyRewriter::Regex(R"((?s)^(.*\.mixer\.)(A_log|D|dt_bias)$)",
                              R"(\1_fp32_params.\2)")})
          .value();
  rules.to_hf =
      KeyRewriter::Create(
          {KeyRewriter::Regex(R"((\.mixer)\._fp32_params\.)", R"(\1.)")})
          .value();
  rules.held_names =
      NameFilter::Create(
          R"((?s)\.mixer\.(?:_fp32_params\.)?(?:A_log|D|dt_bias)$)",
          NameFilter::Anchor::kSearch)
          .value();
  rules.held = DType::kF32;
  for (const char* name : {"A_log", "D", "dt_bias"}) {
    rules.examples.push_back(absl::StrCat("model.layers.0.mixer.", name));
  }
  return rules;
}

// Nothing is cast here; a file's other floats may be.
LayoutOp ForcedInFiles(DType dtype) {
  LayoutOp op;
  op.name =
      absl::StrCat("kept ", DTypeName(dtype), " whatever files are cast to");
  op.forward = op.backward = [](const LayoutContext&, std::vector<Tensor>*) {
    return absl::OkStatus();
  };
  op.held = dtype;
  return op;
}

// Nothing where the config has no experts.
absl::StatusOr<std::optional<MoeOptions>> ReadMixture(
    const ModelConfig& config, const JsonFields& options) {
  if (!options.Has("num_experts") &&
      absl::c_none_of(ModelConfig::kExpertsFields,
                      [&](const char* field) { return config.Has(field); })) {
    return std::nullopt;
  }
  WINDLASS_ASSIGN_OR_RETURN(MoeOptions moe, ReadMoeOptions(config, options));
  constexpr char kLatent[] = "moe_latent_size";
  if (config.Has(kLatent)) {
    WINDLASS_ASSIGN_OR_RETURN(moe.hidden.size, config.GetPositiveInt(kLatent));
    moe.hidden.origin =
        absl::StrCat(config.origin(), ": field \"", kLatent, "\"");
  }
  return moe;
}

// Experts in layers of what `prefix` says.
ExpertNames Experts(const std::string& hf_prefix,
                    const std::string& native_prefix) {
  constexpr char kExperts[] = "layers.{l}.mixer.experts";
  ExpertNames names;
  names.hf = hf_prefix + kExperts;
  names.native = native_prefix + kExperts;
  names.gate = "";
  names.router = hf_prefix + "layers.{l}.mixer.gate.weight";
  return names;
}

LayoutTable MixerTable(const std::optional<MoeOptions>& moe) {
  LayoutTable bias;
  bias.Map({"{p*}e_score_correction_bias"}, {"{p*}e_score_correction_bias"},
           {ForcedInFiles(DType::kF32)});
  if (!moe.has_value()) return bias.ClosedExperts({"", nullptr});
  return MixtureTable(*moe, /*param_wrapper=*/true, Experts("{p*}", "{p*}"),
                      bias);
}

// The language model, behind its scales.
absl::StatusOr<std::vector<LayoutStage>> Stages(
    const ModelConfig& config, const std::optional<MoeOptions>& moe) {
  int64_t layers = INT64_MAX;
  if (config.Has("num_hidden_layers")) {
    WINDLASS_ASSIGN_OR_RETURN(layers,
                              config.GetPositiveInt("num_hidden_layers"));
  }
  // Layers for predicting more tokens (MTP) stand at the end.
  LayoutTable mtp;
  mtp.Rename("mtp.{r*}", "mtp.{r*}").AtEnd();
  return std::vector<LayoutStage>{NamesTable(layers), HolderRules(),
                                  MixerTable(moe), mtp};
}

absl::StatusOr<std::unique_ptr<StateDictAdapter>> CreateV3(
    const ModelConfig& config, const JsonFields& options) {
  MoeOptions scales;
  WINDLASS_ASSIGN_OR_RETURN(scales.dtype, ReadDTypeOption(config, options));
  WINDLASS_ASSIGN_OR_RETURN(const auto moe, ReadMixture(config, options));
  WINDLASS_ASSIGN_OR_RETURN(auto stages, Stages(config, moe));
  // The reference writes LoRA under native names; files may have the others.
  LayoutTable lora;
  lora.Rename("base_model.model.backbone.{r*}", "base_model.model.model.{r*}")
      .OnlyToNative();
  stages.insert(stages.begin(), {BlockFp8Table(scales), lora});
  LayoutTraits traits;
  traits.write_through = true;
  return MakeLayoutAdapter(std::move(stages), traits);
}

// Older models of the architecture are not the reference's.
absl::StatusOr<bool> IsV3(const ModelConfig& config) {
  return config.Has("n_routed_experts") || config.Has("layers_block_type");
}

const AdapterRegistrar nemotron_v3({
    /*name=*/"nemotron_v3",
    /*framework=*/"automodel",
    /*summary=*/"Nemotron 3",
    /*architectures=*/{"NemotronHForCausalLM"},
    /*model_types=*/{"nemotron_h"},
    /*options=*/NestedMoeAdapterOptions(),
    &CreateV3,
    /*expert_parallel=*/true,
    /*supports=*/&IsV3,
    /*example_config=*/
    R"({"dtype": "bfloat16", "n_routed_experts": 4, "moe_intermediate_size": 8,
        "hidden_size": 5, "num_hidden_layers": 8})",
});

LayoutTable OmniNames() {
  LayoutTable table;
  table
      .Rename("mlp1.{k:0=norm|1=linear1|3=linear2}.weight",
              "vision_projector.{k}.weight")
      .Rename("sound_encoder.encoder.{r*}", "sound_encoder.{r*}")
      .Rename("language_model.{r*}", "language_model.{r*}")
      .AtEnd()
      .AtEndInHf();
  return table;
}

absl::StatusOr<std::unique_ptr<StateDictAdapter>> CreateOmni(
    const ModelConfig& config, const JsonFields& options) {
  const ModelConfig language = config.Section("llm_config");
  WINDLASS_ASSIGN_OR_RETURN(auto moe, ReadMixture(language, options));
  MoeOptions scales;
  WINDLASS_ASSIGN_OR_RETURN(scales.dtype, ReadDTypeOption(config, options));
  if (!scales.dtype.has_value()) {
    WINDLASS_ASSIGN_OR_RETURN(scales.dtype, ReadDTypeOption(language, options));
  }
  if (moe.has_value()) moe->dtype = scales.dtype;
  WINDLASS_ASSIGN_OR_RETURN(const auto stages, Stages(language, moe));
  // PEFT puts its prefix before all names.
  const std::string peft = "base_model.model.language_model.";
  LayoutTable lora;
  if (moe.has_value()) {
    lora = ExpertLoraTable(*moe, /*param_wrapper=*/true,
                           Experts(peft + "backbone.", peft + "model."));
  }
  lora.Else().Rename(peft + "backbone.{r*}", peft + "model.{r*}");
  LayoutTraits traits;
  traits.write_through = true;
  traits.exclude_native = true;
  return MakeLayoutAdapter(
      {BlockFp8Table(scales), OmniNames(), lora,
       Under{"language_model.", "language_model.", stages}},
      traits);
}

const AdapterRegistrar nemotron_omni({
    /*name=*/"nemotron_omni",
    /*framework=*/"automodel",
    /*summary=*/"Nemotron 3 Nano Omni",
    /*architectures=*/{"NemotronH_Nano_Omni_Reasoning_V3"},
    /*model_types=*/{"NemotronH_Nano_Omni_Reasoning_V3"},
    /*options=*/NestedMoeAdapterOptions(),
    &CreateOmni,
    /*expert_parallel=*/true,
    /*supports=*/nullptr,
    /*example_config=*/
    R"({"dtype": "bfloat16", "llm_config": {
          "n_routed_experts": 4, "moe_intermediate_size": 8,
          "hidden_size": 5, "num_hidden_layers": 8}})",
});

}  // namespace
}  // namespace windlass
