#include "windlass/adapters/common/moe_options.h"

#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "windlass/core/kernels/float_convert.h"
#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

std::string Origin(const ModelConfig& config, absl::string_view field) {
  return absl::StrCat(config.origin(), ": field \"", field, "\"");
}

absl::StatusOr<LayoutDim> FromOption(const JsonFields& options, const char* dim,
                                     const char* option) {
  WINDLASS_ASSIGN_OR_RETURN(const int64_t value,
                            options.GetPositiveInt(option));
  return LayoutDim{dim, value, absl::StrCat("option \"", option, "\"")};
}

absl::StatusOr<LayoutDim> ReadExperts(const ModelConfig& config,
                                      const JsonFields& options) {
  if (options.Has("num_experts")) {
    return FromOption(options, "E", "num_experts");
  }
  LayoutDim experts;
  for (const char* field : ModelConfig::kExpertsFields) {
    if (!config.Has(field)) continue;
    WINDLASS_ASSIGN_OR_RETURN(const int64_t value,
                              config.GetPositiveInt(field));
    if (experts.size > 0 && experts.size != value) {
      return absl::InvalidArgumentError(
          absl::StrCat(Origin(config, field), ": found ", value, ", expected ",
                       experts.size, " as in ", experts.origin));
    }
    if (experts.size < 0) experts = {"E", value, Origin(config, field)};
  }
  if (experts.size > 0) return experts;
  return absl::NotFoundError(
      absl::StrCat(config.origin(),
                   ": found no number of experts, expected one of the "
                   "fields \"",
                   absl::StrJoin(ModelConfig::kExpertsFields, "\", \""),
                   "\" or the option \"num_experts\""));
}

absl::StatusOr<std::string> ReadWord(const JsonFields& options,
                                     const char* option,
                                     std::vector<std::string> words) {
  WINDLASS_ASSIGN_OR_RETURN(std::string word, options.GetString(option));
  if (absl::c_linear_search(words, word)) return word;
  return options.WrongValue(option, absl::StrJoin(words, " or "));
}

// Which layers are mixtures, as MiMo's configs, DeepSeek's, those of
// transformers 5, Nemotron's and Qwen's say it.
absl::StatusOr<std::function<bool(int64_t)>> ReadSparse(
    const ModelConfig& config) {
  if (!config.Has("num_hidden_layers")) return std::function<bool(int64_t)>();
  WINDLASS_ASSIGN_OR_RETURN(const int64_t layers,
                            config.GetPositiveInt("num_hidden_layers"));
  auto integer = [&config](const char* field) {
    return config.FieldsWith(field).GetInt(field);
  };
  const auto listed =
      config.FieldsWith("moe_layer_freq").GetInts("moe_layer_freq");
  if (listed.ok()) {
    return [layers = *listed](int64_t layer) {
      return layer < static_cast<int64_t>(layers.size()) && layers[layer] != 0;
    };
  }
  if (config.Has("first_k_dense_replace")) {
    WINDLASS_ASSIGN_OR_RETURN(const int64_t first,
                              integer("first_k_dense_replace"));
    int64_t every = 1;
    if (const auto frequency = integer("moe_layer_freq"); frequency.ok()) {
      every = *frequency;
    }
    return [=](int64_t layer) {
      return layer < layers && layer >= first && every > 0 &&
             layer % every == 0;
    };
  }
  if (config.Has("mlp_layer_types")) {
    WINDLASS_ASSIGN_OR_RETURN(
        const std::vector<std::string> types,
        config.FieldsWith("mlp_layer_types").GetStrings("mlp_layer_types"));
    return [=](int64_t layer) {
      return layer < static_cast<int64_t>(types.size()) &&
             types[layer] == "sparse";
    };
  }
  if (config.Has("layers_block_type")) {
    WINDLASS_ASSIGN_OR_RETURN(
        const std::vector<std::string> types,
        config.FieldsWith("layers_block_type").GetStrings("layers_block_type"));
    return [=](int64_t layer) {
      return layer < static_cast<int64_t>(types.size()) &&
             types[layer] == "moe";
    };
  }
  if (config.Has("hybrid_override_pattern")) {
    WINDLASS_ASSIGN_OR_RETURN(const std::string pattern,
                              config.FieldsWith("hybrid_override_pattern")
                                  .GetString("hybrid_override_pattern"));
    return [=](int64_t layer) {
      return layer < static_cast<int64_t>(pattern.size()) &&
             pattern[layer] == 'E';
    };
  }
  if (config.Has("decoder_sparse_step")) {
    WINDLASS_ASSIGN_OR_RETURN(const int64_t step,
                              integer("decoder_sparse_step"));
    std::vector<int64_t> dense;
    if (config.Has("mlp_only_layers")) {
      WINDLASS_ASSIGN_OR_RETURN(
          dense,
          config.FieldsWith("mlp_only_layers").GetInts("mlp_only_layers"));
    }
    return [=](int64_t layer) {
      return layer < layers && step > 0 && (layer + 1) % step == 0 &&
             !absl::c_linear_search(dense, layer);
    };
  }
  return std::function<bool(int64_t)>();
}

}  // namespace

std::vector<AdapterOption> NestedMoeAdapterOptions(std::string expert_layout) {
  return {
      {"dtype", "config.json's", "what merged expert tensors are cast to"},
      {"expert_layout", std::move(expert_layout),
       "how experts are written: per_expert, or fused as transformers 5 has "
       "them; both are read"},
      {"moe_intermediate_size", "config.json's", "an expert's hidden units"},
      {"num_experts", "config.json's", "how many experts a layer has"},
      {"peft_layout", "0.19",
       "orientation of fused expert LoRA: that of PEFT 0.19 or 0.18; read by "
       "the shapes where they tell"},
      {"shared_lora_a", "equal",
       "lora_A that an expert's gate and up share: they must be equal, or the "
       "one of the gate is taken"},
  };
}

std::vector<AdapterOption> FusedMoeAdapterOptions() {
  std::vector<AdapterOption> options;
  for (AdapterOption& option : NestedMoeAdapterOptions()) {
    if (absl::c_linear_search(
            std::vector<std::string>{"dtype", "moe_intermediate_size",
                                     "num_experts"},
            option.name)) {
      options.push_back(std::move(option));
    }
  }
  return options;
}

std::vector<AdapterOption> MoeAdapterOptions() {
  std::vector<AdapterOption> options = NestedMoeAdapterOptions();
  options.push_back({"uses_model_prefix", "as the names at hand",
                     "whether split experts are named model.layers..."});
  return options;
}

absl::StatusOr<std::optional<DType>> ReadDTypeOption(
    const ModelConfig& config, const JsonFields& options) {
  if (!options.Has("dtype")) return config.FindDType();
  WINDLASS_ASSIGN_OR_RETURN(const std::string name, options.GetString("dtype"));
  const std::optional<DType> dtype = ParseTorchDType(name);
  if (dtype.has_value() && IsConvertible(*dtype)) return dtype;
  return options.WrongValue("dtype", "a torch float dtype such as bfloat16");
}

absl::StatusOr<MoeOptions> ReadMoeOptions(
    const ModelConfig& config, const JsonFields& options,
    absl::string_view intermediate_field) {
  MoeOptions moe;
  WINDLASS_ASSIGN_OR_RETURN(moe.experts, ReadExperts(config, options));
  if (options.Has("moe_intermediate_size")) {
    WINDLASS_ASSIGN_OR_RETURN(
        moe.intermediate, FromOption(options, "I", "moe_intermediate_size"));
  } else {
    moe.intermediate = {"I", -1, Origin(config, intermediate_field)};
    WINDLASS_ASSIGN_OR_RETURN(moe.intermediate.size,
                              config.GetPositiveInt(intermediate_field));
  }
  moe.hidden.name = "H";
  if (config.Has("hidden_size")) {
    moe.hidden.origin = Origin(config, "hidden_size");
    WINDLASS_ASSIGN_OR_RETURN(moe.hidden.size,
                              config.GetPositiveInt("hidden_size"));
  }
  WINDLASS_ASSIGN_OR_RETURN(moe.dtype, ReadDTypeOption(config, options));
  WINDLASS_ASSIGN_OR_RETURN(moe.sparse, ReadSparse(config));
  if (options.Has("uses_model_prefix")) {
    WINDLASS_ASSIGN_OR_RETURN(moe.uses_model_prefix,
                              options.GetBool("uses_model_prefix"));
  }
  if (options.Has("expert_layout")) {
    WINDLASS_ASSIGN_OR_RETURN(
        moe.expert_layout,
        ReadWord(options, "expert_layout", {"per_expert", "fused"}));
  }
  if (options.Has("peft_layout")) {
    WINDLASS_ASSIGN_OR_RETURN(
        moe.peft_layout, ReadWord(options, "peft_layout", {"0.19", "0.18"}));
  }
  if (options.Has("shared_lora_a")) {
    WINDLASS_ASSIGN_OR_RETURN(
        const std::string shared,
        ReadWord(options, "shared_lora_a", {"equal", "gate"}));
    moe.gate_lora_a = shared == "gate";
  }
  return moe;
}

}  // namespace windlass
