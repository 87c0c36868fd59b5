#include "windlass/io/checkpoint.h"

#include <algorithm>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "windlass/core/status_macros.h"
#include "windlass/io/hugging_face_cache.h"
#include "windlass/io/side_files.h"
#include "windlass/io/unfinished.h"

namespace windlass {
namespace {

constexpr absl::string_view kAuto = "auto";

std::vector<const CheckpointFormat*>& Formats() {
  static auto* const formats = new std::vector<const CheckpointFormat*>;
  return *formats;
}

// "safetensors, torch"
std::string FormatNames(const std::vector<const CheckpointFormat*>& formats) {
  std::vector<absl::string_view> names;
  for (const CheckpointFormat* format : formats) {
    names.push_back(format->name());
  }
  absl::c_sort(names);
  return absl::StrJoin(names, ", ");
}

// The formats that are surest of these names; none where nobody is.
std::vector<const CheckpointFormat*> DetectFormats(
    const std::vector<std::string>& names) {
  std::vector<const CheckpointFormat*> surest;
  Certainty best = Certainty::kNone;
  for (const CheckpointFormat* format : Formats()) {
    const Certainty certainty = format->Detect(names);
    if (certainty > best) surest.clear();
    best = std::max(best, certainty);
    if (certainty == best && best > Certainty::kNone) surest.push_back(format);
  }
  return surest;
}

absl::StatusOr<const CheckpointFormat*> ChooseFormat(
    const CheckpointPlace& place, const std::vector<std::string>& names,
    absl::string_view wanted) {
  if (wanted != kAuto) return FindFormat(wanted);
  const std::vector<const CheckpointFormat*> found = DetectFormats(names);
  if (found.size() == 1) return found[0];
  if (found.empty()) {
    return absl::NotFoundError(absl::StrCat(
        place.location.path,
        ": found no checkpoint; known formats: ", FormatNames(Formats())));
  }
  return absl::FailedPreconditionError(absl::StrCat(
      place.location.path, ": found checkpoints of the formats ",
      FormatNames(found), ", expected one, or to be told which one is meant"));
}

// What goes along with the tensors: the folder's side files, or those that a
// training job keeps in a folder of its own, with what it knows of the model.
absl::Status FillInCompany(
    const std::vector<std::string>& names,
    const absl::flat_hash_set<absl::string_view>& weights,
    Checkpoint* checkpoint) {
  const Location& folder = checkpoint->folder;
  WINDLASS_ASSIGN_OR_RETURN(SideFiles side,
                            FindSideFiles(folder, names, weights));
  if (!absl::c_linear_search(names, kHfMetadata)) {
    checkpoint->side_files = std::move(side.files);
    checkpoint->left_behind = std::move(side.left_behind);
    return absl::OkStatus();
  }
  const Location metadata{folder.storage, JoinPath(folder.path, kHfMetadata)};
  WINDLASS_ASSIGN_OR_RETURN(const std::vector<std::string> kept,
                            ListNames(metadata));
  WINDLASS_ASSIGN_OR_RETURN(checkpoint->published,
                            ReadPublished(metadata, kept));
  absl::flat_hash_set<absl::string_view> mappings;
  for (const std::string& name : kept) {
    if (IsPublishedMapping(name)) mappings.insert(name);
  }
  WINDLASS_ASSIGN_OR_RETURN(SideFiles kept_side,
                            FindSideFiles(metadata, kept, mappings));
  checkpoint->side_folder = kHfMetadata;
  checkpoint->side_files = std::move(kept_side.files);
  for (std::vector<std::string>* left : {&side.files, &side.left_behind}) {
    for (std::string& name : *left) {
      if (!absl::StartsWith(name, kHfMetadata)) {
        checkpoint->left_behind.push_back(std::move(name));
      }
    }
  }
  for (const std::string& name : kept_side.left_behind) {
    checkpoint->left_behind.push_back(JoinPath(kHfMetadata, name));
  }
  absl::c_sort(checkpoint->left_behind);
  return absl::OkStatus();
}

}  // namespace

CheckpointFormatRegistrar::CheckpointFormatRegistrar(
    const CheckpointFormat* format) {
  Formats().push_back(format);
}

absl::StatusOr<CheckpointPlace> FindCheckpoint(absl::string_view uri,
                                               TrainingPart part) {
  WINDLASS_ASSIGN_OR_RETURN(const Location location, ResolveLocation(uri));
  WINDLASS_ASSIGN_OR_RETURN(const Storage::Kind kind,
                            location.storage->GetKind(location.path));
  if (kind == Storage::Kind::kMissing) {
    return absl::NotFoundError(absl::StrCat(uri, ": no such file or folder"));
  }
  CheckpointPlace place{location, location, false};
  if (kind == Storage::Kind::kDirectory) {
    WINDLASS_ASSIGN_OR_RETURN(place.folder, ResolveSnapshot(location));
    WINDLASS_ASSIGN_OR_RETURN(place.folder,
                              ResolveTrainingRoot(place.folder, part));
    place.location = place.folder;
    place.is_found = place.folder.path != location.path;
  } else {
    place.is_file = true;
    place.folder.path = DirName(location.path);
  }
  return place;
}

absl::StatusOr<Checkpoint> OpenCheckpoint(absl::string_view uri,
                                          const OpenOptions& options) {
  WINDLASS_ASSIGN_OR_RETURN(const CheckpointPlace place,
                            FindCheckpoint(uri, options.part));
  const Location& folder = place.folder;
  WINDLASS_RETURN_IF_ERROR(CheckFinished(folder));
  const std::string file =
      place.is_file ? BaseName(place.location.path) : std::string();
  absl::StatusOr<std::vector<std::string>> names = ListNames(folder);
  // A folder that may be entered but not listed hides only its other files.
  if (place.is_file && !names.ok()) names = std::vector<std::string>{file};
  if (!names.ok()) return names.status();
  WINDLASS_ASSIGN_OR_RETURN(
      const CheckpointFormat* const format,
      ChooseFormat(place,
                   place.is_file ? std::vector<std::string>{file} : *names,
                   options.format));
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
  WINDLASS_RETURN_IF_ERROR(FillInCompany(*names, weights, &checkpoint));
  return checkpoint;
}

std::string SideFilePath(const Checkpoint& checkpoint, absl::string_view name) {
  const std::string& folder = checkpoint.folder.path;
  return JoinPath(checkpoint.side_folder.empty()
                      ? folder
                      : JoinPath(folder, checkpoint.side_folder),
                  name);
}

std::vector<const CheckpointFormat*> KnownFormats() {
  std::vector<const CheckpointFormat*> formats = Formats();
  absl::c_sort(formats,
               [](const CheckpointFormat* a, const CheckpointFormat* b) {
                 return a->name() < b->name();
               });
  return formats;
}

absl::StatusOr<const CheckpointFormat*> FindFormat(absl::string_view name) {
  const CheckpointFormat* found = nullptr;
  for (const CheckpointFormat* format : Formats()) {
    if (format->name() != name) continue;
    if (found != nullptr) {
      return absl::InternalError(
          absl::StrCat("two formats are called \"", name, "\""));
    }
    found = format;
  }
  if (found != nullptr) return found;
  return absl::NotFoundError(absl::StrCat("format \"", name,
                                          "\": found no such format, expected ",
                                          "one of ", FormatNames(Formats())));
}

absl::Status CheckFormatName(absl::string_view name) {
  return name == kAuto ? absl::OkStatus() : FindFormat(name).status();
}

absl::StatusOr<std::vector<CheckpointFiles>> FindCheckpointFiles(
    const Location& folder, const CheckpointFormat& format) {
  WINDLASS_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                            ListNames(folder));
  std::vector<const CheckpointFormat*> formats = DetectFormats(names);
  if (!absl::c_linear_search(formats, &format)) formats.push_back(&format);
  std::vector<CheckpointFiles> found;
  for (const CheckpointFormat* each : formats) {
    WINDLASS_ASSIGN_OR_RETURN(CheckpointFiles files, each->FindFiles(folder));
    found.push_back(std::move(files));
  }
  return found;
}

absl::StatusOr<InPlacePlan> CheckpointFormat::PlanInPlace(
    const StateDict&, const Checkpoint&) const {
  return absl::UnimplementedError(
      absl::StrCat("format ", name(), " cannot be renamed in place"));
}

}  // namespace windlass
