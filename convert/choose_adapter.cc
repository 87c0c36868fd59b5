#include "windlass/convert/choose_adapter.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "windlass/convert/config_dtype.h"
#include "windlass/convert/peft_config.h"
#include "windlass/convert/rules_file.h"
#include "windlass/core/json.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/layout_table.h"
#include "windlass/core/model_config.h"
#include "windlass/core/regex.h"
#include "windlass/core/status_macros.h"
#include "windlass/io/model_config_file.h"

namespace windlass {
namespace {

// The text, with another dtype where that is wanted.
absl::StatusOr<ModelConfig> ParseConfig(const std::string& text,
                                        std::string origin,
                                        std::optional<DType> dtype) {
  absl::StatusOr<ModelConfig> config = ModelConfig::Parse(text, origin);
  if (!config.ok() || !dtype.has_value()) return config;
  return ModelConfig::Parse(WithConfigDType(text, *dtype), std::move(origin));
}

// Whether it is found without a config.json.
bool IsAdapterGiven(const ConversionRequest& request) {
  return request.adapter != "auto" || !request.rules.empty();
}

// The first of these files that is there.
absl::StatusOr<std::optional<Location>> FirstOf(
    Storage* storage, const std::vector<std::string>& paths) {
  for (const std::string& path : paths) {
    WINDLASS_ASSIGN_OR_RETURN(const Storage::Kind kind, storage->GetKind(path));
    if (kind != Storage::Kind::kMissing) return Location{storage, path};
  }
  return std::nullopt;
}

// That of the model which adapter_config.json names, where that is a folder.
absl::StatusOr<std::optional<Location>> FindBaseConfig(
    const ConversionRequest& request, const Location& folder) {
  WINDLASS_ASSIGN_OR_RETURN(
      const std::optional<Location> peft,
      FirstOf(folder.storage, {JoinPath(folder.path, kPeftConfigName)}));
  if (!peft.has_value()) return std::nullopt;
  WINDLASS_ASSIGN_OR_RETURN(const std::string text, ReadConfigText(*peft));
  const std::string name = PeftBaseModel(text);
  if (name.empty()) return std::nullopt;
  const absl::StatusOr<CheckpointPlace> base = FindCheckpoint(name);
  if (base.ok() && !base->is_file) {
    auto found = FirstOf(base->folder.storage, ConfigPaths(base->folder));
    if (!found.ok() || found->has_value()) return found;
  }
  if (IsAdapterGiven(request)) return std::nullopt;
  return absl::NotFoundError(
      absl::StrCat(peft->path, ": field \"base_model_name_or_path\": found \"",
                   name, "\", expected a folder with a ", kConfigName,
                   "; give a config, or an adapter by its name"));
}

// The request's, or that beside the tensors, or beside those of `like`, or the
// base model's.
absl::StatusOr<std::optional<Location>> FindConfig(
    const ConversionRequest& request, const Location& folder,
    const Checkpoint* like) {
  if (!request.config.empty()) return ResolveLocation(request.config);
  WINDLASS_ASSIGN_OR_RETURN(std::optional<Location> found,
                            FirstOf(folder.storage, ConfigPaths(folder)));
  if (found.has_value()) return found;
  if (like != nullptr && absl::c_linear_search(like->side_files, kConfigName)) {
    return Location{like->folder.storage, SideFilePath(*like, kConfigName)};
  }
  return FindBaseConfig(request, folder);
}

// Without any, an adapter that was named may do with an empty one. It says
// `dtype`, if that is given: what the adapter casts is not to be rounded twice.
absl::StatusOr<ModelConfig> LoadConfig(const ConversionRequest& request,
                                       const Location& folder,
                                       const Checkpoint* like,
                                       std::optional<DType> dtype) {
  WINDLASS_ASSIGN_OR_RETURN(const std::optional<Location> location,
                            FindConfig(request, folder, like));
  if (location.has_value()) {
    WINDLASS_ASSIGN_OR_RETURN(const std::string text,
                              ReadConfigText(*location));
    return ParseConfig(text, location->path, dtype);
  }
  if (IsAdapterGiven(request)) {
    return dtype.has_value() ? ParseConfig("{}", "no config", dtype)
                             : ModelConfig();
  }
  return absl::NotFoundError(absl::StrCat(
      JoinPath(folder.path, kConfigName),
      ": no such file; give another config, or an adapter by its name"));
}

}  // namespace

absl::StatusOr<ChosenAdapter> ChooseAdapter(const ConversionRequest& request,
                                            const Location& folder,
                                            const Checkpoint* like,
                                            std::optional<DType> dtype) {
  ChosenAdapter chosen;
  if (!request.rules.empty()) {
    if (request.output.empty()) {
      return BadRequest(absl::InvalidArgumentError(
          "found rules, expected a registered adapter in place: it is known "
          "by its name who has begun"));
    }
    WINDLASS_ASSIGN_OR_RETURN(AdapterInfo info, ReadRulesFile(request.rules));
    chosen.own_info = std::make_shared<const AdapterInfo>(std::move(info));
    chosen.info = chosen.own_info.get();
  } else if (request.adapter != "auto") {
    const auto found = AdapterRegistry::FindByName(request.adapter);
    if (!found.ok()) return BadRequest(found.status());
    chosen.info = *found;
  }
  const auto options =
      JsonFields::Parse(request.adapter_options, "adapter_options");
  if (!options.ok()) return BadRequest(options.status());
  const auto exclude = NameFilter::Create(request.exclude_key_regex);
  if (!exclude.ok()) return BadRequest(exclude.status());
  chosen.options = {*exclude, request.v4_compatible, request.device_mesh,
                    request.optimizer};

  WINDLASS_ASSIGN_OR_RETURN(const ModelConfig config,
                            LoadConfig(request, folder, like, dtype));
  if (chosen.info == nullptr) {
    WINDLASS_ASSIGN_OR_RETURN(chosen.info,
                              AdapterRegistry::FindByConfig(config));
  }
  WINDLASS_RETURN_IF_ERROR(
      BadRequest(AdapterRegistry::CheckOptions(*chosen.info, *options)));
  const DeviceMesh& mesh = request.device_mesh;
  if (mesh.ep_size > 1 && !chosen.info->expert_parallel) {
    return BadRequest(absl::InvalidArgumentError(
        absl::StrCat("adapter \"", chosen.info->name,
                     "\" has no experts to share among ", mesh.ep_size)));
  }
  WINDLASS_ASSIGN_OR_RETURN(
      chosen.adapter, AdapterRegistry::Create(*chosen.info, config, *options));
  if (request.to == Layout::kHf && options->Has(kPeftLayout)) {
    WINDLASS_ASSIGN_OR_RETURN(
        const JsonFields others,
        JsonFields::Parse(WithoutMembers(request.adapter_options, kPeftLayout),
                          "adapter_options"));
    WINDLASS_ASSIGN_OR_RETURN(
        chosen.reader, AdapterRegistry::Create(*chosen.info, config, others));
  }
  if (request.optimizer && chosen.adapter->stages() == nullptr) {
    return BadRequest(absl::UnimplementedError(absl::StrCat(
        "adapter \"", chosen.info->name,
        "\" is no table of names, expected one for an optimizer's state")));
  }
  // One without any stage takes every model as it is.
  const auto* stages = chosen.adapter->stages();
  chosen.no_experts = stages != nullptr && !stages->empty() &&
                      !KnowExperts(*stages) && config.AnnouncesExperts();
  return chosen;
}

absl::Status CheckNoExperts(const StateDict& tensors, const AdapterInfo& info) {
  const auto expert = absl::c_find_if(tensors, [](const NamedTensor& named) {
    return absl::StrContains(named.name, ".experts.");
  });
  if (expert == tensors.end()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("tensor \"", expert->name,
                   "\": found an expert, as config.json says, "
                   "expected none: the adapter \"",
                   info.name, "\" is of dense models"));
}

}  // namespace windlass
