// Local files, by POSIX calls. The default storage, and "file://".

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "windlass/core/status_macros.h"
#include "windlass/io/storage/descriptors.h"
#include "windlass/io/storage/folder_lock.h"
#include "windlass/io/storage/linux_calls.h"
#include "windlass/io/storage/storage.h"

namespace windlass {
namespace {

absl::Status Errno(int error, absl::string_view path,
                   absl::string_view action) {
  const absl::Status status = absl::ErrnoToStatus(error, action);
  // A limit of file size is a kind of room that is missing.
  if (error == EFBIG) {
    return absl::ResourceExhaustedError(
        absl::StrCat(path, ": ", status.message()));
  }
  return absl::Status(status.code(),
                      absl::StrCat(path, ": ", status.message()));
}

// Repeats a call that a signal interrupted.
template <typename Call>
auto Retry(Call call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

// The same for a call that takes a descriptor: where there is none left, the
// files go that can be opened again.
template <typename Call>
auto RetryOpening(Call call) {
  auto result = Retry(call);
  if (result < 0 && (errno == EMFILE || errno == ENFILE)) {
    SharedDescriptor::CloseAll();
    result = Retry(call);
  }
  return result;
}

int Open(const std::string& path, int flags) {
  return RetryOpening([&] { return ::open(path.c_str(), flags, 0666); });
}

FileIdentity IdentityOf(const struct stat& info) {
#ifdef __APPLE__
  const struct timespec& modified = info.st_mtimespec;
#else
  const struct timespec& modified = info.st_mtim;
#endif
  return FileIdentity{info.st_size,
                      int64_t{modified.tv_sec} * 1000000000 + modified.tv_nsec,
                      static_cast<uint64_t>(info.st_ino)};
}

// Linux caches what is written at once in pages as large, and where memory is
// in pieces, or a virtual machine has to get it first, those of megabytes cost
// more than twice as much as these.
constexpr size_t kMostAtOnce = 256 << 10;

absl::Status PWriteAll(int fd, const std::string& path, int64_t offset,
                       absl::Span<const char> data) {
  while (!data.empty()) {
    const size_t most = std::min(data.size(), kMostAtOnce);
    const ssize_t put =
        Retry([&] { return ::pwrite(fd, data.data(), most, offset); });
    if (put < 0) return Errno(errno, path, "writing");
    offset += put;
    data.remove_prefix(put);
  }
  return absl::OkStatus();
}

absl::Status PReadAll(int fd, const std::string& path, int64_t offset,
                      absl::Span<char> out) {
  while (!out.empty()) {
    const ssize_t got =
        Retry([&] { return ::pread(fd, out.data(), out.size(), offset); });
    if (got < 0) return Errno(errno, path, "reading");
    if (got == 0) {
      return absl::OutOfRangeError(
          absl::StrCat(path, ": found the end at byte ", offset, ", expected ",
                       out.size(), " more bytes; the file was truncated"));
    }
    offset += got;
    out.remove_prefix(got);
  }
  return absl::OkStatus();
}

absl::Status FSync(int fd, const std::string& path) {
  if (Retry([&] { return ::fsync(fd); }) == 0) return absl::OkStatus();
  return Errno(errno, path, "syncing");
}

// What is found where a file is expected.
const char* KindName(mode_t mode) {
  return S_ISDIR(mode)    ? "a folder"
         : S_ISFIFO(mode) ? "a FIFO"
         : S_ISSOCK(mode) ? "a socket"
                          : "a device";
}

// Opens a regular file and nothing else, and never waits for it: opening a FIFO
// would, and opening a device can do anything.
absl::StatusOr<int> OpenRegular(const std::string& path, int flags,
                                struct stat* info) {
  if (path.find('\0') != path.npos) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": found a NUL in a path"));
  }
  auto check = [&]() -> absl::Status {
    if (S_ISREG(info->st_mode)) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": found ", KindName(info->st_mode),
                     ", expected a regular file"));
  };
  if (::stat(path.c_str(), info) == 0) WINDLASS_RETURN_IF_ERROR(check());
  const int fd = Open(path, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) return Errno(errno, path, "opening");
  FileDescriptor owned(fd);
  if (::fstat(fd, info) != 0) return Errno(errno, path, "stat");
  WINDLASS_RETURN_IF_ERROR(check());
  return owned.Release();
}

class LocalReadableFile : public ReadableFile {
 public:
  LocalReadableFile(std::string path, int fd, const struct stat& info)
      : path_(std::move(path)),
        identity_(IdentityOf(info)),
        mode_(info.st_mode & 0777),
        descriptor_(fd, [this] { return Reopen(); }) {}

  const std::string& name() const override { return path_; }
  int64_t size() const override { return identity_.size; }
  const FileIdentity& identity() const override { return identity_; }
  std::optional<int> mode() const override { return mode_; }
  const SharedDescriptor& descriptor() const { return descriptor_; }

  absl::Status ReadAt(int64_t offset, absl::Span<char> out) const override {
    WINDLASS_ASSIGN_OR_RETURN(const auto handle, descriptor_.Get());
    return PReadAll(handle->get(), path_, offset, out);
  }

  absl::Status CheckUnchanged() const override {
    struct stat info;
    if (::stat(path_.c_str(), &info) != 0) return Errno(errno, path_, "stat");
    return CheckIdentity(info);
  }

 private:
  absl::Status CheckIdentity(const struct stat& info) const {
    if (IdentityOf(info) == identity_) return absl::OkStatus();
    return absl::FailedPreconditionError(
        absl::StrCat(path_, ": the file was changed while it was read"));
  }

  absl::StatusOr<int> Reopen() const {
    struct stat info;
    WINDLASS_ASSIGN_OR_RETURN(const int fd,
                              OpenRegular(path_, O_RDONLY, &info));
    FileDescriptor owned(fd);
    WINDLASS_RETURN_IF_ERROR(CheckIdentity(info));
    return owned.Release();
  }

  const std::string path_;
  const FileIdentity identity_;
  const int mode_;
  const SharedDescriptor descriptor_;
};

class LocalWritableFile : public WritableFile {
 public:
  LocalWritableFile(std::string path, int fd)
      : path_(std::move(path)), fd_(fd) {}

  const std::string& name() const override { return path_; }

  absl::Status Allocate(int64_t size) override {
    if (size == 0) return absl::OkStatus();
    // Space that is allocated first would be given back for every shared block.
    if (TraitsOf(fd_.get()).shares_blocks) return SetSize(size);
    int error = EINTR;
    while (error == EINTR) error = AllocateRange(fd_.get(), size);
    // Some file systems cannot promise space; the size alone will do there.
    if (error == EOPNOTSUPP || error == EINVAL || error == ENOSYS) {
      return SetSize(size);
    }
    if (error != 0) return Errno(error, path_, "allocating space");
    return absl::OkStatus();
  }

  absl::Status WriteAt(int64_t offset, absl::Span<const char> data) override {
    return PWriteAll(fd_.get(), path_, offset, data);
  }

  absl::StatusOr<bool> CopyFrom(const ByteSource& source, int64_t from,
                                int64_t size, int64_t to) override {
    const auto* file = dynamic_cast<const LocalReadableFile*>(&source);
    if (file == nullptr) return false;
    WINDLASS_ASSIGN_OR_RETURN(const auto handle, file->descriptor().Get());
    const int fd = handle->get();
    WINDLASS_ASSIGN_OR_RETURN(const bool shared,
                              Share(*file, fd, from, size, to));
    return shared ? true : CopyInKernel(*file, fd, from, size, to);
  }

  absl::Status SetMode(int mode) override {
    // The umask can only be asked for by setting it; what the file was created
    // with tells the same.
    struct stat info;
    if (::fstat(fd_.get(), &info) != 0) return Errno(errno, path_, "stat");
    const int allowed = mode & (info.st_mode | (info.st_mode & 0444) >> 2);
    if (::fchmod(fd_.get(), allowed) != 0) {
      return Errno(errno, path_, "setting permissions");
    }
    return absl::OkStatus();
  }

  void StartSync(int64_t offset, int64_t size) override {
    StartWriteback(fd_.get(), offset, size);
  }

  absl::Status Sync() override { return FSync(fd_.get(), path_); }

  absl::Status Close() override {
    if (::close(fd_.Release()) != 0 && errno != EINTR) {
      return Errno(errno, path_, "closing");
    }
    return absl::OkStatus();
  }

 private:
  // What file systems share is a multiple of their block, 4 KiB as a rule.
  static constexpr int64_t kShareBlock = 4096;

  // Only whole blocks can be shared; the ends of the range are copied.
  absl::StatusOr<bool> Share(const LocalReadableFile& file, int fd,
                             int64_t from, int64_t size, int64_t to) {
    if (!can_share_.load(std::memory_order_relaxed) ||
        (from - to) % kShareBlock != 0) {
      return false;
    }
    const int64_t head = (kShareBlock - to % kShareBlock) % kShareBlock;
    const int64_t blocks = (size - head) / kShareBlock * kShareBlock;
    if (blocks <= 0) return false;
    int error = EINTR;
    while (error == EINTR) {
      error = ShareRange(fd, from + head, blocks, fd_.get(), to + head);
    }
    if (error != 0) {
      can_share_.store(false, std::memory_order_relaxed);
      return false;
    }
    WINDLASS_RETURN_IF_ERROR(CopySmall(file, from, head, to));
    WINDLASS_RETURN_IF_ERROR(CopySmall(
        file, from + head + blocks, size - head - blocks, to + head + blocks));
    return true;
  }

  absl::StatusOr<bool> CopyInKernel(const LocalReadableFile& file, int fd,
                                    int64_t from, int64_t size, int64_t to) {
    if (!can_copy_.load(std::memory_order_relaxed)) return false;
    bool begun = false;
    while (size > 0) {
      const ssize_t done =
          Retry([&] { return CopyRange(fd, from, fd_.get(), to, size); });
      // Not between these file systems, or not in this kernel.
      const bool cannot = done == 0 || (done < 0 && errno != EIO &&
                                        errno != ENOSPC && errno != EDQUOT);
      if (!begun && cannot) {
        can_copy_.store(false, std::memory_order_relaxed);
        return false;
      }
      if (done < 0) {
        return Errno(errno, path_, absl::StrCat("copying ", file.name()));
      }
      // A source that ends early says so when it is read.
      if (done == 0) return CopyRest(file, from, size, to);
      begun = true;
      from += done;
      to += done;
      size -= done;
    }
    return true;
  }

  // Through a buffer, where the kernel has stopped in the middle.
  absl::StatusOr<bool> CopyRest(const LocalReadableFile& file, int64_t from,
                                int64_t size, int64_t to) {
    while (size > 0) {
      const int64_t part = std::min(size, kShareBlock);
      WINDLASS_RETURN_IF_ERROR(CopySmall(file, from, part, to));
      from += part;
      to += part;
      size -= part;
    }
    return true;
  }

  absl::Status SetSize(int64_t size) {
    if (Retry([&] { return ::ftruncate(fd_.get(), size); }) != 0) {
      return Errno(errno, path_, "setting the size");
    }
    return absl::OkStatus();
  }

  absl::Status CopySmall(const ByteSource& source, int64_t from, int64_t size,
                         int64_t to) {
    char block[kShareBlock];
    const auto part = absl::MakeSpan(block, size);
    WINDLASS_RETURN_IF_ERROR(source.ReadAt(from, part));
    return WriteAt(to, part);
  }

  const std::string path_;
  FileDescriptor fd_;
  std::atomic<bool> can_share_{true};
  std::atomic<bool> can_copy_{true};
};

class LocalEditableFile : public EditableFile {
 public:
  LocalEditableFile(std::string path, int fd, int64_t size)
      : path_(std::move(path)), fd_(fd), size_(size) {}

  int64_t size() const override { return size_; }

  absl::Status CheckInsert(int64_t size) override {
    const int64_t multiple = TraitsOf(fd_.get()).insert_multiple;
    if (multiple > 0 && size % multiple == 0) return absl::OkStatus();
    return CannotInsert(size);
  }

  absl::Status InsertAtFront(int64_t size) override {
    int error = EINTR;
    while (error == EINTR) error = InsertRange(fd_.get(), size);
    if (error == 0) {
      size_ += size;
      return absl::OkStatus();
    }
    if (error == EOPNOTSUPP || error == EINVAL || error == ENOSYS) {
      return CannotInsert(size);
    }
    return Errno(error, path_, "inserting space");
  }

  absl::Status ReadAt(int64_t offset, absl::Span<char> out) override {
    return PReadAll(fd_.get(), path_, offset, out);
  }

  absl::Status WriteAt(int64_t offset, absl::Span<const char> data) override {
    return PWriteAll(fd_.get(), path_, offset, data);
  }

  absl::Status Sync() override { return FSync(fd_.get(), path_); }

 private:
  absl::Status CannotInsert(int64_t size) const {
    return absl::UnimplementedError(absl::StrCat(
        path_, ": the file system cannot insert ", size, " bytes"));
  }

  const std::string path_;
  const FileDescriptor fd_;
  int64_t size_;
};

Storage::Kind KindOf(const struct stat& info) {
  return S_ISDIR(info.st_mode)   ? Storage::Kind::kDirectory
         : S_ISREG(info.st_mode) ? Storage::Kind::kFile
                                 : Storage::Kind::kOther;
}

class LocalStorage : public Storage {
 public:
  absl::StatusOr<std::shared_ptr<const ReadableFile>> OpenForRead(
      const std::string& path) override {
    struct stat info;
    WINDLASS_ASSIGN_OR_RETURN(const int fd, OpenRegular(path, O_RDONLY, &info));
    return std::make_shared<LocalReadableFile>(path, fd, info);
  }

  absl::StatusOr<std::unique_ptr<WritableFile>> Create(
      const std::string& path) override {
    const int fd =
        Open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return Errno(errno, path, "creating");
    return std::make_unique<LocalWritableFile>(path, fd);
  }

  absl::StatusOr<std::unique_ptr<EditableFile>> OpenForEdit(
      const std::string& path) override {
    struct stat info;
    if (::lstat(path.c_str(), &info) == 0 && S_ISLNK(info.st_mode)) {
      return absl::FailedPreconditionError(absl::StrCat(
          path, ": found a link, expected a file of this folder's own"));
    }
    WINDLASS_ASSIGN_OR_RETURN(const int fd,
                              OpenRegular(path, O_RDWR | O_NOFOLLOW, &info));
    FileDescriptor owned(fd);
    if (info.st_nlink > 1) {
      return absl::FailedPreconditionError(
          absl::StrCat(path, ": found a file with ", info.st_nlink,
                       " names, expected one of this folder's own"));
    }
    return std::make_unique<LocalEditableFile>(path, owned.Release(),
                                               info.st_size);
  }

  absl::StatusOr<Kind> GetKind(const std::string& path) override {
    struct stat info;
    if (::stat(path.c_str(), &info) != 0) {
      if (errno == ENOENT || errno == ENOTDIR) return Kind::kMissing;
      return Errno(errno, path, "stat");
    }
    return KindOf(info);
  }

  absl::StatusOr<std::vector<Entry>> List(
      const std::string& directory) override {
    DIR* const dir = ::opendir(directory.c_str());
    if (dir == nullptr) return Errno(errno, directory, "listing");
    std::vector<Entry> entries;
    errno = 0;
    while (const dirent* found = ::readdir(dir)) {
      const std::string name = found->d_name;
      if (name == "." || name == "..") continue;
      Entry entry{name, Kind::kMissing, 0};
      struct stat info;
      if (::fstatat(::dirfd(dir), found->d_name, &info, 0) == 0) {
        entry.kind = KindOf(info);
        if (entry.kind == Kind::kFile) entry.size = info.st_size;
      }
      entries.push_back(std::move(entry));
      errno = 0;
    }
    const int error = errno;
    ::closedir(dir);
    if (error != 0) return Errno(error, directory, "listing");
    std::sort(entries.begin(), entries.end(),
              [](const Entry& a, const Entry& b) { return a.name < b.name; });
    return entries;
  }

  absl::StatusOr<std::unique_ptr<FolderLock>> Lock(const std::string& directory,
                                                   LockMode mode) override {
    return LockLocalFolder(directory, mode);
  }

  absl::Status MakeDirectory(const std::string& path) override {
    if (::mkdir(path.c_str(), 0777) == 0) return absl::OkStatus();
    if (errno == ENOENT) {
      WINDLASS_RETURN_IF_ERROR(MakeDirectory(DirName(path)));
      if (::mkdir(path.c_str(), 0777) == 0) return absl::OkStatus();
    }
    const int error = errno;
    struct stat info;
    if (error == EEXIST && ::stat(path.c_str(), &info) == 0 &&
        S_ISDIR(info.st_mode)) {
      return absl::OkStatus();
    }
    return Errno(error, path, "creating the folder");
  }

  absl::Status Rename(const std::string& from, const std::string& to) override {
    if (::rename(from.c_str(), to.c_str()) == 0) return absl::OkStatus();
    return Errno(errno, to, absl::StrCat("renaming ", from));
  }

  absl::Status Remove(const std::string& path) override {
    if (::unlink(path.c_str()) == 0) return absl::OkStatus();
    return Errno(errno, path, "removing");
  }

  absl::Status SyncDirectory(const std::string& path) override {
    const int fd = Open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    // A folder above ours may let us through without being read.
    if (fd < 0 && errno == EACCES) return absl::OkStatus();
    if (fd < 0) return Errno(errno, path, "opening");
    const FileDescriptor owned(fd);
    return FSync(fd, path);
  }

  absl::StatusOr<std::string> Canonical(const std::string& path) override {
    std::error_code error;
    std::filesystem::path canonical =
        std::filesystem::weakly_canonical(path, error);
    if (error) return Errno(error.value(), path, "resolving");
    // "a/b/" is "a/b".
    if (!canonical.has_filename() && canonical.has_relative_path()) {
      canonical = canonical.parent_path();
    }
    if (canonical.is_relative()) {
      const std::filesystem::path here = std::filesystem::current_path(error);
      if (error) return Errno(error.value(), path, "resolving");
      canonical = here / canonical;
    }
    return canonical.string();
  }

  std::optional<int64_t> FreeBytes(const std::string& path) override {
    const int fd = Open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return std::nullopt;
    const FileDescriptor owned(fd);
    struct statvfs info;
    if (TraitsOf(fd).shares_blocks || ::fstatvfs(fd, &info) != 0) {
      return std::nullopt;
    }
    if (info.f_blocks == 0) return std::nullopt;  // a tmpfs without a limit
    return static_cast<int64_t>(info.f_bavail) *
           static_cast<int64_t>(info.f_frsize);
  }
};

const StorageRegistrar registrar("file", new LocalStorage);

}  // namespace
}  // namespace windlass
