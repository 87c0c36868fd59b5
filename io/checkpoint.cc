#include "windlass/io/checkpoint.h"

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "windlass/core/status_macros.h"
#include "windlass/io/digests.h"
#include "windlass/io/unfinished.h"

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

}  // namespace

CheckpointFormatRegistrar::CheckpointFormatRegistrar(
    const CheckpointFormat* format) {
  Formats().push_back(format);
}

absl::StatusOr<Location> FindFolder(absl::string_view uri) {
  WINDLASS_ASSIGN_OR_RETURN(Location location, ResolveLocation(uri));
  WINDLASS_ASSIGN_OR_RETURN(const Storage::Kind kind,
                            location.storage->GetKind(location.path));
  if (kind == Storage::Kind::kMissing) {
    return absl::NotFoundError(absl::StrCat(uri, ": no such file or folder"));
  }
  if (kind != Storage::Kind::kDirectory) {
    location.path = DirName(location.path);
  }
  return location;
}

absl::StatusOr<Checkpoint> OpenCheckpoint(absl::string_view uri,
                                          const OpenOptions&) {
  WINDLASS_ASSIGN_OR_RETURN(const Location folder, FindFolder(uri));
  WINDLASS_ASSIGN_OR_RETURN(const Location location, ResolveLocation(uri));
  const bool is_file = folder.path != location.path;
  WINDLASS_RETURN_IF_ERROR(CheckFinished(folder));
  std::vector<std::string> names = {BaseName(location.path)};
  if (!is_file) {
    WINDLASS_ASSIGN_OR_RETURN(const std::vector<Storage::Entry> entries,
                              folder.storage->List(folder.path));
    names.clear();
    for (const Storage::Entry& entry : entries) names.push_back(entry.name);
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
  checkpoint.format = format;
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

const CheckpointFormat* FormatOf(const Checkpoint& checkpoint) {
  return checkpoint.format != nullptr ? checkpoint.format : Formats().front();
}

absl::StatusOr<InPlacePlan> CheckpointFormat::PlanInPlace(
    const StateDict&, const Checkpoint&) const {
  return absl::UnimplementedError(
      absl::StrCat("format ", name(), " cannot be renamed in place"));
}

}  // namespace windlass
