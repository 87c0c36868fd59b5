// The "safetensors" checkpoint format: a file, a folder of files, or a folder
// with an index (model.safetensors.index.json) that says which tensor lies in
// which file.

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/cleanup/cleanup.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "windlass/core/leading_bytes.h"
#include "windlass/core/status_macros.h"
#include "windlass/io/checkpoint.h"
#include "windlass/io/output_shards.h"
#include "windlass/io/parallel.h"
#include "windlass/io/safetensors/file_layout.h"
#include "windlass/io/safetensors/header.h"
#include "windlass/io/safetensors/index.h"
#include "windlass/io/safetensors/shard_file.h"
#include "windlass/io/safetensors/shard_names.h"

namespace windlass {
namespace {

constexpr absl::string_view kFormatName = "safetensors";
constexpr absl::string_view kSuffix = ".safetensors";
constexpr absl::string_view kIndexSuffix = ".safetensors.index.json";
constexpr absl::string_view kSingleName = "model.safetensors";
constexpr absl::string_view kIndexName = "model.safetensors.index.json";

// A tensor's name takes a few hundred bytes at most; a million of them fit.
constexpr int64_t kMaxIndexBytes = int64_t{1} << 30;

constexpr absl::string_view kIgnoreHint =
    " (fetch the checkpoint again, or ignore the index)";

absl::StatusOr<WeightMap> ReadIndex(
    const Location& folder, const std::string& name,
    absl::FunctionRef<void(const std::string&)> found = [](const std::string&) {
    }) {
  const std::string path = JoinPath(folder.path, name);
  WINDLASS_ASSIGN_OR_RETURN(const std::string text,
                            ReadFile(*folder.storage, path, kMaxIndexBytes));
  absl::StatusOr<WeightMap> map = ParseWeightMap(text, found);
  if (map.ok()) return map;
  const bool is_json =
      absl::StartsWith(absl::StripLeadingAsciiWhitespace(text), "{");
  const std::string what = is_json ? "" : DescribeLeadingBytes(text);
  if (what.empty()) return Annotate(map.status(), path);
  return absl::InvalidArgumentError(
      absl::StrCat(path, ": found ", what, ", expected an index"));
}

// The shard that a tensor of this checkpoint lies in.
const std::string& ShardOf(const Tensor& tensor, const Checkpoint& checkpoint) {
  const auto source = tensor.source()->Verbatim()->source;
  return absl::c_find_if(
             checkpoint.shards,
             [&source](const Shard& shard) { return shard.file == source; })
      ->name;
}

// Adds a shard and its tensors to a checkpoint.
absl::Status AddShard(ReadShard read, Checkpoint* checkpoint) {
  for (NamedTensor& named : read.tensors) {
    if (const Tensor* taken = checkpoint->tensors.Find(named.name)) {
      return absl::InvalidArgumentError(
          absl::StrCat(read.shard.file->name(), ": tensor \"", named.name,
                       "\": found in ", ShardOf(*taken, *checkpoint), " too"));
    }
    WINDLASS_RETURN_IF_ERROR(checkpoint->tensors.Insert(
        std::move(named.name), std::move(named.tensor)));
  }
  checkpoint->shards.push_back(std::move(read.shard));
  return absl::OkStatus();
}

// "tensor "a": what (and 3 tensors more)"
absl::Status IndexError(const std::string& path, absl::string_view tensor,
                        absl::string_view what, size_t count = 1) {
  return absl::InvalidArgumentError(absl::StrCat(
      path, ": tensor \"", tensor, "\": ", what,
      count > 1 ? absl::StrCat(" (and ", count - 1, " tensors more)") : "",
      kIgnoreHint));
}

// The tensors of a file, in a checkpoint.
struct FileTensors {
  StateDict::const_iterator next;
  int64_t count;
};

// Whether the index has each file's tensors in the file's order, and no others:
// what most writers leave, found out in a fraction of the time. `files` is in
// the index's order.
bool ListsInOrder(const WeightMap& index, std::vector<FileTensors> files) {
  for (const WeightMap::Entry& entry : index.entries) {
    FileTensors& file = files[entry.file];
    if (file.count == 0 || file.next->name != index.NameOf(entry)) return false;
    ++file.next;
    --file.count;
  }
  return absl::c_all_of(
      files, [](const FileTensors& file) { return file.count == 0; });
}

// Every tensor of the index is where it says, and there is no other.
absl::Status CheckIndex(const std::string& path, const WeightMap& index,
                        const Checkpoint& checkpoint) {
  absl::flat_hash_map<absl::string_view, const ByteSource*> shard_files;
  for (const Shard& shard : checkpoint.shards) {
    shard_files.emplace(shard.name, shard.file.get());
  }
  std::vector<const ByteSource*> files;
  for (const std::string& name : index.files) {
    files.push_back(shard_files.at(name));
  }
  absl::flat_hash_set<const Tensor*> listed;
  listed.reserve(index.entries.size());
  std::vector<const WeightMap::Entry*> misplaced;
  for (const WeightMap::Entry& entry : index.entries) {
    const absl::string_view name = index.NameOf(entry);
    const Tensor* tensor = checkpoint.tensors.Find(name);
    if (tensor == nullptr ||
        tensor->source()->Verbatim()->source.get() != files[entry.file]) {
      misplaced.push_back(&entry);
    } else if (!listed.insert(tensor).second) {
      return IndexError(path, name, "found twice");
    }
  }
  if (!misplaced.empty()) {
    const WeightMap::Entry& first = **absl::c_min_element(
        misplaced, [&](const WeightMap::Entry* a, const WeightMap::Entry* b) {
          return index.NameOf(*a) < index.NameOf(*b);
        });
    const Tensor* tensor = checkpoint.tensors.Find(index.NameOf(first));
    return IndexError(
        path, index.NameOf(first),
        absl::StrCat("expected in ", index.files[first.file], ", found ",
                     tensor == nullptr
                         ? "nowhere"
                         : absl::StrCat("in ", ShardOf(*tensor, checkpoint))),
        misplaced.size());
  }
  if (listed.size() == checkpoint.tensors.size()) return absl::OkStatus();
  const NamedTensor& first = *absl::c_find_if(
      checkpoint.tensors, [&listed](const NamedTensor& tensor) {
        return !listed.contains(&tensor.tensor);
      });
  return IndexError(path, first.name,
                    absl::StrCat("found in ", ShardOf(first.tensor, checkpoint),
                                 ", expected in the index too"),
                    checkpoint.tensors.size() - listed.size());
}

// Names that one thread finds and others wait for.
class FileQueue {
 public:
  void Add(const std::string& name) {
    const std::lock_guard<std::mutex> lock(mutex_);
    names_.push_back(name);
    changed_.notify_all();
  }

  // No more will come.
  void Close() {
    const std::lock_guard<std::mutex> lock(mutex_);
    closed_ = true;
    changed_.notify_all();
  }

  // The i-th name, once it is there; nullopt where there never is one.
  std::optional<std::string> Wait(size_t i) {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return closed_ || i < names_.size(); });
    if (i < names_.size()) return names_[i];
    return std::nullopt;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> names_;
  bool closed_ = false;
};

// One output file before it is laid out.
struct Bin : OutputShard {
  SafetensorsMetadata metadata;
};

// Gives a family that lost files numbers without a gap.
void Renumber(std::vector<Bin>* bins) {
  std::vector<std::string*> names;
  for (Bin& bin : *bins) names.push_back(&bin.name);
  RenumberFamilies(names);
}

// What all shards together say. A key that they differ in tells something of
// one shard, not of the model, and new shards are none of them: it goes.
SafetensorsMetadata CommonMetadata(const std::vector<Shard>& shards) {
  struct Value {
    absl::string_view text;
    bool agreed = true;
  };
  absl::flat_hash_map<absl::string_view, Value> values;
  std::vector<absl::string_view> order;
  for (const Shard& shard : shards) {
    for (const auto& [key, text] : shard.metadata) {
      const auto [it, is_new] = values.try_emplace(key, Value{text});
      if (is_new) order.push_back(key);
      if (it->second.text != text) it->second.agreed = false;
    }
  }
  SafetensorsMetadata metadata;
  for (absl::string_view key : order) {
    const Value& value = values.at(key);
    if (value.agreed) metadata.emplace_back(key, value.text);
  }
  return metadata;
}

// Whether a file can have the name and the metadata that a shard had.
bool IsSafetensors(const Checkpoint& checkpoint) {
  return checkpoint.format == nullptr ||
         checkpoint.format->name() == kFormatName;
}

// The output's files, named: as the input's are called, where those are this
// format's and the tensors stay together; otherwise as transformers names them.
absl::StatusOr<std::vector<Bin>> MakeBins(const StateDict& tensors,
                                          const Checkpoint& like,
                                          const LayOutOptions& options) {
  WINDLASS_ASSIGN_OR_RETURN(std::vector<OutputShard> shards,
                            ShareOut(tensors, like, options));
  const SafetensorsMetadata common =
      IsSafetensors(like) ? CommonMetadata(like.shards) : SafetensorsMetadata();
  std::vector<Bin> bins;
  for (size_t i = 0; i < shards.size(); ++i) {
    const Shard* const shard = IsSafetensors(like) ? shards[i].like : nullptr;
    Bin bin{std::move(shards[i]), shard != nullptr ? shard->metadata : common};
    if (bin.number > 0) {
      bin.name = absl::StrFormat("model-%05d-of-%05d.safetensors", bin.number,
                                 like.published.file_count());
    } else if (shard != nullptr) {
      bin.name = shard->name;
    } else if (shards.size() == 1) {
      bin.name = NameOfOnlyFile(like, "model", kSuffix);
    } else {
      bin.name = absl::StrFormat("model-%05d-of-%05d.safetensors", i + 1,
                                 shards.size());
    }
    bins.push_back(std::move(bin));
  }
  return bins;
}

// Why a bin cannot be had by renaming alone; OK where it can.
absl::Status CheckOnlyNamesChange(const Bin& bin, const Shard& shard,
                                  int64_t data_begin) {
  int64_t expected = data_begin;
  for (const NamedTensor* tensor : bin.tensors) {
    const auto extent = tensor->tensor.source()->Verbatim();
    if (!extent.has_value() || extent->source.get() != shard.file.get()) {
      return absl::FailedPreconditionError(absl::StrCat(
          shard.file->name(), ": tensor \"", tensor->name,
          "\": its bytes change, expected only names to change in place"));
    }
    if (extent->offset != expected) {
      return absl::FailedPreconditionError(absl::StrCat(
          shard.file->name(), ": tensor \"", tensor->name,
          "\": another tensor is dropped or moved before it, expected only "
          "names to change in place"));
    }
    expected += extent->size;
  }
  if (expected == shard.file->size()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(shard.file->name(),
                   ": its last tensors are dropped, expected only names to "
                   "change in place"));
}

// What a header may grow by when tensors make room for it. It ends as spaces in
// the header and in a journal, so it is small.
constexpr int64_t kMaxMovedBytes = 64 << 10;

// The entries with the first `count` behind all others.
std::vector<SafetensorsEntry> WithFirstMoved(
    std::vector<SafetensorsEntry> entries, size_t count) {
  const int64_t total = entries.back().end;
  const int64_t moved = entries[count - 1].end;
  for (size_t i = 0; i < entries.size(); ++i) {
    const int64_t shift = i < count ? total - moved : -moved;
    entries[i].begin += shift;
    entries[i].end += shift;
  }
  return entries;
}

// Makes room for a header that is too long by moving the first tensors, a few
// small ones, to the end of the data. Returns their bytes; 0 where that cannot
// be done, and nothing changes then. `data_begin` is where the data begins now.
int64_t MoveFirstTensors(const SafetensorsMetadata& metadata,
                         int64_t data_begin,
                         std::vector<SafetensorsEntry>* entries) {
  // Moved tensors have other offsets, which may take other room in the header.
  int attempts = 8;
  int64_t wanted = 0;
  for (size_t i = 0; i < entries->size() && attempts > 0; ++i) {
    const SafetensorsEntry& entry = (*entries)[i];
    const int64_t position = data_begin + entries->back().end + entry.begin;
    const int element = DTypeBytes(entry.dtype);
    if (entry.end > kMaxMovedBytes ||
        (element > 1 && position % element != 0)) {
      return 0;
    }
    // The data begins at a multiple of eight, as the format wants it.
    if (entry.end < wanted || entry.end % 8 != 0) continue;
    const int64_t moved = entry.end;
    std::vector<SafetensorsEntry> candidate = WithFirstMoved(*entries, i + 1);
    const int64_t needed =
        SerializeSafetensorsHeader(metadata, candidate, 1).size();
    if (needed <= data_begin + moved) {
      *entries = std::move(candidate);
      return moved;
    }
    wanted = needed - data_begin;
    --attempts;
  }
  return 0;
}

absl::StatusOr<InPlaceEdit> PlanEdit(const Bin& bin, const Shard& shard) {
  const ByteSource& file = *shard.file;
  WINDLASS_ASSIGN_OR_RETURN(const SafetensorsHeader old,
                            ReadSafetensorsHeader(file));
  WINDLASS_RETURN_IF_ERROR(CheckOnlyNamesChange(bin, shard, old.data_begin));
  InPlaceEdit edit;
  edit.name = shard.name;
  edit.size = file.size();
  WINDLASS_ASSIGN_OR_RETURN(edit.old_start, ReadRange(file, 0, old.data_begin));
  const SafetensorsMetadata metadata = WithFormat(bin.metadata);
  WINDLASS_ASSIGN_OR_RETURN(std::vector<SafetensorsEntry> entries,
                            Entries(bin.tensors));
  int64_t room = old.data_begin;
  // The shortest header tells what is needed.
  const int64_t needed =
      SerializeSafetensorsHeader(metadata, entries, 1).size();
  if (needed > room) {
    const int64_t moved = MoveFirstTensors(metadata, room, &entries);
    WINDLASS_ASSIGN_OR_RETURN(edit.moved, ReadRange(file, room, moved));
    if (moved == 0) {
      edit.insert = (needed - room + kBlock - 1) / kBlock * kBlock;
    }
    room += moved + edit.insert;
  }
  edit.new_start = SerializeSafetensorsHeader(metadata, entries, room);
  WINDLASS_RETURN_IF_ERROR(CheckHeader(file.name(), edit.new_start.size()));
  return edit;
}

std::vector<OutputShard> ToShards(const std::vector<Bin>& bins) {
  return {bins.begin(), bins.end()};
}

class SafetensorsFormat : public CheckpointFormat {
 public:
  absl::string_view name() const override { return kFormatName; }

  Certainty Detect(const std::vector<std::string>& names) const override {
    Certainty certainty = Certainty::kNone;
    for (const std::string& name : names) {
      if (name == kIndexName || name == kSingleName) return Certainty::kCertain;
      if (Owns(name)) certainty = Certainty::kLikely;
    }
    return certainty;
  }

  static bool Owns(absl::string_view name) {
    return !absl::StartsWith(name, ".") && (absl::EndsWith(name, kSuffix) ||
                                            absl::EndsWith(name, kIndexSuffix));
  }

  absl::StatusOr<CheckpointFiles> FindFiles(
      const Location& folder) const override {
    WINDLASS_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                              ListNames(folder));
    CheckpointFiles found;
    WINDLASS_ASSIGN_OR_RETURN(found.index, FindIndex(folder, names));
    if (found.index.empty()) {
      found.shards = FindLooseShards(names);
      return found;
    }
    // Whoever replaces an index that cannot be read knows of no shard.
    const absl::StatusOr<WeightMap> index = ReadIndex(folder, found.index);
    if (absl::IsInvalidArgument(index.status())) return found;
    if (!index.ok()) return index.status();
    for (const std::string& name : index->files) {
      if (Owns(name)) found.shards.push_back(name);
    }
    return found;
  }

  absl::StatusOr<Checkpoint> Open(const Location& folder,
                                  const std::vector<std::string>& names,
                                  const std::string& file,
                                  const OpenOptions& options) const override {
    if (!file.empty()) return OpenFile(folder, names, file);
    Checkpoint checkpoint;
    if (!options.ignore_index) {
      WINDLASS_ASSIGN_OR_RETURN(checkpoint.index_name,
                                FindIndex(folder, names));
    }
    absl::Status opened = checkpoint.index_name.empty()
                              ? OpenWithoutIndex(folder, names, &checkpoint)
                              : OpenIndexed(folder, names, &checkpoint);
    if (!opened.ok()) return opened;
    absl::flat_hash_set<absl::string_view> used;
    used.insert(checkpoint.index_name);
    for (const Shard& shard : checkpoint.shards) used.insert(shard.name);
    for (const std::string& name : names) {
      if (!used.contains(name) && (Owns(name) || IsVariantIndex(name))) {
        checkpoint.left_out.push_back(name);
      }
    }
    return checkpoint;
  }

  absl::StatusOr<TransferPlan> Plan(
      const StateDict& tensors, const Checkpoint& like,
      const LayOutOptions& options) const override {
    WINDLASS_RETURN_IF_ERROR(CheckKeepsTensorsWhole(options, kFormatName));
    WINDLASS_ASSIGN_OR_RETURN(std::vector<Bin> bins,
                              MakeBins(tensors, like, options));
    const bool published = bins.front().number > 0;
    if (!published) Renumber(&bins);
    TransferPlan plan;
    const bool same_shards = options.max_shard_bytes == 0 &&
                             !like.index_name.empty() && IsSafetensors(like);
    if (bins.size() > 1 || same_shards || published) {
      plan.closing.push_back(
          MakeIndex(same_shards ? like.index_name : std::string(kIndexName),
                    ToShards(bins), like));
    }
    plan.files.resize(bins.size());
    WINDLASS_RETURN_IF_ERROR(
        ParallelFor(static_cast<int>(bins.size()), [&](int i) -> absl::Status {
          WINDLASS_ASSIGN_OR_RETURN(plan.files[i],
                                    LayOut(bins[i].name, bins[i].metadata,
                                           std::move(bins[i].tensors)));
          return absl::OkStatus();
        }));
    return plan;
  }

  absl::StatusOr<InPlacePlan> PlanInPlace(
      const StateDict& tensors, const Checkpoint& input) const override {
    if (input.is_part) {
      return absl::FailedPreconditionError(absl::StrCat(
          input.location.path,
          ": found one file of several, expected their folder to convert in "
          "place"));
    }
    WINDLASS_ASSIGN_OR_RETURN(const std::vector<Bin> bins,
                              MakeBins(tensors, input, {}));
    InPlacePlan plan;
    if (bins.size() != input.shards.size()) {
      return absl::FailedPreconditionError(
          absl::StrCat(input.folder.path,
                       ": a shard loses all its tensors, expected only names "
                       "to change in place"));
    }
    for (size_t i = 0; i < bins.size(); ++i) {
      WINDLASS_ASSIGN_OR_RETURN(InPlaceEdit edit,
                                PlanEdit(bins[i], input.shards[i]));
      plan.edits.push_back(std::move(edit));
    }
    if (!input.index_name.empty()) {
      WINDLASS_ASSIGN_OR_RETURN(
          std::string before,
          ReadFile(*input.folder.storage,
                   JoinPath(input.folder.path, input.index_name),
                   kMaxIndexBytes));
      ClosingFile index = MakeIndex(input.index_name, ToShards(bins), input);
      plan.closing.push_back({std::move(index.name), std::move(before),
                              std::move(index.contents)});
    }
    return plan;
  }

 private:
  // NAME.safetensors.index.fp16.json, as transformers names a variant's.
  static bool IsVariantIndex(absl::string_view name) {
    return !absl::StartsWith(name, ".") &&
           absl::StrContains(name, ".safetensors.index.") &&
           absl::EndsWith(name, ".json");
  }

  static std::vector<std::string> IndexNames(
      const std::vector<std::string>& names) {
    std::vector<std::string> found;
    for (const std::string& name : names) {
      if (!absl::StartsWith(name, ".") && absl::EndsWith(name, kIndexSuffix)) {
        found.push_back(name);
      }
    }
    return found;
  }

  // The index's name, or empty where there is none.
  static absl::StatusOr<std::string> FindIndex(
      const Location& folder, const std::vector<std::string>& names) {
    const std::vector<std::string> found = IndexNames(names);
    if (found.empty()) return std::string();
    if (absl::c_linear_search(found, kIndexName)) {
      return std::string(kIndexName);
    }
    if (found.size() == 1) return found[0];
    return absl::InvalidArgumentError(
        absl::StrCat(folder.path, ": found the indexes ", JoinNames(found),
                     ", expected one"));
  }

  static std::vector<std::string> WeightFiles(
      const std::vector<std::string>& names) {
    std::vector<std::string> found;
    for (const std::string& name : names) {
      if (!absl::StartsWith(name, ".") && absl::EndsWith(name, kSuffix)) {
        found.push_back(name);
      }
    }
    return found;
  }

  // Whether an index in the folder names the file. One that cannot be read may.
  static bool IsIndexed(const Location& folder,
                        const std::vector<std::string>& names,
                        const std::string& file) {
    return absl::c_any_of(IndexNames(names), [&](const std::string& name) {
      const absl::StatusOr<WeightMap> index = ReadIndex(folder, name);
      return !index.ok() || absl::c_linear_search(index->files, file);
    });
  }

  static absl::StatusOr<Checkpoint> OpenFile(
      const Location& folder, const std::vector<std::string>& names,
      const std::string& file) {
    Checkpoint checkpoint;
    WINDLASS_ASSIGN_OR_RETURN(ReadShard shard, ReadShardHeader(folder, file));
    WINDLASS_RETURN_IF_ERROR(AddShard(std::move(shard), &checkpoint));
    const std::optional<ShardNumber> number = ParseShardNumber(file);
    checkpoint.is_part = (number.has_value() && number->total > 1) ||
                         IsIndexed(folder, names, file);
    return checkpoint;
  }

  static absl::Status OpenWithoutIndex(const Location& folder,
                                       const std::vector<std::string>& names,
                                       Checkpoint* checkpoint) {
    const std::vector<std::string> found = WeightFiles(names);
    if (found.empty()) {
      return absl::NotFoundError(
          absl::StrCat(folder.path, ": found no safetensors file"));
    }
    const absl::StatusOr<std::vector<std::string>> files = ChooseShards(found);
    if (!files.ok()) return Annotate(files.status(), folder.path);
    const int count = static_cast<int>(files->size());
    std::vector<ReadShard> read(count);
    WINDLASS_RETURN_IF_ERROR(ParallelFor(count, [&](int i) -> absl::Status {
      WINDLASS_ASSIGN_OR_RETURN(read[i], ReadShardHeader(folder, (*files)[i]));
      return absl::OkStatus();
    }));
    for (ReadShard& shard : read) {
      WINDLASS_RETURN_IF_ERROR(AddShard(std::move(shard), checkpoint));
    }
    return absl::OkStatus();
  }

  // What an index names, against what lies there.
  static absl::Status CheckIndexedFiles(const std::string& path,
                                        const std::vector<std::string>& names,
                                        const WeightMap& index) {
    const std::vector<std::string> there = WeightFiles(names);
    const std::string lies_there =
        there.empty() ? "no safetensors file" : JoinNames(there);
    if (index.entries.empty()) {
      return absl::InvalidArgumentError(absl::StrCat(
          path, ": found an empty weight_map and ", lies_there,
          " beside it, expected the names of tensors", kIgnoreHint));
    }
    const absl::flat_hash_set<absl::string_view> existing(names.begin(),
                                                          names.end());
    std::vector<std::string> missing;
    for (const std::string& file : index.files) {
      if (!existing.contains(file)) missing.push_back(file);
    }
    if (!missing.empty()) {
      absl::c_sort(missing);
      return absl::NotFoundError(
          absl::StrCat(path, ": expected ", JoinNames(missing),
                       " beside the index, found ", lies_there, kIgnoreHint));
    }
    const absl::Status whole = CheckFamiliesWhole(index.files);
    if (whole.ok()) return whole;
    return absl::FailedPreconditionError(absl::StrCat(
        path, ": names part of a model: ", whole.message(), kIgnoreHint));
  }

  static absl::Status OpenIndexed(const Location& folder,
                                  const std::vector<std::string>& names,
                                  Checkpoint* checkpoint) {
    const std::string path = JoinPath(folder.path, checkpoint->index_name);
    const absl::flat_hash_set<absl::string_view> existing(names.begin(),
                                                          names.end());
    // Headers are read while the index still is, each as soon as its file is
    // named: by turn i + 1 the i-th.
    FileQueue queue;
    const int count = static_cast<int>(names.size());
    std::vector<absl::StatusOr<ReadShard>> read(count,
                                                absl::UnknownError("not read"));
    absl::StatusOr<WeightMap> index = WeightMap();
    WINDLASS_RETURN_IF_ERROR(
        ParallelFor(count + 1, [&](int turn) -> absl::Status {
          if (turn == 0) {
            const absl::Cleanup close = [&queue] { queue.Close(); };
            index = ReadIndex(folder, checkpoint->index_name,
                              [&](const std::string& name) {
                                if (existing.contains(name)) queue.Add(name);
                              });
          } else if (const auto name = queue.Wait(turn - 1)) {
            read[turn - 1] = ReadShardHeader(folder, *name);
          }
          return absl::OkStatus();
        }));
    if (!index.ok()) return index.status();
    WINDLASS_RETURN_IF_ERROR(CheckIndexedFiles(path, names, *index));
    checkpoint->index_metadata = std::move(index->metadata);
    checkpoint->tensors.Reserve(index->entries.size());
    std::vector<int> order(index->files.size());
    std::iota(order.begin(), order.end(), 0);
    absl::c_sort(
        order, [&](int a, int b) { return index->files[a] < index->files[b]; });
    std::vector<FileTensors> files(order.size());
    for (int i : order) {
      if (!read[i].ok()) return read[i].status();
      files[i].count = read[i]->tensors.size();
      WINDLASS_RETURN_IF_ERROR(AddShard(*std::move(read[i]), checkpoint));
    }
    StateDict::const_iterator next = checkpoint->tensors.begin();
    for (int i : order) {
      files[i].next = next;
      next += files[i].count;
    }
    if (ListsInOrder(*index, std::move(files))) return absl::OkStatus();
    return CheckIndex(path, *index, *checkpoint);
  }
};

const CheckpointFormatRegistrar registrar(new SafetensorsFormat);

}  // namespace
}  // namespace windlass
