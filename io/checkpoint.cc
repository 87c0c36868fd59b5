#include "windlass/io/checkpoint.h"

#include <algorithm>
#include <map>
#include <optional>

#include "absl/algorithm/container.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "windlass/core/json.h"
#include "windlass/core/status_macros.h"
#include "windlass/io/hugging_face_cache.h"
#include "windlass/io/side_files.h"
#include "windlass/io/transfer/digest.h"

namespace windlass {
namespace {

// While an output folder has a file whose name starts so, a conversion into it
// is not complete. The name goes on with the plan's hash, so that a killed
// conversion can go on where it stopped, and with kOverwrite where the run was
// allowed to replace a checkpoint. The file is empty: removing one that has
// blocks can wait as long for the device as all that was written before it.
constexpr absl::string_view kUnfinished = ".windlass-unfinished-";
constexpr absl::string_view kOverwrite = "-overwrite";

std::vector<const CheckpointFormat*>& Formats() {
  static auto* const formats = new std::vector<const CheckpointFormat*>;
  return *formats;
}

const CheckpointFormat* DetectFormat(const std::vector<std::string>& names) {
  for (const CheckpointFormat* format : Formats()) {
    if (format->Detect(names)) return format;
  }
  return nullptr;
}

bool OwnedByAFormat(absl::string_view name) {
  return absl::c_any_of(Formats(), [name](const CheckpointFormat* format) {
    return format->Owns(name);
  });
}

bool IsOurs(absl::string_view name) {
  return absl::StartsWith(name, kUnfinished) ||
         absl::EndsWith(name, kPartialSuffix);
}

std::vector<std::string> FindMarkers(const Location& output) {
  std::vector<std::string> markers;
  const auto names = output.storage->List(output.path);
  if (!names.ok()) return markers;
  for (const std::string& name : *names) {
    if (absl::StartsWith(name, kUnfinished)) markers.push_back(name);
  }
  return markers;
}

// Leaves `marker` as the only one in the folder; none where it is empty.
absl::Status SetMarker(const Location& output, const std::string& marker,
                       bool sync) {
  if (!marker.empty()) {
    WINDLASS_ASSIGN_OR_RETURN(
        const auto file, output.storage->Create(JoinPath(output.path, marker)));
    WINDLASS_RETURN_IF_ERROR(file->Close());
  }
  for (const std::string& other : FindMarkers(output)) {
    if (other == marker) continue;
    WINDLASS_RETURN_IF_ERROR(
        output.storage->Remove(JoinPath(output.path, other)));
  }
  return sync ? output.storage->SyncDirectory(output.path) : absl::OkStatus();
}

// Whether `path` is `folder` or lies in it; both canonical.
bool IsWithin(absl::string_view path, absl::string_view folder) {
  return path == folder || absl::StartsWith(path, JoinPath(folder, ""));
}

absl::Status CheckOutputFolder(const Location& input, const Location& output,
                               bool overwrite) {
  WINDLASS_ASSIGN_OR_RETURN(const std::string from,
                            input.storage->Canonical(input.path));
  WINDLASS_ASSIGN_OR_RETURN(const std::string to,
                            output.storage->Canonical(output.path));
  if (input.storage == output.storage &&
      (IsWithin(to, from) || IsWithin(from, to))) {
    return absl::InvalidArgumentError(absl::StrCat(
        output.path, ": expected a folder apart from the input ", input.path));
  }
  WINDLASS_ASSIGN_OR_RETURN(const Storage::Kind kind,
                            output.storage->GetKind(output.path));
  if (kind == Storage::Kind::kMissing) return absl::OkStatus();
  if (kind == Storage::Kind::kFile) {
    return absl::InvalidArgumentError(
        absl::StrCat(output.path, ": found a file, expected a folder"));
  }
  WINDLASS_ASSIGN_OR_RETURN(const auto names,
                            output.storage->List(output.path));
  if (overwrite || absl::c_all_of(names, IsOurs)) return absl::OkStatus();
  // What an unfinished run of ours left may go, unless that run was itself
  // about to replace something.
  const std::vector<std::string> markers = FindMarkers(output);
  if (!markers.empty() && absl::c_none_of(markers, [](const auto& marker) {
        return absl::EndsWith(marker, kOverwrite);
      })) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(absl::StrCat(
      output.path, ": found ", names.size(),
      " files, expected an empty folder; --overwrite replaces a checkpoint"));
}

// The nearest folder above `path` that exists.
absl::StatusOr<std::string> ExistingParent(Storage& storage, std::string path) {
  while (true) {
    WINDLASS_ASSIGN_OR_RETURN(const Storage::Kind kind, storage.GetKind(path));
    if (kind != Storage::Kind::kMissing || path == "." || path == "/") {
      return path;
    }
    path = DirName(path);
  }
}

absl::Status CheckSpace(const SavePlan& plan) {
  Storage& storage = *plan.output.storage;
  WINDLASS_ASSIGN_OR_RETURN(const std::string parent,
                            ExistingParent(storage, plan.output.path));
  const std::optional<int64_t> free = storage.FreeBytes(parent);
  if (!free.has_value()) return absl::OkStatus();
  // What an interrupted run wrote is kept or written over.
  int64_t needed = plan.transfer.bytes();
  for (const PlannedFile& file : plan.transfer.files) {
    const auto there = storage.OpenForRead(
        JoinPath(plan.output.path, TemporaryName(file.name)));
    if (there.ok()) needed -= std::min((*there)->size(), file.size);
  }
  if (needed <= *free) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat(plan.output.path, ": no space left: found ", *free,
                   " bytes free, expected ", needed));
}

// Removes what an earlier checkpoint or an interrupted run left in the folder
// and the plan does not replace; the old index too, so that at no time it
// speaks of files that are being replaced.
absl::Status RemoveOld(const SavePlan& plan) {
  absl::flat_hash_set<std::string> keep;
  for (const PlannedFile& file : plan.transfer.files) {
    keep.insert(file.name);
    keep.insert(TemporaryName(file.name));
  }
  Storage& storage = *plan.output.storage;
  WINDLASS_ASSIGN_OR_RETURN(const auto names, storage.List(plan.output.path));
  for (const std::string& name : names) {
    if (keep.contains(name) || !(OwnedByAFormat(name) || name == kDigestsName ||
                                 absl::EndsWith(name, kPartialSuffix))) {
      continue;
    }
    WINDLASS_RETURN_IF_ERROR(storage.Remove(JoinPath(plan.output.path, name)));
  }
  return absl::OkStatus();
}

absl::Status CheckInputsUnchanged(const SavePlan& plan) {
  for (const auto& input : plan.inputs) {
    WINDLASS_RETURN_IF_ERROR(input->CheckUnchanged());
  }
  return absl::OkStatus();
}

// {"digest": "xxh3", "tensors": {"lm_head.weight": "0123..."}}
ClosingFile MakeDigestsFile(const WholeFiles& files, DigestKind kind) {
  std::map<std::string, std::string> sorted;
  for (const auto& [name, digests] : files) {
    sorted.insert(digests.begin(), digests.end());
  }
  Json json;
  json["digest"] = std::string(DigestKindName(kind));
  json["tensors"] = sorted;
  return {kDigestsName, json.dump(1) + "\n"};
}

// Marks the folder, and writes all temporary files that are not there yet.
absl::StatusOr<WholeFiles> WriteMarked(const SavePlan& plan,
                                       const TransferOptions& options) {
  const std::string marker = absl::StrCat(
      kUnfinished,
      PlanHash(plan.transfer,
               absl::StrCat(plan.tag, " ", DigestKindName(options.digest))),
      plan.overwrite ? kOverwrite : "");
  WholeFiles whole;
  if (options.resume &&
      absl::c_linear_search(FindMarkers(plan.output), marker)) {
    WINDLASS_ASSIGN_OR_RETURN(
        whole, FindWholeFiles(plan.transfer, plan.output, options));
  }
  WINDLASS_RETURN_IF_ERROR(SetMarker(plan.output, marker, options.sync));
  WINDLASS_RETURN_IF_ERROR(
      WriteTemporaries(plan.transfer, plan.output, options, &whole));
  return whole;
}

}  // namespace

CheckpointFormatRegistrar::CheckpointFormatRegistrar(
    const CheckpointFormat* format) {
  Formats().push_back(format);
}

absl::StatusOr<CheckpointPlace> FindCheckpoint(absl::string_view uri) {
  WINDLASS_ASSIGN_OR_RETURN(const Location location, ResolveLocation(uri));
  WINDLASS_ASSIGN_OR_RETURN(const Storage::Kind kind,
                            location.storage->GetKind(location.path));
  if (kind == Storage::Kind::kMissing) {
    return absl::NotFoundError(absl::StrCat(uri, ": no such file or folder"));
  }
  CheckpointPlace place{location, location, false};
  if (kind == Storage::Kind::kDirectory) {
    WINDLASS_ASSIGN_OR_RETURN(place.folder, ResolveSnapshot(location));
    place.location = place.folder;
  } else {
    place.is_file = true;
    place.folder.path = DirName(location.path);
  }
  return place;
}

absl::StatusOr<Checkpoint> OpenCheckpoint(absl::string_view uri,
                                          const OpenOptions& options) {
  WINDLASS_ASSIGN_OR_RETURN(const CheckpointPlace place, FindCheckpoint(uri));
  const Location& folder = place.folder;
  const std::string file =
      place.is_file ? BaseName(place.location.path) : std::string();
  absl::StatusOr<std::vector<std::string>> names =
      folder.storage->List(folder.path);
  // A folder that may be entered but not listed hides only its other files.
  if (place.is_file && !names.ok()) names = std::vector<std::string>{file};
  if (!names.ok()) return names.status();
  const CheckpointFormat* const format =
      DetectFormat(place.is_file ? std::vector<std::string>{file} : *names);
  if (format == nullptr) {
    return absl::NotFoundError(absl::StrCat(
        place.location.path, ": found no checkpoint; known formats: ",
        absl::StrJoin(Formats(), ", ",
                      [](std::string* out, const CheckpointFormat* format) {
                        absl::StrAppend(out, format->name());
                      })));
  }
  WINDLASS_ASSIGN_OR_RETURN(Checkpoint checkpoint,
                            format->Open(folder, *names, file, options));
  checkpoint.location = place.location;
  checkpoint.folder = folder;
  if (place.is_file) return checkpoint;
  absl::flat_hash_set<absl::string_view> weights(checkpoint.left_out.begin(),
                                                 checkpoint.left_out.end());
  for (const Shard& shard : checkpoint.shards) weights.insert(shard.name);
  weights.insert(checkpoint.index_name);
  WINDLASS_ASSIGN_OR_RETURN(SideFiles side,
                            FindSideFiles(folder, *names, weights));
  checkpoint.side_files = std::move(side.files);
  checkpoint.left_behind = std::move(side.left_behind);
  return checkpoint;
}

absl::StatusOr<SavePlan> PlanSave(const StateDict& tensors,
                                  const Checkpoint& input,
                                  absl::string_view output,
                                  const SaveOptions& options) {
  SavePlan plan;
  plan.overwrite = options.overwrite;
  plan.tag = options.tag;
  WINDLASS_ASSIGN_OR_RETURN(plan.output, ResolveLocation(output));
  WINDLASS_RETURN_IF_ERROR(
      CheckOutputFolder(input.location, plan.output, options.overwrite));
  const CheckpointFormat& format = *Formats().front();
  WINDLASS_ASSIGN_OR_RETURN(
      plan.transfer, format.Plan(tensors, input, options.max_shard_bytes));
  for (const Shard& shard : input.shards) plan.inputs.push_back(shard.file);
  for (const std::string& name : input.side_files) {
    WINDLASS_ASSIGN_OR_RETURN(
        auto file,
        input.folder.storage->OpenForRead(JoinPath(input.folder.path, name)));
    const int64_t size = file->size();
    plan.transfer.files.push_back(VerbatimFile(name, Extent{file, 0, size}));
    plan.inputs.push_back(std::move(file));
  }
  return plan;
}

absl::Status SaveCheckpoint(const SavePlan& plan,
                            const TransferOptions& options) {
  WINDLASS_RETURN_IF_ERROR(CheckSpace(plan));
  WINDLASS_RETURN_IF_ERROR(
      plan.output.storage->MakeDirectory(plan.output.path));
  if (options.sync) {
    WINDLASS_RETURN_IF_ERROR(
        plan.output.storage->SyncDirectory(DirName(plan.output.path)));
  }
  const bool fresh = FindMarkers(plan.output).empty();
  const absl::StatusOr<WholeFiles> whole = WriteMarked(plan, options);
  absl::Status written = whole.status();
  if (written.ok()) written = CheckInputsUnchanged(plan);
  if (absl::IsCancelled(written)) return written;
  if (!written.ok()) {
    RemoveTemporaries(plan.transfer, plan.output);
    // An earlier run may have been killed while it renamed: then the folder is
    // as unfinished as it was.
    if (fresh) SetMarker(plan.output, "", options.sync).IgnoreError();
    return written;
  }
  // From here on the folder holds neither the old checkpoint nor the new one,
  // and the marker says so.
  TransferPlan commit = plan.transfer;
  if (options.digest != DigestKind::kNone) {
    commit.closing.insert(commit.closing.begin(),
                          MakeDigestsFile(*whole, options.digest));
  }
  WINDLASS_RETURN_IF_ERROR(RemoveOld(plan));
  WINDLASS_RETURN_IF_ERROR(CommitTemporaries(commit, plan.output, options));
  return SetMarker(plan.output, "", options.sync);
}

absl::StatusOr<InPlacePlan> CheckpointFormat::PlanInPlace(
    const StateDict&, const Checkpoint&) const {
  return absl::UnimplementedError(
      absl::StrCat("format ", name(), " cannot be renamed in place"));
}

absl::Status RenameInPlace(const StateDict& tensors, const Checkpoint& input,
                           absl::string_view tag, bool sync, bool dry_run) {
  WINDLASS_ASSIGN_OR_RETURN(const InPlacePlan plan,
                            Formats().front()->PlanInPlace(tensors, input));
  if (dry_run) return absl::OkStatus();
  return StartInPlace(plan, input.folder, tag, sync);
}

}  // namespace windlass
