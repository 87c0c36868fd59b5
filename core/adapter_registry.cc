#include "windlass/core/adapter_registry.h"

#include <cstdio>
#include <cstdlib>
#include <map>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
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

// By name. Built on first use: registrars run in no particular order.
std::map<std::string, Entry>& Entries() {
  static auto* const entries = new std::map<std::string, Entry>;
  return *entries;
}

// What two adapters both claim, or an empty string.
std::string Conflict(const AdapterInfo& a, const AdapterInfo& b) {
  if (a.name == b.name) return absl::StrCat("adapter \"", a.name, "\"");
  for (const std::string& architecture : a.architectures) {
    if (absl::c_linear_search(b.architectures, architecture)) {
      return absl::StrCat("architecture \"", architecture, "\"");
    }
  }
  for (const std::string& model_type : a.model_types) {
    if (absl::c_linear_search(b.model_types, model_type)) {
      return absl::StrCat("model_type \"", model_type, "\"");
    }
  }
  return "";
}

const AdapterInfo* FindClaim(
    const std::string& value,
    const std::vector<std::string> AdapterInfo::*claims) {
  for (const auto& [name, entry] : Entries()) {
    if (absl::c_linear_search(entry.info.*claims, value)) return &entry.info;
  }
  return nullptr;
}

std::vector<std::string> KnownNames() {
  std::vector<std::string> names;
  for (const auto& [name, entry] : Entries()) names.push_back(name);
  return names;
}

}  // namespace

std::vector<const AdapterInfo*> AdapterRegistry::All() {
  std::vector<const AdapterInfo*> all;
  for (const auto& [name, entry] : Entries()) all.push_back(&entry.info);
  return all;
}

absl::StatusOr<const AdapterInfo*> AdapterRegistry::FindByName(
    absl::string_view name) {
  auto it = Entries().find(std::string(name));
  if (it != Entries().end()) return &it->second.info;
  const std::string near = DidYouMean(name, KnownNames());
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
  for (const std::string& architecture : architectures) {
    const AdapterInfo* info =
        FindClaim(architecture, &AdapterInfo::architectures);
    if (info != nullptr) return info;
  }
  WINDLASS_ASSIGN_OR_RETURN(const std::string model_type, config.ModelType());
  const AdapterInfo* info = FindClaim(model_type, &AdapterInfo::model_types);
  if (info != nullptr) return info;

  if (architectures.empty() && model_type.empty()) {
    return absl::NotFoundError(absl::StrCat(
        config.origin(),
        ": found neither \"architectures\" nor \"model_type\"; name the "
        "adapter, one of ",
        absl::StrJoin(KnownNames(), ", ")));
  }
  const bool by_type = architectures.empty();
  std::vector<std::string> known;
  for (const auto& [name, entry] : Entries()) {
    const auto& claims =
        by_type ? entry.info.model_types : entry.info.architectures;
    known.insert(known.end(), claims.begin(), claims.end());
  }
  const std::string& wanted = by_type ? model_type : architectures.front();
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
  for (const auto& [name, entry] : Entries()) {
    const std::string conflict = Conflict(info, entry.info);
    if (conflict.empty()) continue;
    std::fprintf(stderr, "%s is registered by %s and by %s\n", conflict.c_str(),
                 entry.file, file);
    std::abort();
  }
  std::string name = info.name;
  Entries().emplace(std::move(name), Entry{std::move(info), file});
}

}  // namespace windlass
