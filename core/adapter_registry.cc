#include "windlass/core/adapter_registry.h"

#include <deque>
#include <tuple>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "windlass/core/near_match.h"
#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

struct Entry {
  AdapterInfo info;
  const char* file;
};

// Built on first use: registrars run in no particular order. Elements stay
// where they are.
std::deque<Entry>& Entries() {
  static auto* const entries = new std::deque<Entry>;
  return *entries;
}

using Claims = std::vector<std::string> AdapterInfo::*;

// Those that claim `value` and support the config.
absl::StatusOr<std::vector<const Entry*>> FindClaims(
    const std::string& value, Claims claims, const ModelConfig& config) {
  std::vector<const Entry*> found;
  for (const Entry& entry : Entries()) {
    if (!absl::c_linear_search(entry.info.*claims, value)) continue;
    if (entry.info.supports != nullptr) {
      WINDLASS_ASSIGN_OR_RETURN(const bool supported,
                                entry.info.supports(config));
      if (!supported) continue;
    }
    found.push_back(&entry);
  }
  return found;
}

// The only one; who the others are, where there are several.
absl::StatusOr<const AdapterInfo*> Only(const std::vector<const Entry*>& found,
                                        absl::string_view what) {
  if (found.size() == 1) return &found[0]->info;
  return absl::AlreadyExistsError(absl::StrCat(
      what, ": found several adapters, expected one: ",
      absl::StrJoin(found, " and ", [](std::string* out, const Entry* entry) {
        absl::StrAppend(out, "\"", entry->info.name, "\" of ",
                        entry->info.framework, " (", entry->file, ")");
      })));
}

// Whether a model has experts, by its name or its config.
bool IsMixture(absl::string_view name, const ModelConfig& config) {
  return config.AnnouncesExperts() ||
         absl::StrContains(absl::AsciiStrToLower(name), "moe");
}

// All, or those of mixtures.
std::vector<std::string> KnownNames(bool mixtures = false) {
  std::vector<std::string> names;
  for (const Entry& entry : Entries()) {
    if (mixtures && !entry.info.expert_parallel) continue;
    names.push_back(entry.info.name);
  }
  absl::c_sort(names);
  return names;
}

}  // namespace

std::vector<const AdapterInfo*> AdapterRegistry::All() {
  std::vector<const AdapterInfo*> all;
  for (const Entry& entry : Entries()) all.push_back(&entry.info);
  absl::c_sort(all, [](const AdapterInfo* a, const AdapterInfo* b) {
    return std::tie(a->name, a->framework) < std::tie(b->name, b->framework);
  });
  return all;
}

absl::StatusOr<const AdapterInfo*> AdapterRegistry::FindByName(
    absl::string_view name, absl::string_view framework) {
  std::vector<const Entry*> found;
  for (const Entry& entry : Entries()) {
    if (entry.info.name == name &&
        (framework.empty() || entry.info.framework == framework)) {
      found.push_back(&entry);
    }
  }
  if (!found.empty())
    return Only(found, absl::StrCat("adapter \"", name, "\""));
  const std::string near =
      DidYouMean(name, KnownNames(IsMixture(name, ModelConfig())));
  return absl::NotFoundError(absl::StrCat(
      "adapter \"", name, "\" is unknown",
      near.empty()
          ? absl::StrCat("; known: ", absl::StrJoin(KnownNames(), ", "))
          : near));
}

absl::StatusOr<const AdapterInfo*> AdapterRegistry::FindByConfig(
    const ModelConfig& config) {
  WINDLASS_ASSIGN_OR_RETURN(const std::vector<std::string> architectures,
                            config.Architectures());
  WINDLASS_ASSIGN_OR_RETURN(const std::string model_type, config.ModelType());
  const bool by_type = architectures.empty();
  const std::string wanted = by_type ? model_type : architectures.front();
  WINDLASS_ASSIGN_OR_RETURN(const std::vector<const Entry*> found,
                            FindClaims(wanted,
                                       by_type ? &AdapterInfo::model_types
                                               : &AdapterInfo::architectures,
                                       config));
  if (!found.empty()) {
    return Only(found, absl::StrCat(config.origin(), ": ",
                                    by_type ? "model_type" : "architecture",
                                    " \"", wanted, "\""));
  }
  if (architectures.empty() && model_type.empty()) {
    return absl::NotFoundError(absl::StrCat(
        config.origin(),
        ": found neither \"architectures\" nor \"model_type\"; name the "
        "adapter, one of ",
        absl::StrJoin(KnownNames(), ", ")));
  }
  // A mixture of experts is never near to a dense model, however it is spelled.
  const bool mixture = IsMixture(wanted, config);
  std::vector<std::string> known;
  for (const Entry& entry : Entries()) {
    if (mixture && !entry.info.expert_parallel) continue;
    const auto& claims =
        by_type ? entry.info.model_types : entry.info.architectures;
    known.insert(known.end(), claims.begin(), claims.end());
  }
  const std::string near = DidYouMean(wanted, known);
  return absl::NotFoundError(absl::StrCat(
      config.origin(), ": no adapter for ",
      by_type ? "model_type" : "architecture", " \"", wanted, "\"",
      near.empty() ? absl::StrCat("; known: ", absl::StrJoin(known, ", "))
                   : near));
}

absl::Status AdapterRegistry::CheckOptions(const AdapterInfo& info,
                                           const JsonFields& options) {
  std::vector<std::string> known;
  for (const AdapterOption& option : info.options) known.push_back(option.name);
  for (const std::string& name : options.Names()) {
    if (absl::c_linear_search(known, name)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(options.origin(), ": adapter \"", info.name,
                     "\" takes no option \"", name, "\"; it takes ",
                     known.empty() ? "none" : absl::StrJoin(known, ", ")));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<StateDictAdapter>> AdapterRegistry::Create(
    const AdapterInfo& info, const ModelConfig& config,
    const JsonFields& options) {
  WINDLASS_RETURN_IF_ERROR(CheckOptions(info, options));
  return info.factory(config, options);
}

AdapterRegistrar::AdapterRegistrar(AdapterInfo info, const char* file) {
  Entries().push_back({std::move(info), file});
}

}  // namespace windlass
