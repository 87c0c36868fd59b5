#include "windlass/core/state_dict_adapter.h"

#include "windlass/core/status_macros.h"

namespace windlass {

absl::StatusOr<std::vector<std::string>> StateDictAdapter::GetHfStateDictKeys(
    const StateDict& state_dict) const {
  ToHfOptions options;
  WINDLASS_ASSIGN_OR_RETURN(options.exclude_key_regex,
                            NameFilter::Create(".*_extra_state.*"));
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

}  // namespace windlass
