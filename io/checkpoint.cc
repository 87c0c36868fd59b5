#include "windlass/io/checkpoint.h"

#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "windlass/core/status_macros.h"
#include "windlass/io/hugging_face_cache.h"
#include "windlass/io/side_files.h"
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
  WINDLASS_RETURN_IF_ERROR(CheckFinished(folder));
  const std::string file =
      place.is_file ? BaseName(place.location.path) : std::string();
  absl::StatusOr<std::vector<std::string>> names = ListNames(folder);
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
  checkpoint.format = format;
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

const CheckpointFormat* FormatOf(const Checkpoint& checkpoint) {
  return checkpoint.format != nullptr ? checkpoint.format : Formats().front();
}

absl::StatusOr<InPlacePlan> CheckpointFormat::PlanInPlace(
    const StateDict&, const Checkpoint&) const {
  return absl::UnimplementedError(
      absl::StrCat("format ", name(), " cannot be renamed in place"));
}

}  // namespace windlass
