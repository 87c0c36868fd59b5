#include "windlass/io/safetensors/shard_names.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

constexpr absl::string_view kOf = "-of-";
constexpr absl::string_view kSuffix = ".safetensors";

// A numbered name in its parts: "model-", "00002", "-of-", "00003", the rest.
struct NameParts {
  absl::string_view before;
  absl::string_view number;
  absl::string_view total;
  absl::string_view after;
};

std::optional<NameParts> SplitName(absl::string_view name) {
  const size_t of = name.rfind(kOf);
  if (of == name.npos) return std::nullopt;
  size_t begin = of;
  while (begin > 0 && absl::ascii_isdigit(name[begin - 1])) --begin;
  size_t end = of + kOf.size();
  while (end < name.size() && absl::ascii_isdigit(name[end])) ++end;
  NameParts parts;
  parts.before = name.substr(0, begin);
  parts.number = name.substr(begin, of - begin);
  parts.total = name.substr(of + kOf.size(), end - of - kOf.size());
  parts.after = name.substr(end);
  if (!absl::EndsWith(parts.before, "-") || parts.number.empty() ||
      parts.total.empty() || !absl::StartsWith(parts.after, ".")) {
    return std::nullopt;
  }
  return parts;
}

std::string NumberedName(const NameParts& parts, int64_t number,
                         int64_t total) {
  const int width = static_cast<int>(parts.number.size());
  return absl::StrFormat("%s%0*d%s%0*d%s", parts.before, width, number, kOf,
                         width, total, parts.after);
}

struct Family {
  int64_t total = 0;
  std::vector<std::string> files;
  absl::flat_hash_set<int64_t> numbers;
};

std::map<std::string, Family> Families(const std::vector<std::string>& names) {
  std::map<std::string, Family> families;
  for (const std::string& name : names) {
    const std::optional<ShardNumber> shard = ParseShardNumber(name);
    if (!shard.has_value()) continue;
    Family& family = families[shard->family];
    family.total = shard->total;
    family.files.push_back(name);
    family.numbers.insert(shard->number);
  }
  return families;
}

// The name of the first file that the family lacks; empty for a whole one.
std::string FirstMissing(const Family& family) {
  const NameParts parts = *SplitName(family.files[0]);
  const int64_t first = family.numbers.contains(0) ? 0 : 1;
  for (int64_t i = first; i < first + family.total; ++i) {
    // Ends at the first gap, so a total of 10^18 takes no time.
    if (!family.numbers.contains(i)) {
      return NumberedName(parts, i, family.total);
    }
  }
  return "";
}

absl::Status CheckWhole(const Family& family) {
  const std::string missing = FirstMissing(family);
  const int64_t found = family.files.size();
  if (!missing.empty()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "found ", found, " of the ", family.total, " files that ",
        family.files[0], " is one of, expected ", missing, " too"));
  }
  if (found == family.total) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("found ", found, " files of a family of ", family.total,
                   ", expected each number once: ", JoinNames(family.files)));
}

}  // namespace

std::optional<ShardNumber> ParseShardNumber(absl::string_view name) {
  const std::optional<NameParts> parts = SplitName(name);
  if (!parts.has_value()) return std::nullopt;
  ShardNumber shard;
  if (!absl::SimpleAtoi(parts->number, &shard.number) ||
      !absl::SimpleAtoi(parts->total, &shard.total) || shard.total < 1) {
    return std::nullopt;
  }
  shard.family = absl::StrCat(parts->before, kOf, shard.total, parts->after);
  return shard;
}

std::string JoinNames(const std::vector<std::string>& names) {
  constexpr size_t kShown = 5;
  if (names.size() == 1) return names[0];
  const size_t shown = std::min(kShown, names.size() - 1);
  const std::string list =
      absl::StrJoin(names.begin(), names.begin() + shown, ", ");
  return names.size() - shown == 1
             ? absl::StrCat(list, " and ", names.back())
             : absl::StrCat(list, " and ", names.size() - shown, " more");
}

absl::Status CheckFamiliesWhole(const std::vector<std::string>& names) {
  for (const auto& [name, family] : Families(names)) {
    WINDLASS_RETURN_IF_ERROR(CheckWhole(family));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> ChooseShards(
    const std::vector<std::string>& names) {
  const std::string whole = absl::StrCat("model", kSuffix);
  if (absl::c_linear_search(names, whole)) return std::vector{whole};
  const std::map<std::string, Family> families = Families(names);
  std::vector<const Family*> chosen;
  for (const auto& [name, family] : families) chosen.push_back(&family);
  if (chosen.size() > 1) {
    // consolidated-00001-of-00002 may lie beside model-00001-of-00002.
    chosen.clear();
    for (const auto& [name, family] : families) {
      const bool is_model =
          SplitName(family.files[0])->before == "model-" &&
          absl::EndsWith(name, absl::StrCat(family.total, kSuffix));
      if (is_model) chosen.push_back(&family);
    }
  }
  if (chosen.size() == 1) {
    WINDLASS_RETURN_IF_ERROR(CheckWhole(*chosen[0]));
    return chosen[0]->files;
  }
  if (names.size() == 1) return names;
  return absl::InvalidArgumentError(absl::StrCat(
      "found ", names.size(), " safetensors files, of which none is known as ",
      "the model: ", JoinNames(names), "; expected an index, ", whole,
      ", one numbered family, or one file (give the file that is meant)"));
}

std::vector<std::string> FindLooseShards(
    const std::vector<std::string>& names) {
  constexpr absl::string_view kSuffix = ".safetensors";
  std::vector<std::string> shards;
  for (const std::string& name : names) {
    if (name == "model.safetensors") return {name};
    if (!absl::StartsWith(name, ".") && absl::EndsWith(name, kSuffix)) {
      shards.push_back(name);
    }
  }
  const std::map<std::string, Family> families = Families(shards);
  std::vector<std::string> found;
  for (const auto& [name, family] : families) {
    if (families.size() == 1 || absl::StartsWith(name, "model-")) {
      found.insert(found.end(), family.files.begin(), family.files.end());
    }
  }
  return found;
}

void RenumberFamilies(const std::vector<std::string*>& names) {
  std::map<std::string, std::vector<std::string*>> families;
  for (std::string* name : names) {
    const std::optional<ShardNumber> shard = ParseShardNumber(*name);
    if (shard.has_value()) families[shard->family].push_back(name);
  }
  for (const auto& [family, members] : families) {
    std::vector<std::string> old;
    for (const std::string* name : members) old.push_back(*name);
    if (CheckFamiliesWhole(old).ok()) continue;
    for (size_t i = 0; i < members.size(); ++i) {
      *members[i] = NumberedName(*SplitName(old[i]), i + 1, members.size());
    }
  }
}

}  // namespace windlass
