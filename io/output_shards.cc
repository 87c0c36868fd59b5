#include "windlass/io/output_shards.h"

#include <algorithm>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "windlass/core/json.h"

namespace windlass {
namespace {

std::vector<OutputShard> GroupLike(const StateDict& tensors,
                                   const Checkpoint& like) {
  std::vector<OutputShard> groups;
  absl::flat_hash_map<const ByteSource*, size_t> group_of;
  for (const Shard& shard : like.shards) {
    group_of.emplace(shard.file.get(), groups.size());
    groups.push_back({"", &shard, {}});
  }
  if (groups.empty()) groups.emplace_back();
  size_t group = 0;
  for (const NamedTensor& tensor : tensors) {
    tensor.tensor.source()->VisitInputs([&](const Extent& extent) {
      const auto it = group_of.find(extent.source.get());
      if (it != group_of.end()) group = it->second;
      return false;
    });
    groups[group].tensors.push_back(&tensor);
  }
  if (tensors.empty()) return groups;
  groups.erase(std::remove_if(groups.begin(), groups.end(),
                              [](const OutputShard& shard) {
                                return shard.tensors.empty();
                              }),
               groups.end());
  return groups;
}

std::vector<OutputShard> GroupBySize(const StateDict& tensors,
                                     int64_t max_bytes) {
  std::vector<OutputShard> groups(1);
  int64_t filled = 0;
  for (const NamedTensor& tensor : tensors) {
    const int64_t bytes = tensor.tensor.bytes();
    if (!groups.back().tensors.empty() && bytes > max_bytes - filled) {
      groups.emplace_back();
      filled = 0;
    }
    groups.back().tensors.push_back(&tensor);
    filled += bytes;
  }
  return groups;
}

std::string IndexMetadata(const Checkpoint& like, int64_t total_size) {
  constexpr absl::string_view kTotalSize = "total_size";
  std::vector<std::string> members;
  bool has_total = false;
  for (const auto& [name, json] : like.index_metadata) {
    const bool is_total = name == kTotalSize;
    has_total = has_total || is_total;
    std::string& member = members.emplace_back("    ");
    AppendJsonString(name, &member);
    absl::StrAppend(&member, ": ", is_total ? absl::StrCat(total_size) : json);
  }
  if (!has_total) {
    members.insert(members.begin(),
                   absl::StrCat("    \"", kTotalSize, "\": ", total_size));
  }
  return absl::StrJoin(members, ",\n");
}

}  // namespace

std::vector<OutputShard> ShareOut(const StateDict& tensors,
                                  const Checkpoint& like, int64_t max_bytes) {
  return max_bytes > 0 ? GroupBySize(tensors, max_bytes)
                       : GroupLike(tensors, like);
}

ClosingFile MakeIndex(std::string name, const std::vector<OutputShard>& shards,
                      const Checkpoint& like) {
  std::vector<std::pair<absl::string_view, absl::string_view>> shard_of;
  int64_t total = 0;
  for (const OutputShard& shard : shards) {
    for (const NamedTensor* tensor : shard.tensors) {
      shard_of.emplace_back(tensor->name, shard.name);
      total += tensor->tensor.bytes();
    }
  }
  absl::c_sort(shard_of);
  ClosingFile index;
  index.name = std::move(name);
  std::string& text = index.contents;
  absl::StrAppend(&text, "{\n  \"metadata\": {\n", IndexMetadata(like, total),
                  "\n  },\n  \"weight_map\": {");
  const char* separator = "\n    ";
  for (const auto& [tensor, shard] : shard_of) {
    text.append(separator);
    AppendJsonString(tensor, &text);
    text.append(": ");
    AppendJsonString(shard, &text);
    separator = ",\n    ";
  }
  text.append("\n  }\n}\n");
  return index;
}

}  // namespace windlass
