#include "windlass/io/hugging_face_cache.h"

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

absl::StatusOr<bool> IsFolder(const Location& at, absl::string_view name) {
  WINDLASS_ASSIGN_OR_RETURN(const Storage::Kind kind,
                            at.storage->GetKind(JoinPath(at.path, name)));
  return kind == Storage::Kind::kDirectory;
}

// Whether the folder is models--ORG--NAME; empty refs are not kept by all.
absl::StatusOr<bool> IsCache(const Location& folder) {
  WINDLASS_ASSIGN_OR_RETURN(const bool snapshots,
                            IsFolder(folder, "snapshots"));
  if (!snapshots) return false;
  WINDLASS_ASSIGN_OR_RETURN(const bool refs, IsFolder(folder, "refs"));
  if (refs) return true;
  return IsFolder(folder, "blobs");
}

// The folder that holds `snapshots`, which may be a path such as ".".
absl::StatusOr<Location> CacheOf(const Location& folder) {
  WINDLASS_ASSIGN_OR_RETURN(const bool is_cache, IsCache(folder));
  if (is_cache) return folder;
  std::string path = folder.path;
  while (path.size() > 1 && absl::EndsWith(path, "/")) path.pop_back();
  const std::string name = BaseName(path);
  if (name != "snapshots" && name != "." && !name.empty()) {
    return absl::NotFoundError("no cache");
  }
  if (name != "snapshots") {
    WINDLASS_ASSIGN_OR_RETURN(path, folder.storage->Canonical(path));
    if (BaseName(path) != "snapshots") return absl::NotFoundError("no cache");
  }
  const Location parent{folder.storage, DirName(path)};
  WINDLASS_ASSIGN_OR_RETURN(const bool in_cache, IsCache(parent));
  if (in_cache) return parent;
  return absl::NotFoundError("no cache");
}

absl::StatusOr<std::vector<std::string>> ListSnapshots(
    const Location& snapshots) {
  WINDLASS_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                            ListNames(snapshots));
  std::vector<std::string> found;
  for (const std::string& name : names) {
    WINDLASS_ASSIGN_OR_RETURN(const bool is_folder, IsFolder(snapshots, name));
    if (is_folder) found.push_back(name);
  }
  return found;
}

}  // namespace

absl::StatusOr<Location> ResolveSnapshot(const Location& folder) {
  const absl::StatusOr<Location> cache = CacheOf(folder);
  if (absl::IsNotFound(cache.status())) return folder;
  if (!cache.ok()) return cache.status();
  Storage& storage = *cache->storage;
  const Location snapshots{&storage, JoinPath(cache->path, "snapshots")};
  const std::string main = JoinPath(cache->path, "refs/main");
  WINDLASS_ASSIGN_OR_RETURN(const Storage::Kind kind, storage.GetKind(main));
  if (kind != Storage::Kind::kMissing) {
    constexpr int64_t kMaxRevision = 1024;
    WINDLASS_ASSIGN_OR_RETURN(const std::string text,
                              ReadFile(storage, main, kMaxRevision));
    const std::string revision(absl::StripAsciiWhitespace(text));
    const bool is_name = IsFileName(revision);
    if (is_name) {
      WINDLASS_ASSIGN_OR_RETURN(const bool there,
                                IsFolder(snapshots, revision));
      if (there) {
        return Location{&storage, JoinPath(snapshots.path, revision)};
      }
    }
    return absl::NotFoundError(absl::StrCat(
        main, ": found \"", revision, "\", expected the name of a folder in ",
        snapshots.path, " (fetch the model again, or give a snapshot)"));
  }
  WINDLASS_ASSIGN_OR_RETURN(const std::vector<std::string> found,
                            ListSnapshots(snapshots));
  if (found.size() == 1) {
    return Location{&storage, JoinPath(snapshots.path, found[0])};
  }
  if (found.empty()) {
    return absl::NotFoundError(
        absl::StrCat(snapshots.path, ": found no snapshot"));
  }
  return absl::InvalidArgumentError(absl::StrCat(
      snapshots.path, ": found the snapshots ", absl::StrJoin(found, ", "),
      " and no refs/main, expected one (give the folder of the one meant)"));
}

}  // namespace windlass
