// adapter_config.json, which PEFT reads beside adapter_model.safetensors: it
// names the modules and parameters that have LoRA, and LoRA's rank.

#ifndef WINDLASS_CONVERT_PEFT_CONFIG_H_
#define WINDLASS_CONVERT_PEFT_CONFIG_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "windlass/core/state_dict.h"

namespace windlass {

inline constexpr char kPeftConfigName[] = "adapter_config.json";

// Whether any of the tensors is LoRA's.
bool HasLora(const StateDict& tensors);

// What `text`, which spoke of the tensors `in`, has to say of what was made of
// them, `out`: `text` itself where it says that already. What no longer matches
// anything goes from target_modules and target_parameters; modules that are new
// are added by their full names, parameters (stacked experts) by those that
// they have in every layer. Written as PEFT writes it. Unimplemented for a
// rank_pattern or alpha_pattern of modules whose names change; InvalidArgument
// for fields of other types than PEFT gives them.
absl::StatusOr<std::string> FollowLora(absl::string_view text,
                                       const StateDict& in,
                                       const StateDict& out);

// InvalidArgument where `text` gives LoRA another rank than a tensor has. Of
// stacked experts it is known in the native layout alone.
absl::Status CheckPeftRank(absl::string_view text, const StateDict& tensors);

// base_model_name_or_path; empty where `text` does not have it.
std::string PeftBaseModel(absl::string_view text);

}  // namespace windlass

#endif  // WINDLASS_CONVERT_PEFT_CONFIG_H_
