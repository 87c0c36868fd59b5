#include "windlass/adapters/qwen3_5_moe/mtp_layout.h"

#include <algorithm>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"
#include "windlass/core/state_dict.h"
#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

constexpr char kOption[] = "mtp_expert_hf_layout";

// Experts that were read of a tensor an expert stand behind the rest of MTP.
std::string MtpLayoutOf(const StateDict& native) {
  const auto expert = [](const NamedTensor& named) {
    return absl::StartsWith(named.name, "mtp.layers.") &&
           absl::StrContains(named.name, ".mlp.experts.");
  };
  const auto rest = [&expert](const NamedTensor& named) {
    return absl::StartsWith(named.name, "mtp.") && !expert(named);
  };
  const auto first = std::find_if(native.begin(), native.end(), expert);
  const bool split = first != native.end() &&
                     std::any_of(native.begin(), first, rest) &&
                     std::none_of(first, native.end(), rest);
  return split ? "per_expert" : "fused";
}

}  // namespace

AdapterOption MtpLayoutOption() {
  return {kOption, "as they came",
          "how MTP's experts are written: split, a tensor an expert, or "
          "grouped"};
}

absl::StatusOr<LayoutChoice> ReadMtpLayout(const ModelConfig& config,
                                           const JsonFields& options) {
  LayoutChoice choice;
  choice.name = kOption;
  choice.on_export = "fused";
  const JsonFields& fields =
      options.Has(kOption) ? options : config.FieldsWith(kOption);
  if (!fields.Has(kOption)) {
    choice.detect_on_export = &MtpLayoutOf;
    return choice;
  }
  WINDLASS_ASSIGN_OR_RETURN(const std::string word, fields.GetString(kOption));
  // The reference's spellings.
  const std::string layout =
      absl::StrReplaceAll(absl::AsciiStrToLower(word), {{"_", "-"}});
  if (layout == "split" || layout == "per-expert" ||
      layout == "per-expert-safetensors") {
    choice.on_export = "per_expert";
  } else if (layout != "grouped" && layout != "group") {
    return fields.WrongValue(kOption, "split or grouped");
  }
  return choice;
}

}  // namespace windlass
