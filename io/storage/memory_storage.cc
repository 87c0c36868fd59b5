// Files in this process's memory: "mem://name/...". For tests, and the example
// to copy for another storage. Directories need no creation.

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "windlass/io/storage/storage.h"

namespace windlass {
namespace {

// A file's contents; shared by the directory and by whoever has it open.
struct Contents {
  std::mutex mutex;
  std::string bytes;

  int64_t Size() {
    const std::lock_guard<std::mutex> lock(mutex);
    return bytes.size();
  }
};

class MemoryReadableFile : public ReadableFile {
 public:
  MemoryReadableFile(std::string path, std::shared_ptr<Contents> contents)
      : path_(std::move(path)), contents_(std::move(contents)) {
    const std::lock_guard<std::mutex> lock(contents_->mutex);
    identity_.size = contents_->bytes.size();
  }

  const std::string& name() const override { return path_; }
  int64_t size() const override { return identity_.size; }
  const FileIdentity& identity() const override { return identity_; }

  absl::Status ReadAt(int64_t offset, absl::Span<char> out) const override {
    const std::lock_guard<std::mutex> lock(contents_->mutex);
    const int64_t have = contents_->bytes.size();
    if (offset > have || static_cast<int64_t>(out.size()) > have - offset) {
      return absl::OutOfRangeError(absl::StrCat(path_, ": wanted ", out.size(),
                                                " bytes at ", offset,
                                                ", it has ", have));
    }
    if (out.empty()) return absl::OkStatus();
    std::memcpy(out.data(), contents_->bytes.data() + offset, out.size());
    return absl::OkStatus();
  }

  absl::Status CheckUnchanged() const override {
    const std::lock_guard<std::mutex> lock(contents_->mutex);
    if (static_cast<int64_t>(contents_->bytes.size()) == identity_.size) {
      return absl::OkStatus();
    }
    return absl::FailedPreconditionError(
        absl::StrCat(path_, ": the file was changed while it was read"));
  }

 private:
  const std::string path_;
  const std::shared_ptr<Contents> contents_;
  FileIdentity identity_;
};

class MemoryWritableFile : public WritableFile {
 public:
  MemoryWritableFile(std::string path, std::shared_ptr<Contents> contents)
      : path_(std::move(path)), contents_(std::move(contents)) {}

  const std::string& name() const override { return path_; }

  absl::Status Allocate(int64_t size) override {
    const std::lock_guard<std::mutex> lock(contents_->mutex);
    contents_->bytes.resize(size);
    return absl::OkStatus();
  }

  absl::Status WriteAt(int64_t offset, absl::Span<const char> data) override {
    const std::lock_guard<std::mutex> lock(contents_->mutex);
    std::string& bytes = contents_->bytes;
    bytes.resize(std::max<size_t>(bytes.size(), offset + data.size()));
    if (!data.empty()) {
      std::memcpy(&bytes[offset], data.data(), data.size());
    }
    return absl::OkStatus();
  }

  absl::Status Sync() override { return absl::OkStatus(); }
  absl::Status Close() override { return absl::OkStatus(); }

 private:
  const std::string path_;
  const std::shared_ptr<Contents> contents_;
};

class MemoryStorage : public Storage {
 public:
  class MemoryLock : public FolderLock {
   public:
    MemoryLock(MemoryStorage* storage, std::string directory)
        : storage_(storage), directory_(std::move(directory)) {}
    ~MemoryLock() override { storage_->Unlock(directory_); }

   private:
    MemoryStorage* const storage_;
    const std::string directory_;
  };

  absl::StatusOr<std::shared_ptr<const ReadableFile>> OpenForRead(
      const std::string& path) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    auto it = files_.find(path);
    if (it == files_.end()) {
      return absl::NotFoundError(absl::StrCat(path, ": no such file"));
    }
    return std::make_shared<MemoryReadableFile>(path, it->second);
  }

  absl::StatusOr<std::unique_ptr<WritableFile>> Create(
      const std::string& path) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    auto contents = std::make_shared<Contents>();
    if (!files_.emplace(path, contents).second) {
      return absl::AlreadyExistsError(
          absl::StrCat(path, ": a file is there already"));
    }
    return std::make_unique<MemoryWritableFile>(path, contents);
  }

  absl::StatusOr<Kind> GetKind(const std::string& path) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (files_.count(path) > 0) return Kind::kFile;
    const std::string below = JoinPath(path, "");
    auto it = files_.lower_bound(below);
    const bool used = it != files_.end() && absl::StartsWith(it->first, below);
    return used ? Kind::kDirectory : Kind::kMissing;
  }

  absl::StatusOr<std::vector<Entry>> List(
      const std::string& directory) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    const std::string below = JoinPath(directory, "");
    std::vector<Entry> entries;
    for (auto it = files_.lower_bound(below);
         it != files_.end() && absl::StartsWith(it->first, below); ++it) {
      std::string name = it->first.substr(below.size());
      const size_t slash = name.find('/');
      const bool is_file = slash == name.npos;
      name = name.substr(0, slash);
      if (!entries.empty() && entries.back().name == name) continue;
      entries.push_back({std::move(name),
                         is_file ? Kind::kFile : Kind::kDirectory,
                         is_file ? it->second->Size() : 0});
    }
    return entries;
  }

  absl::StatusOr<std::unique_ptr<FolderLock>> Lock(const std::string& directory,
                                                   LockMode mode) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    int& holders = holders_[directory];
    if (holders == kExclusively ||
        (holders > 0 && mode == LockMode::kExclusive)) {
      return absl::UnavailableError(
          absl::StrCat(directory, ": in use by this process"));
    }
    holders = mode == LockMode::kExclusive ? kExclusively : holders + 1;
    return std::make_unique<MemoryLock>(this, directory);
  }

  absl::Status MakeDirectory(const std::string&) override {
    return absl::OkStatus();
  }

  absl::Status Rename(const std::string& from, const std::string& to) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    auto it = files_.find(from);
    if (it == files_.end()) {
      return absl::NotFoundError(absl::StrCat(from, ": no such file"));
    }
    auto contents = it->second;
    files_.erase(it);
    files_[to] = std::move(contents);
    return absl::OkStatus();
  }

  absl::Status Remove(const std::string& path) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (files_.erase(path) > 0) return absl::OkStatus();
    return absl::NotFoundError(absl::StrCat(path, ": no such file"));
  }

  absl::Status SyncDirectory(const std::string&) override {
    return absl::OkStatus();
  }

  absl::StatusOr<std::string> Canonical(const std::string& path) override {
    return absl::StrCat("mem://", path);
  }

  std::optional<int64_t> FreeBytes(const std::string&) override {
    return std::nullopt;
  }

 private:
  static constexpr int kExclusively = -1;

  void Unlock(const std::string& directory) {
    const std::lock_guard<std::mutex> lock(mutex_);
    int& holders = holders_[directory];
    holders = holders == kExclusively ? 0 : holders - 1;
    if (holders == 0) holders_.erase(directory);
  }

  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<Contents>> files_;
  std::map<std::string, int> holders_;  // kExclusively, or how many share
};

const StorageRegistrar registrar("mem", new MemoryStorage);

}  // namespace
}  // namespace windlass
