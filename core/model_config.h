// ModelConfig: a model's config.json.
//
//   absl::StatusOr<ModelConfig> config = ModelConfig::Parse(text, path);
//   absl::StatusOr<int64_t> experts = config->GetPositiveInt("num_experts");

#ifndef WINDLASS_CORE_MODEL_CONFIG_H_
#define WINDLASS_CORE_MODEL_CONFIG_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "windlass/core/dtype.h"
#include "windlass/core/json_fields.h"

namespace windlass {

// A field is looked up in `text_config` first, where the config has one (vision
// language models keep their text model's fields there), then at the top.
// Errors are those of JsonFields. Immutable, thread-safe, cheap to copy.
class ModelConfig {
 public:
  // An empty config: every field is missing.
  ModelConfig() = default;

  static absl::StatusOr<ModelConfig> Parse(absl::string_view text,
                                           std::string origin = "config.json");

  const std::string& origin() const { return top_.origin(); }

  absl::StatusOr<int64_t> GetPositiveInt(absl::string_view field) const {
    return FieldsWith(field).GetPositiveInt(field);
  }
  absl::StatusOr<bool> GetBoolOr(absl::string_view field, bool fallback) const {
    return FieldsWith(field).GetBoolOr(field, fallback);
  }

  bool Has(absl::string_view field) const {
    return FieldsWith(field).Has(field);
  }

  // The fields that hold `field`; for everything else that JsonFields reads.
  const JsonFields& FieldsWith(absl::string_view field) const {
    return text_.Has(field) ? text_ : top_;
  }

  // The config within this one, by the names of objects with dots between:
  // "thinker_config", "text_config.linear_attn_config". All its fields are
  // missing where it is.
  ModelConfig Section(absl::string_view path) const;

  // The fields that a model's number of experts goes by; transformers renames
  // them now and then.
  static constexpr const char* kExpertsFields[] = {
      "num_experts", "num_local_experts", "n_routed_experts",
      "moe_num_experts"};
  // Whether the model has experts: its text, or that of its thinker.
  bool AnnouncesExperts() const;

  // `architectures` and `model_type` at the top level; empty where missing.
  absl::StatusOr<std::vector<std::string>> Architectures() const;
  absl::StatusOr<std::string> ModelType() const;

  // `dtype` or, as older files call it, `torch_dtype`; at the top or else in
  // text_config, as the reference looks for it; BF16 where there is none.
  absl::StatusOr<DType> GetDType() const;
  // The same, and nothing where there is none.
  absl::StatusOr<std::optional<DType>> FindDType() const;

 private:
  JsonFields top_;
  JsonFields text_;
};

}  // namespace windlass

#endif  // WINDLASS_CORE_MODEL_CONFIG_H_
