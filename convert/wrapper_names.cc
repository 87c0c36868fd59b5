#include "windlass/convert/wrapper_names.h"

#include <utility>

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

constexpr absl::string_view kSegments[] = {
    "_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module."};
constexpr absl::string_view kFirst = "module.";

// Quick, and seldom wrong: all segments have it.
bool MayBeWrapped(absl::string_view name) {
  if (absl::StartsWith(name, kFirst)) return true;
  for (size_t at = name.find('_'); at != name.npos;
       at = name.find('_', at + 1)) {
    if (absl::StartsWith(name.substr(at), "_mod")) return true;
  }
  return false;
}

std::string WithoutWrappers(absl::string_view name) {
  std::string kept;
  for (bool at_start = true; !name.empty(); at_start = false) {
    while (absl::c_any_of(kSegments,
                          [&name](absl::string_view segment) {
                            return absl::ConsumePrefix(&name, segment);
                          }) ||
           (at_start && absl::ConsumePrefix(&name, kFirst))) {
    }
    const size_t end = std::min(name.find('.'), name.size() - 1) + 1;
    absl::StrAppend(&kept, name.substr(0, end));
    name.remove_prefix(end);
  }
  return kept;
}

}  // namespace

absl::StatusOr<StateDict> StripWrapperNames(const StateDict& tensors,
                                            const WrapperNames& names) {
  const bool none =
      names.prefixes.empty() &&
      (names.keep || !absl::c_any_of(tensors, [](const NamedTensor& named) {
         return MayBeWrapped(named.name) &&
                WithoutWrappers(named.name) != named.name;
       }));
  if (none) return StateDict();
  std::vector<std::string> prefixes = names.prefixes;
  for (std::string& prefix : prefixes) {
    if (!absl::EndsWith(prefix, ".")) prefix += '.';
  }
  std::vector<bool> used(prefixes.size());
  StateDictBuilder stripped;
  stripped.Reserve(tensors.size());
  for (const NamedTensor& named : tensors) {
    std::string name = names.keep ? named.name : WithoutWrappers(named.name);
    for (size_t i = 0; i < prefixes.size(); ++i) {
      if (!absl::StartsWith(name, prefixes[i])) continue;
      name.erase(0, prefixes[i].size());
      used[i] = true;
    }
    WINDLASS_RETURN_IF_ERROR(
        stripped.Add(std::move(name), named.tensor, named.name));
  }
  const auto unused = absl::c_find(used, false);
  if (unused == used.end()) return std::move(stripped).Build();
  return absl::InvalidArgumentError(
      absl::StrCat("strip_prefix: found no tensor whose name starts with \"",
                   prefixes[unused - used.begin()], "\""));
}

}  // namespace windlass
