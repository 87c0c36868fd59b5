#include "windlass/io/torch/find_state_dict.h"

#include <algorithm>
#include <cstddef>

#include "absl/algorithm/container.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "windlass/core/status_macros.h"
#include "windlass/io/torch/archive.h"

namespace windlass {
namespace {

using Kind = PickleNode::Kind;

// How deep a state dict is looked for; {"model": {"module": {...}}} is 2.
constexpr int kMaxDepth = 4;

bool IsDictionary(const PickleNode& node) {
  return node.Is(Kind::kDict) || node.IsObject("collections.OrderedDict") ||
         node.IsObject("collections.defaultdict");
}

bool HoldsTensors(const PickleNode& node) {
  for (size_t i = 0; i + 1 < node.items.size(); i += 2) {
    if (node.items[i]->Is(Kind::kString) &&
        TorchArchive::IsTensor(*node.items[i + 1])) {
      return true;
    }
  }
  return false;
}

// A dictionary, and the keys that lead there.
struct Place {
  std::string path;
  const PickleNode* node = nullptr;
};

std::string Joined(absl::string_view path, absl::string_view key) {
  return path.empty() ? std::string(key) : absl::StrCat(path, ".", key);
}

std::string KeyText(const PickleNode& key) {
  if (key.Is(Kind::kString)) return std::string(key.text);
  if (key.Is(Kind::kInt)) return absl::StrCat(key.integer);
  return absl::StrCat("(", key.Describe(), ")");
}

// The dictionaries that dictionaries hold. Each is looked at once, whatever
// refers to it.
std::vector<Place> Children(const std::vector<Place>& parents,
                            absl::flat_hash_set<const PickleNode*>* seen) {
  std::vector<Place> children;
  for (const Place& parent : parents) {
    const auto& items = parent.node->items;
    for (size_t i = 0; i + 1 < items.size(); i += 2) {
      if (items[i]->Is(Kind::kString) && IsDictionary(*items[i + 1]) &&
          seen->insert(items[i + 1]).second) {
        children.push_back({Joined(parent.path, items[i]->text), items[i + 1]});
      }
    }
  }
  return children;
}

absl::Status None(const PickleNode& root) {
  if (IsDictionary(root)) {
    return absl::InvalidArgumentError(
        "found no tensors in it, expected a state dict");
  }
  return absl::InvalidArgumentError(
      absl::StrCat("found ", root.Describe(), ", expected a state dict"));
}

absl::StatusOr<Place> Detect(const PickleNode& root) {
  if (!IsDictionary(root)) return None(root);
  absl::flat_hash_set<const PickleNode*> seen = {&root};
  std::vector<Place> level = {{"", &root}};
  std::vector<Place> found;
  for (int depth = 0; depth <= kMaxDepth; ++depth) {
    for (const Place& place : level) {
      if (HoldsTensors(*place.node)) found.push_back(place);
    }
    // A tensor at the top may be the model's or the trainer's.
    if (depth > 0 && !found.empty()) break;
    level = Children(level, &seen);
  }
  if (found.size() == 1) return found[0];
  if (found.empty()) return None(root);
  return absl::InvalidArgumentError(absl::StrCat(
      "found several state dicts (",
      absl::StrJoin(found, ", ",
                    [](std::string* out, const Place& place) {
                      absl::StrAppend(
                          out, "\"",
                          absl::CHexEscape(place.path.empty() ? kTopStateDict
                                                              : place.path),
                          "\"");
                    }),
      "), expected the key of the one that is meant"));
}

// The state dict at a key that may have dots in it.
absl::StatusOr<Place> Choose(const PickleNode& root, absl::string_view key) {
  Place place{std::string(), &root};
  absl::string_view rest = key == kTopStateDict ? "" : key;
  while (!rest.empty()) {
    // The longest name that leads on.
    size_t end = rest.size();
    const PickleNode* next = nullptr;
    while (next == nullptr && end != rest.npos) {
      next = place.node->Find(rest.substr(0, end));
      if (next == nullptr)
        end = end == 0 ? rest.npos : rest.rfind('.', end - 1);
    }
    if (next == nullptr) {
      return absl::NotFoundError(absl::StrCat(
          "found no \"", absl::CHexEscape(key), "\", expected a state dict"));
    }
    place = {Joined(place.path, rest.substr(0, end)), next};
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  if (!IsDictionary(*place.node) || !HoldsTensors(*place.node)) {
    return absl::InvalidArgumentError(
        absl::StrCat("found ", place.node->Describe(), " without tensors at \"",
                     absl::CHexEscape(key), "\", expected a state dict"));
  }
  return place;
}

// What lies beside the way to a place, and in it beside tensors.
void AddObjects(const PickleNode& node, const std::string& path,
                absl::string_view way, std::vector<std::string>* objects) {
  for (size_t i = 0; i + 1 < node.items.size(); i += 2) {
    const std::string name = Joined(path, KeyText(*node.items[i]));
    if (name == way) continue;
    if (absl::StartsWith(way, absl::StrCat(name, ".")) &&
        IsDictionary(*node.items[i + 1])) {
      AddObjects(*node.items[i + 1], name, way, objects);
    } else {
      objects->push_back(name);
    }
  }
}

}  // namespace

absl::StatusOr<FoundStateDict> FindStateDict(const PickleNode& root,
                                             absl::string_view key) {
  WINDLASS_ASSIGN_OR_RETURN(const Place place,
                            key.empty() ? Detect(root) : Choose(root, key));
  FoundStateDict found;
  if (place.node != &root) AddObjects(root, "", place.path, &found.objects);
  const auto& items = place.node->items;
  for (size_t i = 0; i + 1 < items.size(); i += 2) {
    const std::string name = KeyText(*items[i]);
    if (!TorchArchive::IsTensor(*items[i + 1])) {
      found.objects.push_back(Joined(place.path, name));
    } else if (items[i]->Is(Kind::kString)) {
      found.tensors.emplace_back(name, items[i + 1]);
    } else {
      return absl::InvalidArgumentError(absl::StrCat(
          "found a tensor under ", items[i]->Describe(), ", expected a name"));
    }
  }
  return found;
}

}  // namespace windlass
