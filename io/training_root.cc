#include "windlass/io/training_root.h"

#include <cstdint>
#include <optional>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "windlass/core/status_macros.h"
#include "windlass/io/model_config_file.h"
#include "windlass/io/published.h"

namespace windlass {
namespace {

constexpr char kModel[] = "model";
constexpr char kOptimizer[] = "optim";
constexpr char kIncomplete[] = ".incomplete";
constexpr char kLatest[] = "LATEST";
constexpr char kLatestText[] = "LATEST.txt";

// What lies beside the parts, and in no model that was published.
constexpr absl::string_view kBesideParts[] = {kOptimizer, "rng", "dataloader",
                                              "step_scheduler.pt"};

// The step and the epoch of "epoch_E_step_S".
std::optional<std::pair<int64_t, int64_t>> ParseStep(absl::string_view name) {
  const std::vector<absl::string_view> words = absl::StrSplit(name, '_');
  int64_t epoch = 0;
  int64_t step = 0;
  if (words.size() != 4 || words[0] != "epoch" || words[2] != "step" ||
      !absl::c_all_of(words[1], absl::ascii_isdigit) ||
      !absl::c_all_of(words[3], absl::ascii_isdigit) ||
      !absl::SimpleAtoi(words[1], &epoch) ||
      !absl::SimpleAtoi(words[3], &step)) {
    return std::nullopt;
  }
  return std::make_pair(step, epoch);
}

std::string WithoutSlashes(std::string path) {
  while (path.size() > 1 && absl::EndsWith(path, "/")) path.pop_back();
  return path;
}

bool IsStep(const Location& folder, const std::vector<std::string>& names) {
  if (!absl::c_linear_search(names, kModel) &&
      !absl::c_linear_search(names, kOptimizer)) {
    return false;
  }
  if (ParseStep(BaseName(WithoutSlashes(folder.path))).has_value()) return true;
  return absl::c_linear_search(names, kModel) &&
         absl::c_any_of(kBesideParts, [&names](absl::string_view name) {
           return absl::c_linear_search(names, name);
         });
}

absl::StatusOr<bool> IsFolder(const Location& folder, absl::string_view name) {
  WINDLASS_ASSIGN_OR_RETURN(
      const Storage::Kind kind,
      folder.storage->GetKind(JoinPath(folder.path, name)));
  return kind == Storage::Kind::kDirectory;
}

absl::Status NoStep(const std::string& path, absl::string_view found) {
  return absl::NotFoundError(absl::StrCat(
      path, ": found ", found,
      ", expected a checkpoint of this folder (give the one that is meant)"));
}

// The folder that a text names, wherever the job's root lay when it was
// written.
absl::StatusOr<std::string> ReadLatest(const Location& root,
                                       absl::string_view name) {
  constexpr int64_t kMaxPath = 4096;
  const std::string path = JoinPath(root.path, name);
  WINDLASS_ASSIGN_OR_RETURN(const std::string text,
                            ReadFile(*root.storage, path, kMaxPath));
  const std::string step =
      BaseName(WithoutSlashes(std::string(absl::StripAsciiWhitespace(text))));
  WINDLASS_ASSIGN_OR_RETURN(const bool is_folder, IsFolder(root, step));
  if (IsFileName(step) && is_folder) return JoinPath(root.path, step);
  return NoStep(path,
                absl::StrCat("\"", absl::StripAsciiWhitespace(text), "\""));
}

// The checkpoint that a root stands for; empty where it is none.
absl::StatusOr<std::string> FindStep(const Location& folder,
                                     const std::vector<std::string>& names) {
  std::optional<std::pair<int64_t, int64_t>> highest;
  std::string found;
  for (const std::string& name : names) {
    const auto step = ParseStep(name);
    if (!step.has_value() || (highest.has_value() && *step < *highest)) {
      continue;
    }
    WINDLASS_ASSIGN_OR_RETURN(const bool is_folder, IsFolder(folder, name));
    if (!is_folder) continue;
    highest = step;
    found = JoinPath(folder.path, name);
  }
  if (absl::c_linear_search(names, kLatest)) {
    const std::string latest = JoinPath(folder.path, kLatest);
    WINDLASS_ASSIGN_OR_RETURN(const Storage::Kind kind,
                              folder.storage->GetKind(latest));
    if (kind == Storage::Kind::kDirectory) {
      return folder.storage->Canonical(latest);
    }
    if (kind == Storage::Kind::kMissing) {
      return NoStep(latest, "a link that leads nowhere");
    }
    if (!found.empty()) return ReadLatest(folder, kLatest);
  }
  if (!found.empty() && absl::c_linear_search(names, kLatestText)) {
    return ReadLatest(folder, kLatestText);
  }
  return found;
}

absl::Status CheckComplete(const std::string& path,
                           const std::vector<std::string>& names) {
  if (!absl::c_linear_search(names, kIncomplete)) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(path, ": found ", kIncomplete,
                   ", expected a checkpoint that was written to its end"));
}

// That of which a folder is a part.
absl::Status CheckCompleteAround(const Location& folder) {
  const std::string path = WithoutSlashes(folder.path);
  const std::string name = BaseName(path);
  if (name != kModel && name != kOptimizer) return absl::OkStatus();
  const Location around{folder.storage, DirName(path)};
  WINDLASS_ASSIGN_OR_RETURN(
      const Storage::Kind kind,
      folder.storage->GetKind(JoinPath(around.path, kIncomplete)));
  if (kind == Storage::Kind::kMissing) return absl::OkStatus();
  return CheckComplete(around.path, {kIncomplete});
}

}  // namespace

absl::StatusOr<Location> ResolveTrainingRoot(const Location& folder,
                                             TrainingPart part) {
  absl::StatusOr<std::vector<std::string>> names = ListNames(folder);
  // Who cannot list it says so where it is opened.
  if (!names.ok()) return folder;
  Location step = folder;
  if (!IsStep(folder, *names)) {
    WINDLASS_ASSIGN_OR_RETURN(step.path, FindStep(folder, *names));
    if (step.path.empty()) {
      WINDLASS_RETURN_IF_ERROR(CheckComplete(folder.path, *names));
      WINDLASS_RETURN_IF_ERROR(CheckCompleteAround(folder));
      return folder;
    }
    WINDLASS_ASSIGN_OR_RETURN(names, ListNames(step));
  }
  WINDLASS_RETURN_IF_ERROR(CheckComplete(step.path, *names));
  const char* const name = part == TrainingPart::kModel ? kModel : kOptimizer;
  WINDLASS_ASSIGN_OR_RETURN(const bool is_there, IsFolder(step, name));
  if (is_there) return Location{step.storage, JoinPath(step.path, name)};
  return absl::NotFoundError(
      absl::StrCat(step.path, ": found no ", name, ", expected a folder"));
}

std::vector<std::string> ConfigPaths(const Location& folder) {
  std::vector<std::string> folders = {folder.path};
  const std::string path = WithoutSlashes(folder.path);
  if (BaseName(path) == kOptimizer) {
    folders.push_back(JoinPath(DirName(path), kModel));
  }
  std::vector<std::string> paths;
  for (const std::string& each : folders) {
    paths.push_back(JoinPath(each, kConfigName));
    paths.push_back(JoinPath(JoinPath(each, kHfMetadata), kConfigName));
  }
  return paths;
}

}  // namespace windlass
