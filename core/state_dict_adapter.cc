#include "windlass/core/state_dict_adapter.h"

#include "absl/strings/str_cat.h"
#include "windlass/core/status_macros.h"

namespace windlass {

absl::Status CheckMesh(const DeviceMesh& mesh) {
  const auto check = [](absl::string_view dimension, int size, int rank) {
    if (size >= 1 && rank >= 0 && rank < size) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(
        "device mesh: found rank ", rank, " of ", size, " in \"", dimension,
        "\", expected a rank from 0 on below the size"));
  };
  WINDLASS_RETURN_IF_ERROR(check("ep", mesh.ep_size, mesh.ep_rank));
  return check("ep_shard", mesh.ep_shard_size, mesh.ep_shard_rank);
}

absl::StatusOr<std::vector<std::string>> StateDictAdapter::GetHfStateDictKeys(
    const StateDict& state_dict) const {
  ToHfOptions options;
  WINDLASS_ASSIGN_OR_RETURN(options.exclude_key_regex,
                            NameFilter::Create(kExtraStates));
  WINDLASS_ASSIGN_OR_RETURN(const StateDict hf, ToHf(state_dict, options));
  std::vector<std::string> keys;
  keys.reserve(hf.size());
  for (const auto& [name, tensor] : hf) keys.push_back(name);
  return keys;
}

std::vector<std::pair<std::string, DType>>
StateDictAdapter::ForcedHfDtypeMapping(const StateDict&) const {
  return {};
}

std::vector<std::pair<std::string, DType>>
StateDictAdapter::ForcedNativeDtypeMapping(const StateDict&) const {
  return {};
}

}  // namespace windlass
