#include "windlass/testing/golden_case.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/json.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/model_config.h"
#include "windlass/core/state_dict_adapter.h"
#include "windlass/core/status_macros.h"
#include "windlass/io/checkpoint.h"
#include "windlass/io/storage/storage.h"
#include "windlass/testing/tensors.h"

namespace windlass {
namespace {

class Case {
 public:
  static absl::StatusOr<Case> Load(const std::string& folder) {
    Case golden;
    golden.folder_ = folder;
    WINDLASS_ASSIGN_OR_RETURN(const Location location, ResolveLocation(folder));
    WINDLASS_ASSIGN_OR_RETURN(
        const std::string text,
        ReadFile(*location.storage, JoinPath(location.path, "case.json"),
                 64 << 20));
    WINDLASS_ASSIGN_OR_RETURN(golden.json_, ParseJson(text));
    WINDLASS_ASSIGN_OR_RETURN(
        const ModelConfig config,
        ModelConfig::Parse(golden.json_["config"].dump()));
    WINDLASS_ASSIGN_OR_RETURN(
        const JsonFields options,
        JsonFields::Parse(golden.json_["options"].dump(), "options"));
    WINDLASS_ASSIGN_OR_RETURN(const AdapterInfo* by_config,
                              AdapterRegistry::FindByConfig(config));
    if (by_config->name != golden.json_["adapter"].get<std::string>()) {
      return absl::InternalError(
          absl::StrCat("the config selects adapter ", by_config->name));
    }
    WINDLASS_ASSIGN_OR_RETURN(
        golden.adapter_, AdapterRegistry::Create(*by_config, config, options));
    return golden;
  }

  absl::Status Run() const {
    for (size_t i = 0; i < json_["steps"].size(); ++i) {
      const Json& step = json_["steps"][i];
      WINDLASS_RETURN_IF_ERROR(Annotate(RunStep(step), "step ", i, " (",
                                        step["op"].get<std::string>(), ")"));
    }
    return CheckFacts();
  }

 private:
  // A file's tensors in the order of the reference's dict.
  absl::StatusOr<StateDict> LoadFile(const std::string& name) const {
    WINDLASS_ASSIGN_OR_RETURN(const Checkpoint file,
                              OpenCheckpoint(JoinPath(folder_, name)));
    if (!json_["key_order"].contains(name)) return file.tensors.Copy();
    StateDict ordered;
    for (const Json& key : json_["key_order"][name]) {
      const Tensor* tensor = file.tensors.Find(key.get<std::string>());
      if (tensor == nullptr) {
        return absl::InternalError(absl::StrCat(name, " lacks ", key.dump()));
      }
      WINDLASS_RETURN_IF_ERROR(ordered.Insert(key.get<std::string>(), *tensor));
    }
    return ordered;
  }

  absl::Status RunStep(const Json& step) const {
    WINDLASS_ASSIGN_OR_RETURN(const StateDict input,
                              LoadFile(step["input"].get<std::string>()));
    absl::StatusOr<StateDict> found = Convert(step, input);
    if (step["expected"].is_null()) {
      if (!found.ok()) return absl::OkStatus();
      return absl::InternalError("expected an error, found none");
    }
    if (!found.ok()) return found.status();
    WINDLASS_ASSIGN_OR_RETURN(const StateDict expected,
                              LoadFile(step["expected"].get<std::string>()));
    const std::string difference = Difference(*found, expected);
    if (difference.empty()) return absl::OkStatus();
    return absl::InternalError(difference);
  }

  absl::StatusOr<StateDict> Convert(const Json& step,
                                    const StateDict& input) const {
    ToHfOptions to_hf;
    if (step["mesh"].is_object()) {
      to_hf.device_mesh.ep_size = step["mesh"]["ep_size"].get<int>();
      to_hf.device_mesh.ep_rank = step["mesh"]["ep_rank"].get<int>();
    }
    const Json& options = step["options"];
    to_hf.v4_compatible = options.value("v4_compatible", false);
    WINDLASS_ASSIGN_OR_RETURN(
        to_hf.exclude_key_regex,
        NameFilter::Create(options.value("exclude_key_regex", "")));
    const std::string op = step["op"].get<std::string>();
    if (op == "from_hf") {
      return adapter_->FromHf(input, FromHfOptions{to_hf.device_mesh});
    }
    if (op == "to_hf") return adapter_->ToHf(input, to_hf);
    const std::string key = options["key"].get<std::string>();
    const Tensor* tensor = input.Find(key);
    if (tensor == nullptr) return absl::InternalError("no such key");
    WINDLASS_ASSIGN_OR_RETURN(
        std::vector<NamedTensor> tensors,
        adapter_->ConvertSingleTensorToHf(key, *tensor, to_hf));
    StateDict dict;
    for (NamedTensor& named : tensors) {
      WINDLASS_RETURN_IF_ERROR(
          dict.Insert(std::move(named.name), std::move(named.tensor)));
    }
    return dict;
  }

  // What some cases say of the adapter besides conversions.
  absl::Status CheckFacts() const {
    if (!json_.contains("hf_state_dict_keys")) return absl::OkStatus();
    WINDLASS_ASSIGN_OR_RETURN(const StateDict native,
                              LoadFile("native.safetensors"));
    WINDLASS_ASSIGN_OR_RETURN(const StateDict hf,
                              LoadFile("hf_out.safetensors"));
    WINDLASS_ASSIGN_OR_RETURN(const auto keys,
                              adapter_->GetHfStateDictKeys(native));
    WINDLASS_RETURN_IF_ERROR(Expect("hf_state_dict_keys", keys));
    Json forced = Json::object();
    for (const auto& [key, dtype] : adapter_->ForcedHfDtypeMapping(hf)) {
      forced[key] = std::string(DTypeName(dtype));
    }
    WINDLASS_RETURN_IF_ERROR(Expect("forced_hf_dtype_mapping", forced));
    WINDLASS_RETURN_IF_ERROR(
        Expect("supports_write_through_checkpoint_load",
               adapter_->SupportsWriteThroughCheckpointLoad()));
    Json singles = Json::object();
    for (const auto& [name, tensor] : native) {
      WINDLASS_ASSIGN_OR_RETURN(
          const auto tensors,
          adapter_->ConvertSingleTensorToHf(name, tensor, {}));
      singles[name] = Json::array();
      for (const NamedTensor& named : tensors) {
        singles[name].push_back(named.name);
      }
    }
    return Expect("convert_single_tensor_to_hf", singles);
  }

  absl::Status Expect(const std::string& fact, const Json& found) const {
    if (!json_.contains(fact) || json_[fact] == found) return absl::OkStatus();
    return absl::InternalError(absl::StrCat(fact, ": found ", found.dump(),
                                            ", expected ", json_[fact].dump()));
  }

  std::string folder_;
  Json json_;
  std::unique_ptr<StateDictAdapter> adapter_;
};

void Find(Storage& storage, const std::string& folder,
          std::vector<std::string>* found) {
  const auto entries = storage.List(folder);
  if (!entries.ok()) return;
  for (const Storage::Entry& entry : *entries) {
    if (entry.name == "case.json") {
      found->push_back(folder);
    } else if (entry.kind == Storage::Kind::kDirectory) {
      Find(storage, JoinPath(folder, entry.name), found);
    }
  }
}

}  // namespace

std::vector<std::string> FindGoldenCases(const std::string& root) {
  std::vector<std::string> found;
  const auto location = ResolveLocation(root);
  if (location.ok()) Find(*location->storage, location->path, &found);
  std::sort(found.begin(), found.end());
  return found;
}

absl::Status RunGoldenCase(const std::string& folder) {
  WINDLASS_ASSIGN_OR_RETURN(const Case golden, Case::Load(folder));
  return golden.Run();
}

}  // namespace windlass
