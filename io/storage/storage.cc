#include "windlass/io/storage/storage.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "windlass/core/status_macros.h"
#include "xxhash.h"

namespace windlass {
namespace {

// Built on first use: registrars run in no particular order.
std::map<std::string, Storage*>& Storages() {
  static auto* const storages = new std::map<std::string, Storage*>;
  return *storages;
}

}  // namespace

absl::StatusOr<std::unique_ptr<EditableFile>> Storage::OpenForEdit(
    const std::string& path) {
  return absl::UnimplementedError(
      absl::StrCat(path, ": this storage cannot edit files in place"));
}

absl::StatusOr<Location> ResolveLocation(absl::string_view uri) {
  std::string scheme = "file";
  std::string path(uri);
  if (const size_t colon = uri.find("://"); colon != uri.npos) {
    scheme = std::string(uri.substr(0, colon));
    path = std::string(uri.substr(colon + 3));
  }
  auto it = Storages().find(scheme);
  if (it == Storages().end()) {
    return absl::NotFoundError(
        absl::StrCat(uri, ": no storage for \"", scheme, "://\"; known: ",
                     absl::StrJoin(Storages(), ", ",
                                   [](std::string* out, const auto& known) {
                                     absl::StrAppend(out, known.first, "://");
                                   })));
  }
  return Location{it->second, std::move(path)};
}

StorageRegistrar::StorageRegistrar(const std::string& scheme,
                                   Storage* storage) {
  if (!Storages().emplace(scheme, storage).second) {
    std::fprintf(stderr, "storage \"%s\" is registered twice\n",
                 scheme.c_str());
    std::abort();
  }
}

std::string JoinPath(absl::string_view directory, absl::string_view name) {
  if (directory.empty() || directory == ".") return std::string(name);
  const char* separator = directory.back() == '/' ? "" : "/";
  return absl::StrCat(directory, separator, name);
}

std::string BaseName(absl::string_view path) {
  const size_t slash = path.rfind('/');
  return std::string(slash == path.npos ? path : path.substr(slash + 1));
}

std::string DirName(absl::string_view path) {
  const size_t slash = path.rfind('/');
  if (slash == path.npos) return ".";
  return std::string(path.substr(0, std::max<size_t>(slash, 1)));
}

bool IsFileName(absl::string_view name) {
  return !name.empty() && name != "." && name != ".." &&
         !absl::StrContains(name, '/') && !absl::StrContains(name, '\0');
}

absl::StatusOr<std::vector<std::string>> ListNames(const Location& folder) {
  WINDLASS_ASSIGN_OR_RETURN(const std::vector<Storage::Entry> entries,
                            folder.storage->List(folder.path));
  std::vector<std::string> names;
  names.reserve(entries.size());
  for (const Storage::Entry& entry : entries) names.push_back(entry.name);
  return names;
}

std::string TemporaryName(absl::string_view name) {
  constexpr size_t kMaxName = 255;
  std::string temporary = absl::StrCat(".", name, kPartialSuffix);
  if (temporary.size() <= kMaxName) return temporary;
  return absl::StrCat(".", name.substr(0, 200), "-",
                      absl::Hex(XXH3_64bits(name.data(), name.size())),
                      kPartialSuffix);
}

bool IsLockName(absl::string_view name) {
  return absl::StartsWith(name, kLockName);
}

absl::StatusOr<std::unique_ptr<WritableFile>> CreateNew(
    Storage& storage, const std::string& path) {
  absl::Status removed = storage.Remove(path);
  if (!removed.ok() && !absl::IsNotFound(removed)) return removed;
  return storage.Create(path);
}

absl::StatusOr<std::string> ReadFile(Storage& storage, const std::string& path,
                                     int64_t limit) {
  WINDLASS_ASSIGN_OR_RETURN(auto file, storage.OpenForRead(path));
  if (file->size() > limit) {
    return absl::ResourceExhaustedError(
        absl::StrCat(path, ": found ", file->size(), " bytes, expected ", limit,
                     " at most"));
  }
  return ReadRange(*file, 0, file->size());
}

absl::Status WriteFile(Storage& storage, const std::string& path,
                       absl::string_view contents, bool sync) {
  const std::string temporary =
      JoinPath(DirName(path), TemporaryName(BaseName(path)));
  absl::Status status = [&]() -> absl::Status {
    WINDLASS_ASSIGN_OR_RETURN(auto file, CreateNew(storage, temporary));
    WINDLASS_RETURN_IF_ERROR(file->WriteAt(
        0, absl::MakeConstSpan(contents.data(), contents.size())));
    if (sync) WINDLASS_RETURN_IF_ERROR(file->Sync());
    WINDLASS_RETURN_IF_ERROR(file->Close());
    return storage.Rename(temporary, path);
  }();
  if (!status.ok()) storage.Remove(temporary).IgnoreError();
  return status;
}

}  // namespace windlass
