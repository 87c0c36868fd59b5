// The "torch" checkpoint format: what torch.save writes of a state dict, in one
// file (.bin, .pt, .pth) or in numbered ones with pytorch_model.bin.index.json.

#include <algorithm>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "windlass/core/status_macros.h"
#include "windlass/io/checkpoint.h"
#include "windlass/io/parallel.h"
#include "windlass/io/safetensors/index.h"
#include "windlass/io/safetensors/shard_names.h"
#include "windlass/io/torch/archive.h"
#include "windlass/io/torch/find_state_dict.h"
#include "windlass/io/torch/writer.h"

namespace windlass {
namespace {

constexpr absl::string_view kIndexName = "pytorch_model.bin.index.json";
constexpr absl::string_view kModelName = "pytorch_model.bin";
constexpr absl::string_view kModelFamily = "pytorch_model-";
constexpr absl::string_view kSuffixes[] = {".bin", ".pt", ".pth"};

// Files of torch.save that trainers and models keep beside the weights.
constexpr absl::string_view kOtherFiles[] = {
    "optimizer", "rng_state",      "scaler",       "scheduler",
    "spk_dict",  "step_scheduler", "training_args"};

// A tensor's name takes a few hundred bytes at most; a million of them fit.
constexpr int64_t kMaxIndexBytes = int64_t{1} << 30;

bool IsTorchFile(absl::string_view name) {
  return !absl::StartsWith(name, ".") &&
         absl::c_any_of(kSuffixes, [name](absl::string_view suffix) {
           return absl::EndsWith(name, suffix);
         });
}

// Of a folder's names, the files that may hold the model.
std::vector<std::string> WeightFiles(const std::vector<std::string>& names) {
  std::vector<std::string> files;
  for (const std::string& name : names) {
    const bool other =
        absl::c_any_of(kOtherFiles, [&name](absl::string_view beginning) {
          return absl::StartsWith(name, beginning);
        });
    if (IsTorchFile(name) && !other) files.push_back(name);
  }
  return files;
}

// The numbered files of the model, as many as there are.
std::vector<std::string> ModelFamily(const std::vector<std::string>& names) {
  std::vector<std::string> family;
  for (const std::string& name : WeightFiles(names)) {
    if (absl::StartsWith(name, kModelFamily) &&
        ParseShardNumber(name).has_value()) {
      family.push_back(name);
    }
  }
  return family;
}

// A file, read.
struct ReadFile {
  Shard shard;
  std::vector<NamedTensor> tensors;
  std::vector<std::string> objects;
};

absl::StatusOr<ReadFile> ReadTorchFile(const Location& folder,
                                       const std::string& name,
                                       const OpenOptions& options) {
  ReadFile read;
  WINDLASS_ASSIGN_OR_RETURN(
      auto file, folder.storage->OpenForRead(JoinPath(folder.path, name)));
  const std::string& path = file->name();
  const absl::StatusOr<TorchArchive> archive =
      TorchArchive::Open(Extent{file, 0, file->size()});
  if (!archive.ok()) return Annotate(archive.status(), path);
  absl::StatusOr<FoundStateDict> found =
      FindStateDict(archive->root(), options.state_dict_key);
  if (!found.ok()) return Annotate(found.status(), path);
  read.tensors.reserve(found->tensors.size());
  for (auto& [tensor_name, node] : found->tensors) {
    absl::StatusOr<Tensor> tensor = archive->GetTensor(*node);
    if (!tensor.ok()) {
      return Annotate(tensor.status(), path, ": tensor \"",
                      absl::CHexEscape(tensor_name), "\"");
    }
    read.tensors.push_back({std::move(tensor_name), *std::move(tensor)});
  }
  read.objects = std::move(found->objects);
  read.shard = {name, std::move(file), {}};
  return read;
}

absl::Status AddFile(ReadFile read, Checkpoint* checkpoint) {
  for (NamedTensor& named : read.tensors) {
    if (checkpoint->tensors.Contains(named.name)) {
      return absl::InvalidArgumentError(absl::StrCat(
          read.shard.file->name(), ": tensor \"", absl::CHexEscape(named.name),
          "\": found twice in the checkpoint"));
    }
    WINDLASS_RETURN_IF_ERROR(checkpoint->tensors.Insert(
        std::move(named.name), std::move(named.tensor)));
  }
  absl::c_move(read.objects, std::back_inserter(checkpoint->objects));
  checkpoint->shards.push_back(std::move(read.shard));
  return absl::OkStatus();
}

// Every tensor of a file is one that the index has there, and all of those are.
absl::Status CheckIndexed(
    const std::string& path, const ReadFile& read,
    const absl::flat_hash_set<absl::string_view>& listed) {
  size_t found = 0;
  for (const NamedTensor& named : read.tensors) {
    if (!listed.contains(named.name)) {
      return absl::InvalidArgumentError(absl::StrCat(
          path, ": tensor \"", absl::CHexEscape(named.name), "\": found in ",
          read.shard.name, ", expected in the index too"));
    }
    ++found;
  }
  if (found == listed.size()) return absl::OkStatus();
  absl::flat_hash_set<absl::string_view> missing = listed;
  for (const NamedTensor& named : read.tensors) missing.erase(named.name);
  return absl::InvalidArgumentError(absl::StrCat(
      path, ": tensor \"", absl::CHexEscape(*absl::c_min_element(missing)),
      "\": expected in ", read.shard.name, ", not found there"));
}

class TorchFormat : public CheckpointFormat {
 public:
  absl::string_view name() const override { return "torch"; }

  // Other programs' files end in .bin, too. Where safetensors and torch's files
  // stand together, as many models are published, loaders take the former.
  Certainty Detect(const std::vector<std::string>& names) const override {
    if (absl::c_linear_search(names, kIndexName) ||
        absl::c_linear_search(names, kModelName)) {
      return Certainty::kLikely;
    }
    const bool is_file = names.size() == 1 && IsTorchFile(names[0]);
    return is_file || !WeightFiles(names).empty() ? Certainty::kPossible
                                                  : Certainty::kNone;
  }

  bool IsFileName(absl::string_view name) const override {
    return IsTorchFile(name);
  }

  absl::StatusOr<Checkpoint> Open(const Location& folder,
                                  const std::vector<std::string>& names,
                                  const std::string& file,
                                  const OpenOptions& options) const override {
    Checkpoint checkpoint;
    std::vector<std::string> files = {file};
    WeightMap index;
    const bool indexed = file.empty() && !options.ignore_index &&
                         absl::c_linear_search(names, kIndexName);
    if (indexed) {
      checkpoint.index_name = std::string(kIndexName);
      WINDLASS_ASSIGN_OR_RETURN(index, ReadIndex(folder));
      checkpoint.index_metadata = index.metadata;
      files = index.files;
      absl::c_sort(files);
    } else if (file.empty()) {
      WINDLASS_ASSIGN_OR_RETURN(files, ChooseFiles(folder, names));
    }
    const int count = static_cast<int>(files.size());
    std::vector<ReadFile> read(count);
    WINDLASS_RETURN_IF_ERROR(ParallelFor(count, [&](int i) -> absl::Status {
      WINDLASS_ASSIGN_OR_RETURN(read[i],
                                ReadTorchFile(folder, files[i], options));
      return absl::OkStatus();
    }));
    if (indexed) {
      WINDLASS_RETURN_IF_ERROR(CheckIndex(
          JoinPath(folder.path, checkpoint.index_name), index, read));
    }
    for (ReadFile& one : read) {
      WINDLASS_RETURN_IF_ERROR(AddFile(std::move(one), &checkpoint));
    }
    if (file.empty()) {
      const absl::flat_hash_set<absl::string_view> used(files.begin(),
                                                        files.end());
      for (std::string& name : WeightFiles(names)) {
        if (!used.contains(name))
          checkpoint.left_out.push_back(std::move(name));
      }
    } else {
      const std::optional<ShardNumber> number = ParseShardNumber(file);
      checkpoint.is_part = number.has_value() && number->total > 1;
    }
    return checkpoint;
  }

  absl::StatusOr<TransferPlan> Plan(
      const StateDict& tensors, const Checkpoint& like,
      const LayOutOptions& options) const override {
    return PlanTorch(tensors, like, options);
  }

  absl::StatusOr<CheckpointFiles> FindFiles(
      const Location& folder) const override {
    WINDLASS_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                              ListNames(folder));
    CheckpointFiles files;
    if (absl::c_linear_search(names, kIndexName)) {
      files.index = std::string(kIndexName);
      // Whoever replaces an index that cannot be read knows of no shard.
      const absl::StatusOr<WeightMap> index = ReadIndex(folder);
      if (!index.ok()) return files;
      absl::c_copy_if(index->files, std::back_inserter(files.shards),
                      IsTorchFile);
      return files;
    }
    // Of other names, a file may be anybody's.
    if (absl::c_linear_search(names, kModelName)) {
      files.shards = {std::string(kModelName)};
    } else {
      files.shards = ModelFamily(names);
    }
    return files;
  }

 private:
  static absl::StatusOr<WeightMap> ReadIndex(const Location& folder) {
    const std::string path = JoinPath(folder.path, kIndexName);
    WINDLASS_ASSIGN_OR_RETURN(
        const std::string text,
        windlass::ReadFile(*folder.storage, path, kMaxIndexBytes));
    absl::StatusOr<WeightMap> index = ParseWeightMap(text);
    if (!index.ok()) return Annotate(index.status(), path);
    const absl::Status whole = CheckFamiliesWhole(index->files);
    if (!whole.ok()) return Annotate(whole, path);
    return index;
  }

  static absl::Status CheckIndex(const std::string& path,
                                 const WeightMap& index,
                                 const std::vector<ReadFile>& read) {
    absl::flat_hash_map<absl::string_view,
                        absl::flat_hash_set<absl::string_view>>
        listed;
    for (const WeightMap::Entry& entry : index.entries) {
      listed[index.files[entry.file]].insert(index.NameOf(entry));
    }
    for (const ReadFile& one : read) {
      WINDLASS_RETURN_IF_ERROR(CheckIndexed(path, one, listed[one.shard.name]));
    }
    return absl::OkStatus();
  }

  // pytorch_model.bin, the numbered family of that name, or the one file.
  static absl::StatusOr<std::vector<std::string>> ChooseFiles(
      const Location& folder, const std::vector<std::string>& names) {
    const std::vector<std::string> found = WeightFiles(names);
    if (absl::c_linear_search(found, kModelName)) {
      return std::vector<std::string>{std::string(kModelName)};
    }
    if (found.empty()) {
      return absl::NotFoundError(absl::StrCat(
          folder.path, ": found no file that torch.save may have written"));
    }
    std::vector<std::string> family = ModelFamily(names);
    if (family.empty() && found.size() == 1) return found;
    if (family.empty()) {
      return absl::InvalidArgumentError(absl::StrCat(
          folder.path, ": found ", JoinNames(found), ", expected ", kModelName,
          ", one numbered family or one file (give the file that is meant)"));
    }
    const absl::Status whole = CheckFamiliesWhole(family);
    if (!whole.ok()) return Annotate(whole, folder.path);
    return family;
  }
};

const CheckpointFormatRegistrar registrar(new TorchFormat);

}  // namespace
}  // namespace windlass
