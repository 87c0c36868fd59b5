#include "windlass/adapters/rules/parameters.h"

#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

// A field's value as text; NotFound where it is missing.
absl::StatusOr<std::string> FieldText(const JsonFields& fields,
                                      absl::string_view name) {
  const absl::StatusOr<std::string> text = fields.GetString(name);
  if (text.ok() || absl::IsNotFound(text.status())) return text;
  const absl::StatusOr<int64_t> number = fields.GetInt(name);
  if (number.ok()) return absl::StrCat(*number);
  return fields.WrongValue(name, "a number or a dtype's name");
}

// "text_config.hidden_size", or a field wherever a model has it.
absl::StatusOr<std::string> ConfigText(const ModelConfig& config,
                                       absl::string_view path) {
  const size_t dot = path.rfind('.');
  if (dot == path.npos) return FieldText(config.FieldsWith(path), path);
  const absl::string_view field = path.substr(dot + 1);
  const ModelConfig section = config.Section(path.substr(0, dot));
  return FieldText(section.FieldsWith(field), field);
}

absl::StatusOr<std::vector<std::string>> Paths(const LocatedJson* config) {
  std::vector<std::string> paths;
  if (config == nullptr) return paths;
  if (config->kind != LocatedJson::Kind::kList) {
    WINDLASS_ASSIGN_OR_RETURN(std::string path, config->String());
    return std::vector<std::string>{path};
  }
  for (const LocatedJson& element : config->elements) {
    WINDLASS_ASSIGN_OR_RETURN(std::string path, element.String());
    paths.push_back(std::move(path));
  }
  return paths;
}

std::optional<DType> DTypeOf(absl::string_view name) {
  const std::optional<DType> dtype = ParseDType(name);
  return dtype.has_value() ? dtype : ParseTorchDType(name);
}

}  // namespace

absl::StatusOr<RulesParameters> RulesParameters::Read(
    const LocatedJson* declared, const ModelConfig& config,
    const JsonFields& options) {
  RulesParameters parameters;
  if (declared == nullptr) return parameters;
  for (const auto& [name, value] : declared->members) {
    WINDLASS_RETURN_IF_ERROR(value.ExpectMembers({"config", "default"}));
    WINDLASS_ASSIGN_OR_RETURN(const std::vector<std::string> paths,
                              Paths(value.Find("config")));
    Value& read = parameters.values_[name];
    if (options.Has(name)) {
      WINDLASS_ASSIGN_OR_RETURN(read.text, FieldText(options, name));
      read.origin = absl::StrCat("option \"", name, "\"");
      continue;
    }
    for (const std::string& path : paths) {
      absl::StatusOr<std::string> text = ConfigText(config, path);
      if (absl::IsNotFound(text.status())) continue;
      WINDLASS_ASSIGN_OR_RETURN(read.text, std::move(text));
      read.origin = absl::StrCat(config.origin(), ": field \"", path, "\"");
      break;
    }
    if (!read.origin.empty()) continue;
    const LocatedJson* fallback = value.Find("default");
    if (fallback == nullptr) {
      return absl::NotFoundError(absl::StrCat(
          config.origin(), ": found none of \"", absl::StrJoin(paths, "\", \""),
          "\" and no option \"", name, "\", which the rules need"));
    }
    read = {fallback->text, absl::StrCat("the rules' default of ", name)};
  }
  return parameters;
}

absl::StatusOr<LayoutDim> RulesParameters::Extent(const LocatedJson& value,
                                                  bool known) const {
  LayoutDim dim{value.text, 1, ""};
  if (!known && value.text == "_") return LayoutDim{"", -1, ""};
  for (absl::string_view factor : absl::StrSplit(value.text, '*')) {
    factor = absl::StripAsciiWhitespace(factor);
    int64_t number = 0;
    const auto parameter = values_.find(std::string(factor));
    if (parameter != values_.end()) {
      if (!absl::SimpleAtoi(parameter->second.text, &number) || number <= 0) {
        return absl::InvalidArgumentError(absl::StrCat(
            parameter->second.origin, ": found \"", parameter->second.text,
            "\", expected a whole number above zero"));
      }
      dim.origin = parameter->second.origin;
    } else if (!absl::SimpleAtoi(factor, &number)) {
      if (known || factor.empty() || value.kind != LocatedJson::Kind::kString) {
        return value.Unexpected("a number, or the name of a parameter");
      }
      return LayoutDim{value.text, -1, ""};
    }
    if (number <= 0) return value.Unexpected("a number above zero");
    if (__builtin_mul_overflow(dim.size, number, &dim.size)) {
      return value.Unexpected("a product below 2^63");
    }
  }
  if (dim.origin.empty()) dim.origin = "the rules";
  return dim;
}

absl::StatusOr<int64_t> RulesParameters::Number(
    const LocatedJson& value) const {
  WINDLASS_ASSIGN_OR_RETURN(const LayoutDim dim, Extent(value, /*known=*/true));
  return dim.size;
}

absl::StatusOr<DType> RulesParameters::GetDType(
    const LocatedJson& value) const {
  const auto parameter = values_.find(value.text);
  const std::string& name =
      parameter == values_.end() ? value.text : parameter->second.text;
  const std::optional<DType> dtype = DTypeOf(name);
  if (dtype.has_value()) return *dtype;
  if (parameter == values_.end()) {
    return value.Unexpected("a dtype's name, BF16 or bfloat16 for instance");
  }
  return absl::InvalidArgumentError(
      absl::StrCat(parameter->second.origin, ": found \"", name,
                   "\", expected a dtype's name"));
}

}  // namespace windlass
