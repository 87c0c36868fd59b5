#include "windlass/io/output_shards.h"

#include <algorithm>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "windlass/core/json.h"

namespace windlass {
namespace {

// As Hugging Face's libraries cut a model that nobody has cut.
constexpr int64_t kRankShardBytes = 5'000'000'000;

std::vector<OutputShard> GroupLike(const StateDict& tensors,
                                   const Checkpoint& like, bool by_name) {
  std::vector<OutputShard> groups;
  absl::flat_hash_map<const ByteSource*, size_t> group_of;
  for (const Shard& shard : like.shards) {
    group_of.emplace(shard.file.get(), groups.size());
    groups.emplace_back();
    groups.back().like = &shard;
  }
  if (groups.empty()) groups.emplace_back();
  size_t group = 0;
  for (const NamedTensor& tensor : tensors) {
    const Tensor* const placed =
        by_name ? like.tensors.Find(tensor.name) : &tensor.tensor;
    if (placed != nullptr) {
      placed->source()->VisitInputs([&](const Extent& extent) {
        const auto it = group_of.find(extent.source.get());
        if (it != group_of.end()) group = it->second;
        return false;
      });
    }
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

absl::StatusOr<std::vector<OutputShard>> GroupAsPublished(
    const StateDict& tensors, const Checkpoint& like) {
  const Published& published = like.published;
  std::vector<OutputShard> groups(published.file_count());
  size_t found = 0;
  absl::flat_hash_map<absl::string_view, const NamedTensor*> by_name;
  for (const NamedTensor& named : tensors) by_name.emplace(named.name, &named);
  for (const auto& [name, number] : published.files) {
    const auto named = by_name.find(name);
    if (named == by_name.end()) {
      return absl::FailedPreconditionError(absl::StrCat(
          like.folder.path, "/", kHfMetadata, ": tensor \"", name,
          "\": found no such tensor, expected all that were published"));
    }
    groups[number - 1].number = number;
    groups[number - 1].tensors.push_back(named->second);
    ++found;
  }
  if (found < tensors.size()) {
    absl::flat_hash_set<absl::string_view> known;
    for (const auto& [name, number] : published.files) known.insert(name);
    const NamedTensor& first =
        *absl::c_find_if(tensors, [&known](const NamedTensor& named) {
          return !known.contains(named.name);
        });
    return absl::FailedPreconditionError(
        absl::StrCat(like.folder.path, "/", kHfMetadata, ": tensor \"",
                     first.name, "\": found no file that it was published in"));
  }
  groups.erase(std::remove_if(groups.begin(), groups.end(),
                              [](const OutputShard& shard) {
                                return shard.tensors.empty();
                              }),
               groups.end());
  if (groups.empty()) groups.emplace_back();
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

absl::StatusOr<std::vector<OutputShard>> ShareOut(
    const StateDict& tensors, const Checkpoint& like,
    const LayOutOptions& options) {
  if (options.max_shard_bytes > 0) {
    return GroupBySize(tensors, options.max_shard_bytes);
  }
  if (!like.published.files.empty()) return GroupAsPublished(tensors, like);
  if (like.is_ranks) return GroupBySize(tensors, kRankShardBytes);
  return GroupLike(tensors, like, options.by_name);
}

std::string NameOfOnlyFile(const Checkpoint& like, absl::string_view usual,
                           absl::string_view ending) {
  constexpr absl::string_view kPeft = "adapter_model";
  const bool is_peft = absl::c_any_of(like.shards, [kPeft](const Shard& shard) {
    return absl::string_view(shard.name).substr(0, shard.name.rfind('.')) ==
           kPeft;
  });
  return absl::StrCat(is_peft ? kPeft : usual, ending);
}

std::vector<RowRange> CutRows(const Tensor& tensor, int ranks) {
  const int64_t rows = tensor.rank() == 0 ? 0 : tensor.shape()[0];
  if (rows == 0) return {RowRange()};
  const int64_t most = rows / ranks + (rows % ranks != 0 ? 1 : 0);
  std::vector<RowRange> parts;
  for (int64_t begin = 0; begin < rows;) {
    const int64_t end = begin + std::min(most, rows - begin);
    parts.push_back({begin, end});
    begin = end;
  }
  return parts;
}

absl::Status CheckKeepsTensorsWhole(const LayOutOptions& options,
                                    absl::string_view format) {
  if (options.num_shards == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("found a number of shards to cut tensors into, expected "
                   "none: the format ",
                   format, " keeps tensors whole"));
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
