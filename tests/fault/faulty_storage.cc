#include "windlass/tests/fault/faulty_storage.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "windlass/core/status_macros.h"
#include "windlass/io/storage/storage.h"
#include "windlass/tests/testing/files.h"

namespace windlass {

void Faults::Set(int new_at, bool new_crash, absl::StatusCode new_code) {
  calls = 0;
  at = new_at;
  crash = new_crash;
  code = new_code;
}

absl::Status Faults::Call(absl::string_view path) {
  const int call = calls++;
  if (at < 0 || call < at || (call > at && !crash)) return absl::OkStatus();
  return absl::Status(code, absl::StrCat(path, ": injected"));
}

Faults& TheFaults() {
  static auto* const faults = new Faults;
  return *faults;
}

namespace {

class FaultyReadable : public ReadableFile {
 public:
  explicit FaultyReadable(std::shared_ptr<const ReadableFile> file)
      : file_(std::move(file)) {}
  const std::string& name() const override { return file_->name(); }
  int64_t size() const override { return file_->size(); }
  const FileIdentity& identity() const override { return file_->identity(); }
  absl::Status ReadAt(int64_t offset, absl::Span<char> out) const override {
    WINDLASS_RETURN_IF_ERROR(TheFaults().Call(name()));
    return file_->ReadAt(offset, out);
  }
  absl::Status CheckUnchanged() const override {
    return file_->CheckUnchanged();
  }

 private:
  const std::shared_ptr<const ReadableFile> file_;
};

class FaultyWritable : public WritableFile {
 public:
  explicit FaultyWritable(std::unique_ptr<WritableFile> file)
      : file_(std::move(file)) {}
  const std::string& name() const override { return file_->name(); }
  absl::Status Allocate(int64_t size) override {
    WINDLASS_RETURN_IF_ERROR(TheFaults().Call(name()));
    return file_->Allocate(size);
  }
  absl::Status WriteAt(int64_t offset, absl::Span<const char> data) override {
    const absl::Status fault = TheFaults().Call(name());
    // What fails in the middle has written a part.
    if (!fault.ok()) data = data.subspan(0, data.size() / 2);
    WINDLASS_RETURN_IF_ERROR(file_->WriteAt(offset, data));
    return fault;
  }
  absl::Status Sync() override {
    WINDLASS_RETURN_IF_ERROR(TheFaults().Call(name()));
    return file_->Sync();
  }
  absl::Status Close() override {
    WINDLASS_RETURN_IF_ERROR(TheFaults().Call(name()));
    return file_->Close();
  }

 private:
  const std::unique_ptr<WritableFile> file_;
};

class FaultyEditable : public EditableFile {
 public:
  FaultyEditable(Storage* storage, std::string path,
                 std::unique_ptr<EditableFile> file)
      : storage_(storage), path_(std::move(path)), file_(std::move(file)) {}
  int64_t size() const override { return file_->size(); }
  // Whatever the file system of the test's folder can: by writing all of it.
  absl::Status InsertAtFront(int64_t size) override {
    WINDLASS_RETURN_IF_ERROR(TheFaults().Call(path_));
    WriteTestFile(path_, std::string(size, '?') + ReadTestFile(path_));
    WINDLASS_ASSIGN_OR_RETURN(file_, storage_->OpenForEdit(path_));
    return absl::OkStatus();
  }
  absl::Status ReadAt(int64_t offset, absl::Span<char> out) override {
    WINDLASS_RETURN_IF_ERROR(TheFaults().Call(path_));
    return file_->ReadAt(offset, out);
  }
  absl::Status WriteAt(int64_t offset, absl::Span<const char> data) override {
    const absl::Status fault = TheFaults().Call(path_);
    if (!fault.ok()) data = data.subspan(0, data.size() / 2);
    WINDLASS_RETURN_IF_ERROR(file_->WriteAt(offset, data));
    return fault;
  }
  absl::Status CheckInsert(int64_t) override { return absl::OkStatus(); }
  absl::Status Sync() override {
    WINDLASS_RETURN_IF_ERROR(TheFaults().Call(path_));
    return file_->Sync();
  }

 private:
  Storage* const storage_;
  const std::string path_;
  std::unique_ptr<EditableFile> file_;
};

// "fault://path": local files that may fail.
class FaultyStorage : public Storage {
 public:
  absl::StatusOr<std::shared_ptr<const ReadableFile>> OpenForRead(
      const std::string& path) override {
    WINDLASS_RETURN_IF_ERROR(TheFaults().Call(path));
    WINDLASS_ASSIGN_OR_RETURN(auto file, local().OpenForRead(path));
    return std::make_shared<FaultyReadable>(std::move(file));
  }
  absl::StatusOr<std::unique_ptr<WritableFile>> Create(
      const std::string& path) override {
    WINDLASS_RETURN_IF_ERROR(TheFaults().Call(path));
    WINDLASS_ASSIGN_OR_RETURN(auto file, local().Create(path));
    return std::make_unique<FaultyWritable>(std::move(file));
  }
  absl::StatusOr<std::unique_ptr<EditableFile>> OpenForEdit(
      const std::string& path) override {
    WINDLASS_RETURN_IF_ERROR(TheFaults().Call(path));
    WINDLASS_ASSIGN_OR_RETURN(auto file, local().OpenForEdit(path));
    return std::make_unique<FaultyEditable>(&local(), path, std::move(file));
  }
  absl::StatusOr<Kind> GetKind(const std::string& path) override {
    return local().GetKind(path);
  }
  absl::StatusOr<std::vector<Entry>> List(const std::string& path) override {
    return local().List(path);
  }
  absl::StatusOr<std::unique_ptr<FolderLock>> Lock(const std::string& path,
                                                   LockMode mode) override {
    return local().Lock(path, mode);
  }
  absl::Status MakeDirectory(const std::string& path) override {
    WINDLASS_RETURN_IF_ERROR(TheFaults().Call(path));
    return local().MakeDirectory(path);
  }
  absl::Status Rename(const std::string& from, const std::string& to) override {
    WINDLASS_RETURN_IF_ERROR(TheFaults().Call(to));
    return local().Rename(from, to);
  }
  absl::Status Remove(const std::string& path) override {
    WINDLASS_RETURN_IF_ERROR(TheFaults().Call(path));
    return local().Remove(path);
  }
  absl::Status SyncDirectory(const std::string& path) override {
    WINDLASS_RETURN_IF_ERROR(TheFaults().Call(path));
    return local().SyncDirectory(path);
  }
  absl::StatusOr<std::string> Canonical(const std::string& path) override {
    return local().Canonical(path);
  }
  std::optional<int64_t> FreeBytes(const std::string& path) override {
    return local().FreeBytes(path);
  }

 private:
  static Storage& local() { return *ResolveLocation("/")->storage; }
};

const StorageRegistrar registrar("fault", new FaultyStorage);

}  // namespace
}  // namespace windlass
