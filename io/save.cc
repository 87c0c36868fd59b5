#include "windlass/io/save.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "windlass/core/json_reader.h"
#include "windlass/core/status_macros.h"
#include "windlass/core/without_exceptions.h"
#include "windlass/io/digests.h"
#include "windlass/io/unfinished.h"

namespace windlass {
namespace {

// Whether `path` is `folder` or lies in it; both canonical.
bool IsWithin(absl::string_view path, absl::string_view folder) {
  return path == folder || absl::StartsWith(path, JoinPath(folder, ""));
}

// Where a path that the input's files have would be written to.
bool IsWritten(absl::string_view path, absl::string_view folder,
               const SavePlan& plan) {
  if (!plan.is_file) return IsWithin(path, folder);
  return path == JoinPath(folder, plan.transfer.files.front().name);
}

// The input must not be reached through the output: neither folder within the
// other, nor a file of the input within the output by links. One file may lie
// beside the folder that it was made from.
absl::Status CheckApart(const Checkpoint& input, const SavePlan& plan) {
  const Location& output = plan.output;
  Storage& storage = *output.storage;
  if (input.folder.storage != &storage) return absl::OkStatus();
  WINDLASS_ASSIGN_OR_RETURN(const std::string from,
                            storage.Canonical(input.folder.path));
  WINDLASS_ASSIGN_OR_RETURN(const std::string to,
                            storage.Canonical(output.path));
  if (IsWithin(to, from) || (!plan.is_file && IsWithin(from, to))) {
    return absl::InvalidArgumentError(
        absl::StrCat(output.path, ": expected a folder apart from the input ",
                     input.folder.path));
  }
  WINDLASS_ASSIGN_OR_RETURN(const Storage::Kind kind,
                            storage.GetKind(output.path));
  if (kind == Storage::Kind::kMissing) return absl::OkStatus();
  std::vector<std::string> files;
  for (const Shard& shard : input.shards) files.push_back(shard.file->name());
  for (const std::string& name : input.side_files) {
    files.push_back(SideFilePath(input, name));
  }
  for (const std::string& file : files) {
    WINDLASS_ASSIGN_OR_RETURN(const std::string path, storage.Canonical(file));
    if (!IsWritten(path, to, plan)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(output.path, ": expected a folder apart from the input ",
                     file, ", which is a link to ", path));
  }
  return absl::OkStatus();
}

// Every format writes names as text. Files of torch.save may have others, as
// Python's strings may.
absl::Status CheckTensorNames(const StateDict& tensors) {
  for (const NamedTensor& named : tensors) {
    if (IsUtf8(named.name)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("tensor \"", absl::CHexEscape(named.name),
                     "\": found a name that is not UTF-8, expected text"));
  }
  return absl::OkStatus();
}

// Each file has a name of its own, that is none of ours.
absl::Status CheckNames(const SavePlan& plan) {
  absl::flat_hash_set<std::string> names = {kDigestsName};
  auto check = [&](const std::string& name) {
    if (names.insert(name).second && !IsOurs(name)) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat(JoinPath(plan.output.path, name),
                     ": found two files that would have this name, expected "
                     "one; shards may not be named like other files"));
  };
  for (const PlannedFile& file : plan.transfer.files) {
    WINDLASS_RETURN_IF_ERROR(check(file.name));
  }
  for (const ClosingFile& file : plan.transfer.closing) {
    WINDLASS_RETURN_IF_ERROR(check(file.name));
  }
  return absl::OkStatus();
}

// Writes one plan into one folder. Each step says what it changes and what a
// crash after it leaves; docs/commit.md draws them together. All of them but
// Look() are for the holder of the folder's lock.
class FolderWriter {
 public:
  FolderWriter(const SavePlan& plan, const TransferOptions& options)
      : plan_(plan),
        options_(options),
        folder_(plan.output),
        storage_(*plan.output.storage) {
    for (const PlannedFile& file : plan.transfer.files) {
      planned_.insert(file.name);
    }
    final_names_ = planned_;
    for (const ClosingFile& file : plan.transfer.closing) {
      final_names_.insert(file.name);
    }
  }

  // Lists the folder. Changes nothing.
  absl::Status Look() {
    WINDLASS_ASSIGN_OR_RETURN(const Storage::Kind kind,
                              storage_.GetKind(folder_.path));
    if (kind == Storage::Kind::kMissing) return absl::OkStatus();
    if (kind != Storage::Kind::kDirectory) {
      return absl::InvalidArgumentError(
          absl::StrCat(folder_.path, ": found a file, expected a folder"));
    }
    if (plan_.is_file) return LookAtFile();
    WINDLASS_ASSIGN_OR_RETURN(old_,
                              FindCheckpointFiles(folder_, *plan_.format));
    return List("");
  }

  bool unfinished() const { return unfinished_; }

  // Finds the files that earlier runs of this plan left whole. Where nobody
  // asked to resume, temporaries are written anew; but what stands under a
  // final name in an unfinished folder must be known to be ours.
  absl::Status FindWhole() {
    if (!plan_.resume && (plan_.overwrite || !unfinished_)) {
      return absl::OkStatus();
    }
    std::vector<WholeFile::Place> places = {WholeFile::kFinal};
    if (plan_.resume) places.push_back(WholeFile::kTemporary);
    WINDLASS_ASSIGN_OR_RETURN(
        whole_, FindWholeFiles(plan_.transfer, folder_, places, options_));
    return absl::OkStatus();
  }

  // Refuses a folder with files that are not ours, unless they may go.
  absl::Status CheckMayWrite() const {
    if (plan_.overwrite) return absl::OkStatus();
    std::vector<std::string> foreign;
    for (const std::string& name : names_) {
      const auto it = whole_.find(name);
      const bool is_whole =
          it != whole_.end() && it->second.place == WholeFile::kFinal;
      if (!IsOurs(BaseName(name)) && !is_whole && !IsClosingFile(name)) {
        foreign.push_back(name);
      }
    }
    if (foreign.empty()) return absl::OkStatus();
    return absl::FailedPreconditionError(absl::StrCat(
        folder_.path, ": found ", foreign[0],
        foreign.size() > 1 ? absl::StrCat(" and ", foreign.size() - 1, " more")
                           : "",
        unfinished_ ? ", which this conversion has not written, beside an "
                      "unfinished one"
                    : "",
        ", expected ", plan_.is_file ? "no such file" : "an empty folder",
        " or to be told to overwrite"));
  }

  // Whether the plan has been carried out to the end.
  bool IsDone() const {
    return absl::c_all_of(plan_.transfer.files,
                          [this](const PlannedFile& file) {
                            const auto it = whole_.find(file.name);
                            return it != whole_.end() &&
                                   it->second.place == WholeFile::kFinal;
                          }) &&
           absl::c_all_of(Closing(), [this](const ClosingFile& file) {
             return Holds(file.name, file.contents);
           });
  }

  // What is still to be written must fit what is free, together with what
  // temporaries that are not whole will give back.
  absl::Status CheckSpace() const {
    const std::optional<int64_t> free = storage_.FreeBytes(folder_.path);
    if (!free.has_value()) return absl::OkStatus();
    int64_t needed = plan_.transfer.bytes();
    for (const PlannedFile& file : plan_.transfer.files) {
      if (whole_.count(file.name) > 0) needed -= file.size;
    }
    int64_t room = *free;
    for (const std::string& name : StaleTemporaries()) {
      const auto file = storage_.OpenForRead(JoinPath(folder_.path, name));
      if (file.ok()) room += (*file)->size();
    }
    if (needed <= room) return absl::OkStatus();
    return absl::ResourceExhaustedError(
        absl::StrCat(folder_.path, ": no space left: found ", room,
                     " bytes free, expected ", needed));
  }

  // Marks the folder as unfinished, then removes stale temporaries. A crash
  // leaves the marker, temporaries, and under final names what stood there.
  absl::Status Begin() {
    if (!unfinished_ && !plan_.is_file) {
      WINDLASS_ASSIGN_OR_RETURN(const auto marker,
                                CreateNew(storage_, MarkerPath()));
      WINDLASS_RETURN_IF_ERROR(marker->Close());
    }
    for (const std::string& name : StaleTemporaries()) {
      WINDLASS_RETURN_IF_ERROR(Remove(name));
    }
    for (const PlannedFile& file : plan_.transfer.files) {
      WINDLASS_RETURN_IF_ERROR(MakeParent(file.name));
    }
    return SyncFolders();
  }

  // Writes the temporaries that are missing. Inputs must not have changed
  // meanwhile. A crash leaves what one after Begin() leaves.
  absl::Status Write() {
    WINDLASS_RETURN_IF_ERROR(
        WriteTemporaries(plan_.transfer, folder_, options_, &whole_));
    for (const auto& input : plan_.inputs) {
      WINDLASS_RETURN_IF_ERROR(input->CheckUnchanged());
    }
    return absl::OkStatus();
  }

  // After an error in Begin() or Write(): all that this run wrote goes, and the
  // marker if it is this run's. One who stopped us on purpose keeps it all.
  void Undo(const absl::Status& error) {
    if (absl::IsCancelled(error)) return;
    for (const PlannedFile& file : plan_.transfer.files) {
      storage_.Remove(TemporaryPath(folder_, file.name)).IgnoreError();
    }
    if (!unfinished_ && !plan_.is_file) {
      storage_.Remove(MarkerPath()).IgnoreError();
    }
  }

  // From here on the folder holds neither the old checkpoint nor the new one,
  // and the marker says so. What is replaced and will not be written over goes,
  // the index last: it never speaks of files that are not its own, and a run
  // that goes on after a crash still finds the list.
  absl::Status RemoveOld() {
    if (plan_.is_file) return absl::OkStatus();
    std::vector<std::string> names;
    for (const CheckpointFiles& old : old_) {
      names.insert(names.end(), old.shards.begin(), old.shards.end());
    }
    for (const char* ours : {kDigestsName, kJournalName, kConvertedName}) {
      names.push_back(ours);
    }
    for (const CheckpointFiles& old : old_) {
      if (!old.index.empty()) names.push_back(old.index);
    }
    for (const std::string& name : names) {
      if (planned_.count(name) > 0) continue;
      absl::Status removed = Remove(name);
      if (!absl::IsNotFound(removed)) WINDLASS_RETURN_IF_ERROR(removed);
    }
    return absl::OkStatus();
  }

  // Gives the files their names, those of the closing files last. A crash
  // leaves some of them under final names, each whole.
  absl::Status Publish() {
    for (const PlannedFile& file : plan_.transfer.files) {
      if (whole_.at(file.name).place == WholeFile::kFinal) continue;
      WINDLASS_RETURN_IF_ERROR(
          storage_.Rename(TemporaryPath(folder_, file.name),
                          JoinPath(folder_.path, file.name)));
    }
    WINDLASS_RETURN_IF_ERROR(SyncFolders());
    for (const ClosingFile& file : Closing()) {
      WINDLASS_RETURN_IF_ERROR(WriteFile(storage_,
                                         JoinPath(folder_.path, file.name),
                                         file.contents, options_.sync));
      if (options_.bytes_done != nullptr) {
        options_.bytes_done->fetch_add(file.contents.size());
      }
    }
    return SyncFolders();
  }

  // All is whole under its final name: stale temporaries go, then the marker.
  absl::Status End() {
    for (const std::string& name : StaleTemporaries()) {
      absl::Status removed = Remove(name);
      if (!absl::IsNotFound(removed)) WINDLASS_RETURN_IF_ERROR(removed);
    }
    if (plan_.is_file) return SyncFolders();
    absl::Status removed = storage_.Remove(MarkerPath());
    if (!absl::IsNotFound(removed)) WINDLASS_RETURN_IF_ERROR(removed);
    return SyncFolders();
  }

 private:
  std::string MarkerPath() const {
    return JoinPath(folder_.path, kUnfinishedName);
  }

  // Makes the folder of a file that lies deeper, unless it leads elsewhere.
  absl::Status MakeParent(const std::string& name) {
    if (DirName(name) == ".") return absl::OkStatus();
    const std::string parent = JoinPath(folder_.path, DirName(name));
    WINDLASS_RETURN_IF_ERROR(storage_.MakeDirectory(parent));
    WINDLASS_ASSIGN_OR_RETURN(const std::string from,
                              storage_.Canonical(folder_.path));
    WINDLASS_ASSIGN_OR_RETURN(const std::string to, storage_.Canonical(parent));
    if (to == JoinPath(from, DirName(name))) return absl::OkStatus();
    return absl::FailedPreconditionError(
        absl::StrCat(parent, ": found a link to ", to, ", expected a folder"));
  }

  absl::Status Remove(const std::string& name) {
    return storage_.Remove(JoinPath(folder_.path, name));
  }

  // Of a folder that is not ours, the one name and the temporary's.
  absl::Status LookAtFile() {
    const std::string& name = *planned_.begin();
    for (const std::string& each : {name, TemporaryName(name)}) {
      WINDLASS_ASSIGN_OR_RETURN(const Storage::Kind kind,
                                storage_.GetKind(JoinPath(folder_.path, each)));
      if (kind == Storage::Kind::kMissing) continue;
      if (kind == Storage::Kind::kDirectory) {
        return absl::FailedPreconditionError(
            absl::StrCat(JoinPath(folder_.path, each),
                         ": found a folder in a file's place"));
      }
      names_.push_back(each);
    }
    return absl::OkStatus();
  }

  // Adds the names below `within`, relative to the folder; folders that the
  // plan writes into are looked into.
  absl::Status List(const std::string& within) {
    WINDLASS_ASSIGN_OR_RETURN(const std::vector<Storage::Entry> entries,
                              storage_.List(JoinPath(folder_.path, within)));
    for (const Storage::Entry& entry : entries) {
      const std::string name = JoinPath(within, entry.name);
      const auto below = planned_.lower_bound(JoinPath(name, ""));
      if (entry.kind == Storage::Kind::kDirectory && below != planned_.end() &&
          absl::StartsWith(*below, JoinPath(name, ""))) {
        WINDLASS_RETURN_IF_ERROR(List(name));
      } else if (entry.kind == Storage::Kind::kDirectory &&
                 (final_names_.count(name) > 0 || IsOurs(entry.name))) {
        return absl::FailedPreconditionError(
            absl::StrCat(JoinPath(folder_.path, name),
                         ": found a folder in a file's place"));
      } else if (name == kUnfinishedName) {
        unfinished_ = true;
      } else {
        names_.push_back(name);
      }
    }
    return absl::OkStatus();
  }

  // Temporaries of ours, but for those that will be given their names.
  std::vector<std::string> StaleTemporaries() const {
    std::set<std::string> keep;
    for (const auto& [name, file] : whole_) {
      if (file.place != WholeFile::kTemporary) continue;
      keep.insert(JoinPath(DirName(name), TemporaryName(BaseName(name))));
    }
    std::vector<std::string> stale;
    for (const std::string& name : names_) {
      if (absl::EndsWith(name, kPartialSuffix) && keep.count(name) == 0) {
        stale.push_back(name);
      }
    }
    return stale;
  }

  // What makes the files a whole; with the digests of the files known so far.
  std::vector<ClosingFile> Closing() const {
    std::vector<ClosingFile> closing;
    if (options_.digest != DigestKind::kNone) {
      closing.push_back({kDigestsName, SerializeDigests(CollectDigests())});
    }
    closing.insert(closing.end(), plan_.transfer.closing.begin(),
                   plan_.transfer.closing.end());
    return closing;
  }

  Digests CollectDigests() const {
    Digests digests;
    digests.kind = options_.digest;
    for (const PlannedFile& file : plan_.transfer.files) {
      const auto it = whole_.find(file.name);
      if (it == whole_.end()) continue;
      const std::map<std::string, std::string> by_name(
          it->second.digests.begin(), it->second.digests.end());
      for (const Piece& piece : file.pieces) {
        const PlannedTensor* const planned = piece.tensor();
        if (planned == nullptr) continue;
        const auto digest = by_name.find(planned->name);
        if (digest == by_name.end()) continue;
        const TensorDigest tensor = {planned->tensor.dtype(),
                                     planned->tensor.shape(), digest->second};
        digests.tensors[planned->name] = tensor;
        for (const std::string& alias : planned->aliases) {
          digests.tensors[alias] = tensor;
        }
      }
    }
    return digests;
  }

  // Whether a closing file of the plan stands there, as an earlier run that
  // came so far left it.
  bool IsClosingFile(const std::string& name) const {
    if (!plan_.resume && !unfinished_) return false;
    return absl::c_any_of(Closing(), [&](const ClosingFile& file) {
      return file.name == name && Holds(name, file.contents);
    });
  }

  bool Holds(const std::string& name, const std::string& contents) const {
    const auto found =
        ReadFile(storage_, JoinPath(folder_.path, name), contents.size());
    return found.ok() && *found == contents;
  }

  absl::Status SyncFolders() const {
    if (!options_.sync) return absl::OkStatus();
    std::set<std::string> folders = {folder_.path};
    for (const PlannedFile& file : plan_.transfer.files) {
      folders.insert(DirName(JoinPath(folder_.path, file.name)));
    }
    for (const std::string& folder : folders) {
      WINDLASS_RETURN_IF_ERROR(storage_.SyncDirectory(folder));
    }
    return absl::OkStatus();
  }

  const SavePlan& plan_;
  const TransferOptions options_;
  const Location& folder_;
  Storage& storage_;
  std::set<std::string> planned_;      // files
  std::set<std::string> final_names_;  // those, and the closing ones
  // What Look() found, but for the marker.
  std::vector<std::string> names_;
  bool unfinished_ = false;
  WholeFiles whole_;
  // The checkpoints that stand there.
  std::vector<CheckpointFiles> old_;
};

// The folder, made if it is not there, for this process alone.
absl::StatusOr<std::unique_ptr<FolderLock>> LockFolder(const Location& folder,
                                                       bool sync) {
  Storage& storage = *folder.storage;
  WINDLASS_RETURN_IF_ERROR(storage.MakeDirectory(folder.path));
  if (sync) {
    WINDLASS_RETURN_IF_ERROR(storage.SyncDirectory(DirName(folder.path)));
  }
  return storage.Lock(folder.path, LockMode::kExclusive);
}

absl::Status CheckDigests(const SavePlan& plan,
                          const TransferOptions& options) {
  if (options.digest == DigestKind::kNone) return absl::OkStatus();
  if (plan.is_file) {
    return absl::InvalidArgumentError(
        absl::StrCat(JoinPath(plan.output.path, plan.transfer.files[0].name),
                     ": found one file, expected a folder, where digests have "
                     "room"));
  }
  if (plan.transfer.cuts_tensors) {
    return absl::InvalidArgumentError(
        absl::StrCat(plan.output.path,
                     ": found tensors that are cut into several shards, "
                     "expected whole ones to take digests of"));
  }
  return absl::OkStatus();
}

absl::Status WriteLocked(const SavePlan& plan, const TransferOptions& options) {
  FolderWriter writer(plan, options);
  WINDLASS_RETURN_IF_ERROR(writer.Look());
  WINDLASS_RETURN_IF_ERROR(writer.FindWhole());
  WINDLASS_RETURN_IF_ERROR(writer.CheckMayWrite());
  if (!writer.IsDone()) {
    WINDLASS_RETURN_IF_ERROR(writer.CheckSpace());
    absl::Status written = writer.Begin();
    if (written.ok()) written = writer.Write();
    if (!written.ok()) {
      writer.Undo(written);
      return written;
    }
    WINDLASS_RETURN_IF_ERROR(writer.RemoveOld());
    WINDLASS_RETURN_IF_ERROR(writer.Publish());
  }
  return writer.End();
}

}  // namespace

std::vector<std::pair<std::string, Location>> SideFilesOf(
    const Checkpoint& input, const Checkpoint* like) {
  // The first of a name stays.
  std::map<std::string, Location> files;
  for (const Checkpoint* checkpoint : {&input, like}) {
    if (checkpoint == nullptr) continue;
    for (const std::string& name : checkpoint->side_files) {
      files.try_emplace(name, Location{checkpoint->folder.storage,
                                       SideFilePath(*checkpoint, name)});
    }
  }
  return {files.begin(), files.end()};
}

absl::StatusOr<SavePlan> PlanSave(const StateDict& tensors,
                                  const Checkpoint& input,
                                  absl::string_view output,
                                  const SaveOptions& options) {
  SavePlan plan;
  plan.overwrite = options.overwrite;
  plan.resume = options.resume;
  WINDLASS_ASSIGN_OR_RETURN(plan.output, ResolveLocation(output));
  WINDLASS_ASSIGN_OR_RETURN(plan.format, FindFormat(options.format));
  WINDLASS_RETURN_IF_ERROR(CheckTensorNames(tensors));
  LayOutOptions layout;
  layout.max_shard_bytes = options.max_shard_bytes;
  layout.num_shards = options.num_shards;
  layout.objects = options.objects;
  const std::string name = BaseName(plan.output.path);
  plan.is_file = plan.format->IsFileName(name);
  if (plan.is_file) {
    layout.file = name;
    plan.output.path = DirName(plan.output.path);
  }
  layout.by_name = options.like != nullptr;
  WINDLASS_ASSIGN_OR_RETURN(
      plan.transfer,
      plan.format->Plan(
          tensors, options.like != nullptr ? *options.like : input, layout));
  std::vector<const Checkpoint*> sources = options.others;
  sources.push_back(&input);
  if (options.like != nullptr) sources.push_back(options.like);
  for (const Checkpoint* source : sources) {
    for (const Shard& shard : source->shards) plan.inputs.push_back(shard.file);
  }
  std::vector<std::pair<std::string, Location>> side_files;
  if (!plan.is_file) side_files = SideFilesOf(input, options.like);
  for (const auto& [name, location] : side_files) {
    WINDLASS_ASSIGN_OR_RETURN(auto file,
                              location.storage->OpenForRead(location.path));
    const auto edited = absl::c_find_if(
        options.edited,
        [&, name = name](const EditedFile& e) { return e.name == name; });
    Extent contents{file, 0, file->size()};
    if (edited != options.edited.end()) {
      contents.source = std::make_shared<MemorySource>(edited->contents, name);
      contents.size = edited->contents.size();
    }
    plan.transfer.files.push_back(VerbatimFile(name, std::move(contents)));
    plan.transfer.files.back().mode = file->mode();
    plan.inputs.push_back(std::move(file));
  }
  for (const Checkpoint* source : sources) {
    WINDLASS_RETURN_IF_ERROR(CheckApart(*source, plan));
  }
  WINDLASS_RETURN_IF_ERROR(CheckNames(plan));
  FolderWriter writer(plan, {});
  WINDLASS_RETURN_IF_ERROR(writer.Look());
  // What an earlier run wrote is told by its bytes: CheckSave and
  // SaveCheckpoint look at them.
  if (!writer.unfinished() && !plan.resume) {
    WINDLASS_RETURN_IF_ERROR(writer.CheckMayWrite());
  }
  return plan;
}

absl::Status CheckSave(const SavePlan& plan, const TransferOptions& options) {
  return WithoutExceptions([&]() -> absl::Status {
    WINDLASS_RETURN_IF_ERROR(CheckDigests(plan, options));
    FolderWriter writer(plan, options);
    WINDLASS_RETURN_IF_ERROR(writer.Look());
    WINDLASS_RETURN_IF_ERROR(writer.FindWhole());
    return writer.CheckMayWrite();
  });
}

absl::Status SaveCheckpoint(const SavePlan& plan,
                            const TransferOptions& options) {
  return WithoutExceptions([&]() -> absl::Status {
    WINDLASS_RETURN_IF_ERROR(CheckDigests(plan, options));
    WINDLASS_ASSIGN_OR_RETURN(const auto lock,
                              LockFolder(plan.output, options.sync));
    return WriteLocked(plan, options);
  });
}

}  // namespace windlass
