#include "windlass/core/model_config.h"

#include <optional>
#include <utility>

#include "absl/strings/str_split.h"
#include "windlass/core/status_macros.h"

namespace windlass {

absl::StatusOr<ModelConfig> ModelConfig::Parse(absl::string_view text,
                                               std::string origin) {
  ModelConfig config;
  WINDLASS_ASSIGN_OR_RETURN(config.top_,
                            JsonFields::Parse(text, std::move(origin)));
  config.text_ = config.top_.GetObject("text_config");
  return config;
}

absl::StatusOr<std::vector<std::string>> ModelConfig::Architectures() const {
  if (!top_.Has("architectures")) return std::vector<std::string>();
  return top_.GetStrings("architectures");
}

absl::StatusOr<std::string> ModelConfig::ModelType() const {
  if (!top_.Has("model_type")) return std::string();
  return top_.GetString("model_type");
}

ModelConfig ModelConfig::Section(absl::string_view path) const {
  ModelConfig section = *this;
  for (absl::string_view name : absl::StrSplit(path, '.')) {
    section.top_ = section.top_.GetObject(name);
  }
  section.text_ = section.top_.GetObject("text_config");
  return section;
}

bool ModelConfig::AnnouncesExperts() const {
  for (const ModelConfig& config : {*this, Section("thinker_config")}) {
    for (const char* field : kExpertsFields) {
      if (config.GetPositiveInt(field).ok()) return true;
    }
  }
  return false;
}

absl::StatusOr<DType> ModelConfig::GetDType() const {
  WINDLASS_ASSIGN_OR_RETURN(const std::optional<DType> dtype, FindDType());
  return dtype.value_or(DType::kBF16);
}

absl::StatusOr<std::optional<DType>> ModelConfig::FindDType() const {
  for (const JsonFields* fields : {&top_, &text_}) {
    for (const char* field : {"dtype", "torch_dtype"}) {
      if (!fields->Has(field)) continue;
      WINDLASS_ASSIGN_OR_RETURN(const std::string name,
                                fields->GetString(field));
      if (std::optional<DType> dtype = ParseTorchDType(name)) return dtype;
      return fields->WrongValue(field, "a torch dtype such as bfloat16");
    }
  }
  return std::nullopt;
}

}  // namespace windlass
