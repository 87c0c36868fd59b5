#include "windlass/convert/peft_config.h"

#include <cstdint>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "re2/re2.h"
#include "windlass/core/json.h"
#include "windlass/core/status_macros.h"
#include "windlass/core/tensor.h"

namespace windlass {
namespace {

constexpr char kModules[] = "target_modules";
constexpr char kParameters[] = "target_parameters";
constexpr absl::string_view kLora = ".lora_";
constexpr absl::string_view kInner = ".base_layer";

// Of a module: "model.layers.0.self_attn.q_proj", "A.weight" of
// "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight".
struct LoraName {
  absl::string_view module;
  absl::string_view rest;
};

std::optional<LoraName> ParseLora(absl::string_view name) {
  const size_t at = name.find(kLora);
  if (at == name.npos) return std::nullopt;
  LoraName lora{name.substr(0, at), name.substr(at + kLora.size())};
  absl::ConsumePrefix(&lora.module, "base_model.model.");
  return lora;
}

// PEFT wraps parameters, not modules, where experts are stacked: one in the
// other ("experts.base_layer.lora_A.weight", "experts.lora_A.weight").
bool IsOfParameter(const LoraName& lora) {
  absl::string_view module = lora.module;
  absl::ConsumeSuffix(&module, kInner);
  return absl::EndsWith(module, ".experts") &&
         (lora.rest == "A.weight" || lora.rest == "B.weight");
}

// Extents of the two wrappers' tensors, but for that of the experts' ranks.
struct Wrappers {
  int64_t inner = 1;
  int64_t outer = 1;
  bool has_inner = false;
  bool has_outer = false;
};

// What has LoRA, by full names, in the tensors' order.
struct Targets {
  std::vector<std::string> modules;
  std::vector<std::string> parameters;
};

// The parameters that the wrappers of `experts` are of. The inner one is of
// gate and up together where it is twice as wide as down: in x out of the one
// is H x 2I, of the other I x H.
void AddParameters(absl::string_view experts, const Wrappers& wrappers,
                   Targets* targets) {
  const bool gated = !wrappers.has_outer || wrappers.inner != wrappers.outer;
  if (wrappers.has_inner) {
    targets->parameters.push_back(
        absl::StrCat(experts, gated ? ".gate_up_proj" : ".up_proj"));
  }
  if (wrappers.has_outer) {
    targets->parameters.push_back(absl::StrCat(experts, ".down_proj"));
  }
}

Targets FindTargets(const StateDict& tensors) {
  Targets targets;
  absl::flat_hash_set<absl::string_view> known;
  std::map<absl::string_view, Wrappers> wrapped;
  for (const auto& [name, tensor] : tensors) {
    const auto lora = ParseLora(name);
    if (!lora.has_value()) continue;
    if (!IsOfParameter(*lora)) {
      if (known.insert(lora->module).second) {
        targets.modules.emplace_back(lora->module);
      }
      continue;
    }
    absl::string_view experts = lora->module;
    const bool inner = absl::ConsumeSuffix(&experts, kInner);
    Wrappers& wrappers = wrapped[experts];
    (inner ? wrappers.has_inner : wrappers.has_outer) = true;
    if (tensor.rank() != 2) continue;
    (inner ? wrappers.inner : wrappers.outer) *=
        tensor.shape()[lora->rest == "A.weight" ? 1 : 0];
  }
  for (const auto& [experts, wrappers] : wrapped) {
    AddParameters(experts, wrappers, &targets);
  }
  return targets;
}

// What a target may be that means a name: the name, or its last segments.
std::vector<absl::string_view> EndsOf(absl::string_view name) {
  std::vector<absl::string_view> ends = {name};
  for (size_t dot = name.find('.'); dot != name.npos;
       dot = name.find('.', dot + 1)) {
    ends.push_back(name.substr(dot + 1));
  }
  return ends;
}

using NameSet = absl::flat_hash_set<absl::string_view>;

NameSet EndsOfAll(const std::vector<std::string>& names) {
  NameSet ends;
  for (const std::string& name : names) {
    for (const absl::string_view end : EndsOf(name)) ends.insert(end);
  }
  return ends;
}

// The name that it has in every layer: "mlp.experts.down_proj".
std::string InEveryLayer(absl::string_view name) {
  constexpr absl::string_view kLayers = "layers.";
  const size_t layers = name.rfind(kLayers);
  if (layers == name.npos) return std::string(name);
  const size_t dot = name.find('.', layers + kLayers.size());
  return std::string(dot == name.npos ? name : name.substr(dot + 1));
}

absl::Status WrongType(absl::string_view field, const Json& found,
                       absl::string_view expected) {
  return absl::InvalidArgumentError(
      absl::StrCat("field \"", field, "\": found ",
                   found.dump(-1, ' ', true, Json::error_handler_t::replace),
                   ", expected ", expected));
}

absl::StatusOr<std::vector<std::string>> ReadList(const Json& json,
                                                  const char* field) {
  std::vector<std::string> list;
  const auto found = json.find(field);
  if (found == json.end() || found->is_null()) return list;
  if (!found->is_array()) return WrongType(field, *found, "a list of names");
  for (const Json& name : *found) {
    if (!name.is_string()) return WrongType(field, name, "a name");
    list.push_back(name.get<std::string>());
  }
  return list;
}

// Those of `list` that still mean something, or never did, and what `shorten`
// makes of the names that none of them means.
std::vector<std::string> Renew(const std::vector<std::string>& list,
                               const std::vector<std::string>& in,
                               const std::vector<std::string>& out,
                               std::string (*shorten)(absl::string_view)) {
  const NameSet meant_before = EndsOfAll(in);
  const NameSet meant_now = EndsOfAll(out);
  std::vector<std::string> renewed;
  NameSet kept;
  for (const std::string& target : list) {
    if (!meant_now.contains(target) && meant_before.contains(target)) continue;
    renewed.push_back(target);
    kept.insert(target);
  }
  absl::flat_hash_set<std::string> added;
  for (const std::string& name : out) {
    const bool is_meant = absl::c_any_of(
        EndsOf(name),
        [&kept](absl::string_view end) { return kept.contains(end); });
    if (is_meant) continue;
    std::string target = shorten(name);
    if (added.insert(target).second) renewed.push_back(std::move(target));
  }
  return renewed;
}

std::string AsItIs(absl::string_view name) { return std::string(name); }

// target_modules may be one pattern for all modules' names.
absl::StatusOr<bool> PatternMatches(const std::string& pattern,
                                    const std::vector<std::string>& modules) {
  if (pattern == "all-linear") return true;
  const RE2 regex(pattern, RE2::Quiet);
  if (!regex.ok()) {
    return absl::UnimplementedError(
        absl::StrCat("field \"", kModules, "\": found the pattern ", pattern,
                     " (", regex.error(), "), expected a list of names"));
  }
  return absl::c_all_of(modules, [&regex](const std::string& module) {
    return RE2::FullMatch(module, regex);
  });
}

absl::Status EditModules(const Targets& in, const Targets& out, Json* json) {
  const auto found = json->find(kModules);
  std::vector<std::string> renewed;
  if (found != json->end() && found->is_string()) {
    if (in.modules == out.modules) return absl::OkStatus();
    WINDLASS_ASSIGN_OR_RETURN(
        const bool matches,
        PatternMatches(found->get<std::string>(), out.modules));
    if (matches) return absl::OkStatus();
    renewed = out.modules;
  } else {
    WINDLASS_ASSIGN_OR_RETURN(const std::vector<std::string> list,
                              ReadList(*json, kModules));
    renewed = Renew(list, in.modules, out.modules, &AsItIs);
    if (renewed == list) return absl::OkStatus();
  }
  absl::c_sort(renewed);
  (*json)[kModules] = std::move(renewed);
  return absl::OkStatus();
}

absl::Status EditParameters(const Targets& in, const Targets& out, Json* json) {
  WINDLASS_ASSIGN_OR_RETURN(const std::vector<std::string> list,
                            ReadList(*json, kParameters));
  std::vector<std::string> renewed =
      Renew(list, in.parameters, out.parameters, &InEveryLayer);
  if (renewed == list) return absl::OkStatus();
  if (renewed.empty()) {
    json->erase(kParameters);
  } else {
    (*json)[kParameters] = std::move(renewed);
  }
  return absl::OkStatus();
}

// The patterns of rank_pattern or alpha_pattern, in the order of PEFT's.
absl::StatusOr<std::vector<std::pair<std::string, Json>>> ReadPatterns(
    const Json& json, const char* field) {
  std::vector<std::pair<std::string, Json>> patterns;
  const auto found = json.find(field);
  if (found == json.end() || found->is_null()) return patterns;
  if (!found->is_object()) return WrongType(field, *found, "an object");
  for (const auto& [pattern, value] : found->items()) {
    if (!RE2(pattern, RE2::Quiet).ok()) {
      return WrongType(field, Json(pattern), "a regular expression");
    }
    patterns.emplace_back(pattern, value);
  }
  return patterns;
}

bool PatternIsOf(const std::string& pattern, absl::string_view module) {
  return RE2::FullMatch(re2::StringPiece(module.data(), module.size()),
                        absl::StrCat("(?:.*\\.)?(?:", pattern, ")"));
}

// What has a rank or a scale of its own keeps its name.
absl::Status CheckPatterns(const Json& json, const Targets& in,
                           const Targets& out) {
  for (const char* field : {"rank_pattern", "alpha_pattern"}) {
    WINDLASS_ASSIGN_OR_RETURN(const auto patterns, ReadPatterns(json, field));
    for (const auto& [pattern, value] : patterns) {
      const auto matched = [&pattern = pattern](const Targets& targets) {
        std::vector<std::string> names;
        for (const auto* list : {&targets.modules, &targets.parameters}) {
          for (const std::string& name : *list) {
            if (PatternIsOf(pattern, name)) names.push_back(name);
          }
        }
        absl::c_sort(names);
        return names;
      };
      if (matched(in) == matched(out)) continue;
      return absl::UnimplementedError(
          absl::StrCat("field \"", field, "\": found \"", pattern,
                       "\" for modules that have other names in the layout "
                       "that is written, expected none"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Json> ParseObject(absl::string_view text) {
  WINDLASS_ASSIGN_OR_RETURN(Json json, ParseJson(text));
  if (!json.is_object()) {
    return absl::InvalidArgumentError("found no object, expected one");
  }
  return json;
}

// Other methods than LoRA have fields of their own.
bool IsLora(const Json& json) {
  const auto type = json.find("peft_type");
  return type == json.end() || *type == "LORA";
}

// Where the rank is among a tensor's extents; -1 where it has none.
int RankDimension(const LoraName& lora, const Tensor& tensor) {
  if (IsOfParameter(lora)) return -1;
  const bool a =
      lora.rest == "A.weight" || lora.rest == "A" || lora.rest == "embedding_A";
  const bool b =
      lora.rest == "B.weight" || lora.rest == "B" || lora.rest == "embedding_B";
  if (tensor.rank() >= 2 && (a || b)) return a ? 0 : 1;
  // The native layout's stacks: [E, in, r] and [E, r, out].
  if (tensor.rank() != 3) return -1;
  if (absl::EndsWith(lora.rest, "_A")) return 2;
  return absl::EndsWith(lora.rest, "_B") ? 1 : -1;
}

}  // namespace

bool HasLora(const StateDict& tensors) {
  return absl::c_any_of(tensors, [](const NamedTensor& named) {
    return absl::StrContains(named.name, kLora);
  });
}

absl::StatusOr<std::string> FollowLora(absl::string_view text,
                                       const StateDict& in,
                                       const StateDict& out) {
  WINDLASS_ASSIGN_OR_RETURN(Json json, ParseObject(text));
  if (!IsLora(json)) return std::string(text);
  const Json before = json;
  const Targets old_targets = FindTargets(in);
  const Targets new_targets = FindTargets(out);
  WINDLASS_RETURN_IF_ERROR(CheckPatterns(json, old_targets, new_targets));
  WINDLASS_RETURN_IF_ERROR(EditModules(old_targets, new_targets, &json));
  WINDLASS_RETURN_IF_ERROR(EditParameters(old_targets, new_targets, &json));
  if (json == before) return std::string(text);
  // Python's numbers that JSON lacks cannot be written back.
  if (Json::parse(text.begin(), text.end(), nullptr, false).is_discarded()) {
    return absl::InvalidArgumentError(
        "found a number that JSON does not have, expected none");
  }
  return absl::StrCat(json.dump(2, ' ', true, Json::error_handler_t::replace),
                      absl::EndsWith(text, "\n") ? "\n" : "");
}

absl::Status CheckPeftRank(absl::string_view text, const StateDict& tensors) {
  WINDLASS_ASSIGN_OR_RETURN(const Json json, ParseObject(text));
  if (!IsLora(json)) return absl::OkStatus();
  const auto field = json.find("r");
  if (field == json.end()) return absl::OkStatus();
  if (!field->is_number_integer()) {
    return WrongType("r", *field, "a whole number");
  }
  WINDLASS_ASSIGN_OR_RETURN(const auto patterns,
                            ReadPatterns(json, "rank_pattern"));
  for (const auto& [name, tensor] : tensors) {
    const auto lora = ParseLora(name);
    if (!lora.has_value()) continue;
    const int dim = RankDimension(*lora, tensor);
    if (dim < 0) continue;
    const auto pattern = absl::c_find_if(patterns, [&](const auto& entry) {
      return PatternIsOf(entry.first, lora->module);
    });
    const Json& rank = pattern == patterns.end() ? *field : pattern->second;
    if (rank == tensor.shape()[dim]) continue;
    const absl::Status wrong =
        WrongType(pattern == patterns.end() ? "r" : "rank_pattern", rank,
                  absl::StrCat(tensor.shape()[dim]));
    return absl::InvalidArgumentError(
        absl::StrCat(wrong.message(), ", as the tensor \"", name, "\" (",
                     tensor.ToString(), ") has it"));
  }
  return absl::OkStatus();
}

std::string PeftBaseModel(absl::string_view text) {
  const absl::StatusOr<Json> json = ParseObject(text);
  if (!json.ok()) return "";
  const auto base = json->find("base_model_name_or_path");
  return base != json->end() && base->is_string() ? base->get<std::string>()
                                                  : std::string();
}

}  // namespace windlass
