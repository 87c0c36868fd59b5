#include "windlass/io/checkpoint.h"

#include <map>
#include <optional>

#include "absl/algorithm/container.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "windlass/core/json.h"
#include "windlass/core/status_macros.h"
#include "windlass/io/transfer/digest.h"
#include "windlass/io/transfer/progress_log.h"

namespace windlass {
namespace {

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

// Files of a model that go along: settings, tokenizers, templates, code.
bool IsSideFile(absl::string_view name) {
  if (absl::StartsWith(name, ".") || name == kDigestsName) return false;
  if (OwnedByAFormat(name) || absl::EndsWith(name, ".index.json")) return false;
  for (absl::string_view suffix :
       {".json", ".jinja", ".py", ".txt", ".model", ".tiktoken"}) {
    if (absl::EndsWith(name, suffix)) return true;
  }
  return false;
}

bool IsOurs(absl::string_view name) {
  return name == kProgressLogName || absl::EndsWith(name, kPartialSuffix);
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
  const absl::StatusOr<LoggedProgress> unfinished = ReadProgressLog(output);
  if (unfinished.ok() && !unfinished->overwrite) return absl::OkStatus();
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

absl::Status CheckSpace(const Location& output, int64_t bytes) {
  WINDLASS_ASSIGN_OR_RETURN(const std::string parent,
                            ExistingParent(*output.storage, output.path));
  const std::optional<int64_t> free = output.storage->FreeBytes(parent);
  if (!free.has_value() || *free >= bytes) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat(output.path, ": no space left: found ", *free,
                   " bytes free, expected ", bytes));
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

// Those of a killed run's files that are what its log says, by their bytes.
FileRecords FindWholeFiles(const SavePlan& plan, const FileRecords& logged,
                           DigestKind digest) {
  FileRecords whole;
  for (const PlannedFile& planned : plan.transfer.files) {
    auto record = logged.find(planned.name);
    if (record == logged.end() || record->second.checksum.empty() ||
        record->second.size != planned.size) {
      continue;
    }
    // A run that was killed while it renamed has some under their final names.
    for (const std::string& name :
         {TemporaryName(planned.name), planned.name}) {
      const auto file =
          plan.output.storage->OpenForRead(JoinPath(plan.output.path, name));
      if (!file.ok() || (*file)->size() != planned.size) continue;
      const auto checksum = ReadChecksum(planned, **file, digest);
      if (!checksum.ok() || *checksum != record->second.checksum) continue;
      whole.insert(*record);
      break;
    }
  }
  return whole;
}

// {"digest": "xxh3", "tensors": {"lm_head.weight": "0123..."}}
ClosingFile MakeDigestsFile(const FileRecords& files, DigestKind kind) {
  std::map<std::string, std::string> digests;
  for (const auto& [name, record] : files) {
    digests.insert(record.digests.begin(), record.digests.end());
  }
  Json json;
  json["digest"] = std::string(DigestKindName(kind));
  json["tensors"] = digests;
  return {kDigestsName, json.dump(1) + "\n"};
}

// Writes all temporary files, with a log of those that are whole.
absl::Status WriteLogged(const SavePlan& plan, const TransferOptions& options,
                         FileRecords* done) {
  LoggedProgress start;
  start.plan_hash =
      PlanHash(plan.transfer,
               absl::StrCat(plan.tag, " ", DigestKindName(options.digest)));
  start.overwrite = plan.overwrite;
  if (options.resume) {
    const absl::StatusOr<LoggedProgress> before = ReadProgressLog(plan.output);
    if (before.ok() && before->plan_hash == start.plan_hash) {
      start.files = FindWholeFiles(plan, before->files, options.digest);
    }
  }
  *done = start.files;
  WINDLASS_ASSIGN_OR_RETURN(
      const auto log, ProgressLog::Create(plan.output, start, options.sync));
  return WriteTemporaries(plan.transfer, plan.output, options, done,
                          [&](const std::string& name) {
                            return log->Append(name, done->at(name));
                          });
}

}  // namespace

CheckpointFormatRegistrar::CheckpointFormatRegistrar(
    const CheckpointFormat* format) {
  Formats().push_back(format);
}

absl::StatusOr<Checkpoint> OpenCheckpoint(absl::string_view uri) {
  WINDLASS_ASSIGN_OR_RETURN(const Location location, ResolveLocation(uri));
  WINDLASS_ASSIGN_OR_RETURN(const Storage::Kind kind,
                            location.storage->GetKind(location.path));
  if (kind == Storage::Kind::kMissing) {
    return absl::NotFoundError(absl::StrCat(uri, ": no such file or folder"));
  }
  const bool is_file = kind == Storage::Kind::kFile;
  const Location folder{location.storage,
                        is_file ? DirName(location.path) : location.path};
  std::vector<std::string> names = {BaseName(location.path)};
  if (!is_file) {
    WINDLASS_ASSIGN_OR_RETURN(names, folder.storage->List(folder.path));
  }
  const CheckpointFormat* const format = DetectFormat(names);
  if (format == nullptr) {
    return absl::NotFoundError(absl::StrCat(
        uri, ": found no checkpoint; known formats: ",
        absl::StrJoin(Formats(), ", ",
                      [](std::string* out, const CheckpointFormat* format) {
                        absl::StrAppend(out, format->name());
                      })));
  }
  WINDLASS_ASSIGN_OR_RETURN(Checkpoint checkpoint, format->Open(folder, names));
  checkpoint.location = location;
  if (!is_file) {
    for (const std::string& name : names) {
      if (!IsSideFile(name)) continue;
      WINDLASS_ASSIGN_OR_RETURN(
          const Storage::Kind side,
          folder.storage->GetKind(JoinPath(folder.path, name)));
      if (side == Storage::Kind::kFile) checkpoint.side_files.push_back(name);
    }
  }
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
  WINDLASS_RETURN_IF_ERROR(CheckSpace(plan.output, plan.transfer.bytes()));
  return plan;
}

absl::Status SaveCheckpoint(const SavePlan& plan,
                            const TransferOptions& options) {
  Storage& storage = *plan.output.storage;
  const std::string log = JoinPath(plan.output.path, kProgressLogName);
  WINDLASS_RETURN_IF_ERROR(storage.MakeDirectory(plan.output.path));
  FileRecords done;
  absl::Status written = WriteLogged(plan, options, &done);
  if (written.ok()) written = CheckInputsUnchanged(plan);
  if (absl::IsCancelled(written)) return written;
  if (!written.ok()) {
    RemoveTemporaries(plan.transfer, plan.output);
    storage.Remove(log).IgnoreError();
    return written;
  }
  // From here on the folder holds neither the old checkpoint nor the new one,
  // and the log says so.
  TransferPlan commit = plan.transfer;
  if (options.digest != DigestKind::kNone) {
    commit.closing.insert(commit.closing.begin(),
                          MakeDigestsFile(done, options.digest));
  }
  WINDLASS_RETURN_IF_ERROR(RemoveOld(plan));
  WINDLASS_RETURN_IF_ERROR(CommitTemporaries(commit, plan.output, options));
  WINDLASS_RETURN_IF_ERROR(storage.Remove(log));
  if (!options.sync) return absl::OkStatus();
  return storage.SyncDirectory(plan.output.path);
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
