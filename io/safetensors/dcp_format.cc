// The "dcp_safetensors" checkpoint format: a safetensors file a rank, whose
// metadata say which part of each tensor it has. NeMo Automodel trains into
// such folders, and torch.distributed.checkpoint's HuggingFaceStorageWriter
// writes them.

#include <algorithm>
#include <cstdint>
#include <deque>
#include <iterator>
#include <list>
#include <string>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "windlass/core/assemble.h"
#include "windlass/core/status_macros.h"
#include "windlass/core/tensor_ops.h"
#include "windlass/io/checkpoint.h"
#include "windlass/io/output_shards.h"
#include "windlass/io/parallel.h"
#include "windlass/io/safetensors/file_layout.h"
#include "windlass/io/safetensors/header.h"
#include "windlass/io/safetensors/shard_file.h"
#include "windlass/io/safetensors/sharding_info.h"

namespace windlass {
namespace {

// "shard-00002-model-00001-of-00001.safetensors" is the second rank's; 0 for
// what is no rank's.
int64_t RankNumber(absl::string_view name) {
  if (!absl::ConsumePrefix(&name, "shard-") ||
      !absl::EndsWith(name, ".safetensors")) {
    return 0;
  }
  int64_t number = 0;
  const absl::string_view digits = name.substr(0, name.find('-'));
  return digits.size() < name.size() && absl::SimpleAtoi(digits, &number) &&
                 number > 0
             ? number
             : 0;
}

std::vector<std::string> RankFiles(const std::vector<std::string>& names) {
  std::vector<std::string> files;
  for (const std::string& name : names) {
    if (RankNumber(name) > 0) files.push_back(name);
  }
  return files;
}

// A rank without a tensor has no file, but one that is missing may have been
// the only one to hold some.
absl::Status CheckNoGap(const Location& folder,
                        const std::vector<std::string>& files) {
  int64_t expected = 1;
  for (const std::string& file : files) {
    const int64_t number = RankNumber(file);
    if (number != expected) {
      return absl::FailedPreconditionError(absl::StrCat(
          folder.path, ": found ", file, ", expected the file of shard ",
          expected, " before it: what it holds would be lost"));
    }
    ++expected;
  }
  return absl::OkStatus();
}

// What a file says under a key of its metadata; null for nothing.
const std::string* MetadataOf(const Shard& shard, absl::string_view wanted) {
  for (const auto& [key, text] : shard.metadata) {
    if (key == wanted) return &text;
  }
  return nullptr;
}

// How many files there are, which those that Windlass writes say: without the
// last ones the tensors would only be shorter.
constexpr absl::string_view kShardCount = "WINDLASS_SHARD_COUNT";

absl::Status CheckCount(const Location& folder,
                        const std::vector<ReadShard>& read) {
  for (const ReadShard& one : read) {
    const std::string* const count = MetadataOf(one.shard, kShardCount);
    if (count == nullptr || *count == absl::StrCat(read.size())) continue;
    return absl::FailedPreconditionError(absl::StrCat(
        folder.path, ": found ", read.size(), " files, expected ",
        absl::CHexEscape(*count), " as ", one.shard.name, " says"));
  }
  return absl::OkStatus();
}

absl::StatusOr<ShardingInfo> InfoOf(const ReadShard& read) {
  const std::string* const text = MetadataOf(read.shard, kShardingInfo);
  if (text == nullptr) return ShardingInfo();
  return ParseShardingInfo(*text);
}

// The tensors of all ranks, put together.
class Collector {
 public:
  absl::Status Add(ReadShard read) {
    const absl::StatusOr<ShardingInfo> info = InfoOf(read);
    if (!info.ok()) return Annotate(info.status(), read.shard.file->name());
    absl::flat_hash_map<absl::string_view, NamedTensor*> left;
    for (NamedTensor& named : read.tensors) left.emplace(named.name, &named);
    for (const auto& [name, offsets] : *info) {
      const auto found = left.find(name);
      if (found == left.end()) {
        return absl::InvalidArgumentError(
            absl::StrCat(read.shard.file->name(), ": tensor \"", name,
                         "\": found in ", kShardingInfo, " alone"));
      }
      WINDLASS_RETURN_IF_ERROR(Annotate(
          Put(name, offsets, &found->second->tensor), read.shard.file->name()));
      left.erase(found);
    }
    // What the info does not speak of is whole.
    for (NamedTensor& named : read.tensors) {
      if (!left.contains(named.name)) continue;
      WINDLASS_RETURN_IF_ERROR(Annotate(
          Put(named.name, Shape(named.tensor.rank(), 0), &named.tensor),
          read.shard.file->name()));
    }
    last_ = order_.end();
    return absl::OkStatus();
  }

  // In the order of the model, as far as the ranks' orders tell it.
  absl::StatusOr<StateDict> Build() && {
    StateDict tensors;
    tensors.Reserve(order_.size());
    for (Whole& whole : order_) {
      absl::StatusOr<Tensor> tensor = Assemble(
          whole.boxes.front().tensor.dtype(), whole.shape, whole.boxes);
      if (!tensor.ok()) {
        return Annotate(tensor.status(), "tensor \"", whole.name, "\"");
      }
      WINDLASS_RETURN_IF_ERROR(
          tensors.Insert(std::move(whole.name), *std::move(tensor)));
    }
    return tensors;
  }

 private:
  struct Whole {
    std::string name;
    Shape shape;
    std::vector<Box> boxes;
  };

  absl::Status Put(const std::string& name, const Shape& offsets,
                   Tensor* tensor) {
    if (offsets.size() != tensor->shape().size()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "tensor \"", name, "\": found offsets [",
          absl::StrJoin(offsets, ", "),
          "], expected one for each dimension of ", tensor->ToString()));
    }
    const auto [known, is_new] = by_name_.try_emplace(name, order_.end());
    if (is_new) {
      // Behind the one that it follows in this file.
      const auto place =
          last_ == order_.end() ? order_.end() : std::next(last_);
      known->second =
          order_.insert(place, Whole{name, Shape(offsets.size(), 0), {}});
    }
    Whole& whole = *known->second;
    last_ = known->second;
    if (whole.shape.size() != offsets.size()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "tensor \"", name, "\": found ", tensor->ToString(), ", expected ",
          whole.shape.size(), " dimensions as in another file"));
    }
    for (size_t dim = 0; dim < offsets.size(); ++dim) {
      int64_t end;
      if (__builtin_add_overflow(offsets[dim], tensor->shape()[dim], &end)) {
        return absl::InvalidArgumentError(
            absl::StrCat("tensor \"", name, "\": found the offset ",
                         offsets[dim], ", expected less"));
      }
      whole.shape[dim] = std::max(whole.shape[dim], end);
    }
    whole.boxes.push_back({offsets, std::move(*tensor)});
    return absl::OkStatus();
  }

  std::list<Whole> order_;
  absl::flat_hash_map<std::string, std::list<Whole>::iterator> by_name_;
  std::list<Whole>::iterator last_ = order_.end();  // of the file at hand
};

// What a rank's file is made of.
class RankFile {
 public:
  absl::Status Add(const NamedTensor& named, const RowRange& rows) {
    absl::StatusOr<Tensor> part = named.tensor;
    Shape offsets(named.tensor.rank(), 0);
    if (rows.begin < rows.end) {
      offsets[0] = rows.begin;
      part = Slice(named.tensor, 0, rows.begin, rows.end);
    }
    if (!part.ok()) {
      return Annotate(part.status(), "tensor \"", named.name, "\"");
    }
    info_.emplace_back(named.name, std::move(offsets));
    parts_.push_back({named.name, *std::move(part)});
    return absl::OkStatus();
  }

  bool empty() const { return parts_.empty(); }

  absl::StatusOr<PlannedFile> Plan(size_t rank, size_t count) const {
    std::vector<const NamedTensor*> parts;
    for (const NamedTensor& part : parts_) parts.push_back(&part);
    return LayOut(absl::StrFormat("shard-%05d-model-00001-of-00001.safetensors",
                                  rank + 1),
                  {{kShardingInfo, WriteShardingInfo(info_)},
                   {"DCP_VERSION", "1.0"},
                   {std::string(kShardCount), absl::StrCat(count)}},
                  std::move(parts));
  }

 private:
  std::deque<NamedTensor> parts_;
  ShardingInfo info_;
};

class DcpSafetensorsFormat : public CheckpointFormat {
 public:
  absl::string_view name() const override { return "dcp_safetensors"; }

  Certainty Detect(const std::vector<std::string>& names) const override {
    const bool others = absl::c_any_of(names, [](const std::string& name) {
      return !absl::StartsWith(name, ".") && RankNumber(name) == 0 &&
             (absl::EndsWith(name, ".safetensors") ||
              absl::EndsWith(name, ".safetensors.index.json"));
    });
    return others || RankFiles(names).empty() ? Certainty::kNone
                                              : Certainty::kCertain;
  }

  absl::StatusOr<Checkpoint> Open(const Location& folder,
                                  const std::vector<std::string>& names,
                                  const std::string& file,
                                  const OpenOptions&) const override {
    std::vector<std::string> files = {file};
    if (file.empty()) {
      files = RankFiles(names);
      WINDLASS_RETURN_IF_ERROR(CheckNoGap(folder, files));
    }
    const int count = static_cast<int>(files.size());
    std::vector<ReadShard> read(count);
    WINDLASS_RETURN_IF_ERROR(ParallelFor(count, [&](int i) -> absl::Status {
      WINDLASS_ASSIGN_OR_RETURN(read[i], ReadShardHeader(folder, files[i]));
      return absl::OkStatus();
    }));
    if (file.empty()) WINDLASS_RETURN_IF_ERROR(CheckCount(folder, read));
    Checkpoint checkpoint;
    checkpoint.is_part = !file.empty();
    checkpoint.is_ranks = true;
    Collector collector;
    for (ReadShard& shard : read) {
      checkpoint.shards.push_back(shard.shard);
      WINDLASS_RETURN_IF_ERROR(collector.Add(std::move(shard)));
    }
    absl::StatusOr<StateDict> tensors = std::move(collector).Build();
    if (!tensors.ok()) return Annotate(tensors.status(), folder.path);
    checkpoint.tensors = *std::move(tensors);
    return checkpoint;
  }

  absl::StatusOr<TransferPlan> Plan(
      const StateDict& tensors, const Checkpoint&,
      const LayOutOptions& options) const override {
    if (options.max_shard_bytes > 0) {
      return absl::InvalidArgumentError(
          "found a largest size of shards, expected their number: the format "
          "dcp_safetensors cuts every tensor into as many");
    }
    const int ranks = std::max(options.num_shards, 1);
    TransferPlan plan;
    plan.cuts_tensors = ranks > 1;
    std::vector<RankFile> files(ranks);
    for (const NamedTensor& named : tensors) {
      int rank = 0;
      for (const RowRange& rows : CutRows(named.tensor, ranks)) {
        WINDLASS_RETURN_IF_ERROR(files[rank++].Add(named, rows));
      }
    }
    while (files.size() > 1 && files.back().empty()) files.pop_back();
    for (size_t rank = 0; rank < files.size(); ++rank) {
      WINDLASS_ASSIGN_OR_RETURN(PlannedFile file,
                                files[rank].Plan(rank, files.size()));
      plan.files.push_back(std::move(file));
    }
    return plan;
  }

  absl::StatusOr<CheckpointFiles> FindFiles(
      const Location& folder) const override {
    WINDLASS_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                              ListNames(folder));
    return CheckpointFiles{"", RankFiles(names)};
  }
};

const CheckpointFormatRegistrar registrar(new DcpSafetensorsFormat);

}  // namespace
}  // namespace windlass
