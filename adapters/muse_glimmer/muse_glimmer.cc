// Muse Glimmer: names differ, and the native model keeps two vectors of
// rotary frequencies that files do not have.
//
// The reference: models/muse_glimmer/state_dict_adapter.py,
// MuseGlimmerStateDictAdapter.

#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/dtype.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/layout_op.h"
#include "windlass/core/layout_table.h"
#include "windlass/core/model_config.h"
#include "windlass/core/regex.h"
#include "windlass/core/state_dict.h"
#include "windlass/core/status_macros.h"
#include "windlass/core/tensor.h"

namespace windlass {
namespace {

// Other configs are of models that have the native model's names.
constexpr char kArchitecture[] = "MuseGlimmerForConditionalGeneration";

constexpr char kTextRotary[] = "model.rotary_emb.freqs";
constexpr char kVisionRotary[] = "model.vision_encoder.rotary_emb.inv_freq";

struct Rotary {
  double theta = 0;
  int64_t dim = 0;
};

// 1 / theta^(2i / dim), F32 [dim / 2], each step rounded to F32.
LayoutOp Frequencies(const Rotary& rotary) {
  auto forward = [rotary](const LayoutContext&,
                          std::vector<Tensor>* tensors) -> absl::Status {
    std::string bytes;
    for (int64_t i = 0; i + 1 < rotary.dim; i += 2) {
      const float exponent =
          static_cast<float>(i) / static_cast<float>(rotary.dim);
      const float power = std::pow(rotary.theta, static_cast<double>(exponent));
      const float frequency = 1.0f / power;
      bytes.append(reinterpret_cast<const char*>(&frequency),
                   sizeof(frequency));
    }
    WINDLASS_ASSIGN_OR_RETURN(
        tensors->front(),
        Tensor::FromBytes(DType::kF32, {rotary.dim / 2}, std::move(bytes)));
    return absl::OkStatus();
  };
  auto backward = [](const LayoutContext&, std::vector<Tensor>*) {
    return absl::OkStatus();
  };
  return layout::OneWay("rotary frequencies", 1, 1, forward, backward);
}

// A model has a few thousand of them at most.
absl::StatusOr<Rotary> CheckRotary(const ModelConfig& config, Rotary rotary,
                                   absl::string_view model) {
  if (rotary.theta > 0 && rotary.dim >= 2 && rotary.dim <= 1 << 20) {
    return rotary;
  }
  return absl::InvalidArgumentError(
      absl::StrCat(config.origin(), ": found rope_theta ", rotary.theta,
                   " and ", rotary.dim, " rotary dimensions of the ", model,
                   ", expected a positive number and 2 or more"));
}

absl::StatusOr<double> ReadTheta(const ModelConfig& config) {
  const JsonFields rope =
      config.FieldsWith("rope_parameters").GetObject("rope_parameters");
  if (rope.Has("rope_theta")) return rope.GetNumber("rope_theta");
  return config.FieldsWith("rope_theta").GetNumber("rope_theta");
}

absl::StatusOr<int64_t> ReadHeadDim(const ModelConfig& config) {
  WINDLASS_ASSIGN_OR_RETURN(const int64_t hidden,
                            config.GetPositiveInt("hidden_size"));
  WINDLASS_ASSIGN_OR_RETURN(const int64_t heads,
                            config.GetPositiveInt("num_attention_heads"));
  return hidden / heads;
}

absl::StatusOr<Rotary> ReadTextRotary(const ModelConfig& config) {
  Rotary rotary;
  WINDLASS_ASSIGN_OR_RETURN(rotary.theta, ReadTheta(config));
  if (config.Has("head_dim")) {
    WINDLASS_ASSIGN_OR_RETURN(rotary.dim, config.GetPositiveInt("head_dim"));
  } else {
    WINDLASS_ASSIGN_OR_RETURN(rotary.dim, ReadHeadDim(config));
  }
  return CheckRotary(config, rotary, "text model");
}

absl::StatusOr<Rotary> ReadVisionRotary(const ModelConfig& config) {
  const ModelConfig vision = config.Section("vision_config");
  Rotary rotary;
  WINDLASS_ASSIGN_OR_RETURN(rotary.theta, ReadTheta(vision));
  WINDLASS_ASSIGN_OR_RETURN(rotary.dim, ReadHeadDim(vision));
  rotary.dim /= 2;
  return CheckRotary(config, rotary, "vision model");
}

LayoutTable Names() {
  LayoutTable table;
  table
      .Rename(
          "model.language_model.layers.{l}."
          "{k:post_attention_layernorm=post_attn_norm|"
          "pre_feedforward_layernorm=post_attention_layernorm|"
          "post_feedforward_layernorm=post_ffn_norm}.{r*}",
          "model.layers.{l}.{k}.{r*}")
      .Rename("model.language_model.layers.{l}.self_attn.gate_proj.{r*}",
              "model.layers.{l}.self_attn.output_gate_proj.{r*}")
      .Rename("model.vision_tower.patch_embedder.patch_embedding.weight",
              "model.vision_encoder.conv1_linear.weight")
      .Rename(
          "model.vision_tower.patch_embedder.position_embedding_table."
          "weight",
          "model.vision_encoder.positional_embedding_vlm")
      .Rename("model.vision_adapter.{k:fc1=c_fc|fc2=c_proj}.weight",
              "model.vision_adapter.{k}.weight")
      .Rename("model.vision_tower.layers.{l}.attn.proj.{r*}",
              "model.vision_encoder.transformer.{l}.attn.o_proj.{r*}")
      .Rename("model.vision_tower.layers.{l}.mlp.{k:fc1=c_fc|fc2=c_proj}.{r*}",
              "model.vision_encoder.transformer.{l}.mlp.{k}.{r*}")
      .Rename("model.vision_tower.layers.{l}.{k:norm1=ln_1|norm2=ln_2}.{r*}",
              "model.vision_encoder.transformer.{l}.{k}.{r*}")
      .DropHf("model.vision_tower.rotary_emb.inv_freq")
      .DropNative(kTextRotary)
      .DropNative(kVisionRotary)
      .Else()
      .Rename("model.language_model.{k:layers|embed_tokens|norm}.{r*}",
              "model.{k}.{r*}")
      .Rename("model.vision_tower.layers.{r*}",
              "model.vision_encoder.transformer.{r*}")
      .Else()
      .Rename("model.language_model.{r*}", "model.{r*}")
      .OnlyToNative()
      .Rename("model.vision_tower.{r*}", "model.vision_encoder.{r*}");
  return table;
}

// Names are changed, and vectors made, where a file has HF's names at all.
absl::StatusOr<std::string> NamesOf(const StateDict& hf) {
  const bool canonical = absl::c_any_of(hf, [](const NamedTensor& named) {
    return absl::StartsWith(named.name, "model.language_model.") ||
           absl::StartsWith(named.name, "model.vision_tower.");
  });
  return std::string(canonical ? "canonical" : "native");
}

absl::StatusOr<std::string> RotaryOf(const StateDict& hf) {
  return std::string(
      hf.Contains("model.language_model.rotary_emb.freqs") ? "given" : "made");
}

absl::StatusOr<std::unique_ptr<StateDictAdapter>> Create(
    const ModelConfig& config, const JsonFields&) {
  LayoutTraits traits;
  traits.exclude_anchor = NameFilter::Anchor::kSearch;
  traits.write_through = true;
  WINDLASS_ASSIGN_OR_RETURN(const auto architectures, config.Architectures());
  if (!absl::c_linear_search(architectures, kArchitecture)) {
    return MakeLayoutAdapter({}, traits);
  }
  WINDLASS_ASSIGN_OR_RETURN(const Rotary text, ReadTextRotary(config));
  WINDLASS_ASSIGN_OR_RETURN(const Rotary vision, ReadVisionRotary(config));
  constexpr char kAny[] = "model.{k:language_model|vision_tower}.{r*}";
  LayoutTable made;
  made.Synthesize(kTextRotary, kAny, {Frequencies(text)});
  LayoutTable canonical = Names();
  canonical.OneOf({"rotary", "made", "", &RotaryOf},
                  {{"made", made}, {"given", {}}});
  canonical.Synthesize(kVisionRotary, kAny, {Frequencies(vision)});
  LayoutTable table;
  table.OneOf({"names", "canonical", "", &NamesOf},
              {{"canonical", canonical}, {"native", {}}});
  return MakeLayoutAdapter({table}, traits);
}

const AdapterRegistrar registrar({
    /*name=*/"muse_glimmer",
    /*framework=*/"automodel",
    /*summary=*/"Muse Glimmer",
    /*architectures=*/{kArchitecture, "MuseGlimmerForCausalLM"},
    /*model_types=*/{"muse_glimmer"},
    /*options=*/{},
    &Create,
    /*expert_parallel=*/false,
    /*supports=*/nullptr,
    /*example_config=*/
    R"({"architectures": ["MuseGlimmerForConditionalGeneration"],
        "text_config": {"rope_theta": 10000, "head_dim": 8},
        "vision_config": {"rope_theta": 10000, "hidden_size": 32,
                          "num_attention_heads": 4}})",
});

}  // namespace
}  // namespace windlass
