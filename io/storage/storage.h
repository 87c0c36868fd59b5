// Storage: where checkpoints live. Local files and memory today.
//
// A storage registers under a URI scheme with one constant at the end of its
// .cc, in a target that is `alwayslink` (memory_storage.cc is the example to
// copy). Paths without a scheme are local files:
//
//   absl::StatusOr<Location> input = ResolveLocation("mem://bucket/model");
//   auto names = input->storage->List(input->path);

#ifndef WINDLASS_IO_STORAGE_STORAGE_H_
#define WINDLASS_IO_STORAGE_STORAGE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "windlass/core/byte_source.h"

namespace windlass {

// What tells one state of a file from another.
struct FileIdentity {
  int64_t size = 0;
  int64_t modified_ns = 0;  // since the epoch; 0 where the storage knows none
  uint64_t inode = 0;       // likewise

  bool operator==(const FileIdentity& other) const {
    return size == other.size && modified_ns == other.modified_ns &&
           inode == other.inode;
  }
  bool operator!=(const FileIdentity& other) const { return !(*this == other); }
};

// A file open for reading. Its size is that at opening. Any number may be open:
// a storage closes those that were not used for long, and opens them again when
// they are read, which is FailedPrecondition where the file is no longer the
// same. Thread-safe.
class ReadableFile : public ByteSource {
 public:
  // At opening.
  virtual const FileIdentity& identity() const = 0;

  // FailedPrecondition where the file is no longer what was opened: replaced,
  // truncated or written to.
  virtual absl::Status CheckUnchanged() const = 0;

  // Its permission bits; nullopt where the storage has none.
  virtual std::optional<int> mode() const { return std::nullopt; }
};

// A new file. Ranges may be written in any order and from several threads, as
// long as they do not overlap. Destruction closes without any promise.
class WritableFile {
 public:
  virtual ~WritableFile() = default;

  virtual const std::string& name() const = 0;

  // Gives the file its size, with the space behind it where the storage can
  // promise that: ResourceExhausted where it cannot be had.
  virtual absl::Status Allocate(int64_t size) = 0;

  virtual absl::Status WriteAt(int64_t offset, absl::Span<const char> data) = 0;

  // Takes `size` bytes of a source without moving them through this process:
  // shares the blocks where both lie on one file system that can, else has the
  // kernel copy them. False where neither is possible; nothing happened then.
  virtual absl::StatusOr<bool> CopyFrom(const ByteSource& /*source*/,
                                        int64_t /*from*/, int64_t /*size*/,
                                        int64_t /*to*/) {
    return false;
  }

  // A hint: the range is complete and may be on its way to the device.
  virtual void StartSync(int64_t /*offset*/, int64_t /*size*/) {}

  // Permission bits, as far as the process's umask allows them.
  virtual absl::Status SetMode(int /*mode*/) { return absl::OkStatus(); }

  // The bytes written reach the device.
  virtual absl::Status Sync() = 0;

  // Must be called once writing is done; says what went wrong until then.
  virtual absl::Status Close() = 0;
};

// An existing file whose beginning is rewritten where it lies.
class EditableFile {
 public:
  virtual ~EditableFile() = default;

  virtual int64_t size() const = 0;

  // Moves all that the file holds back by `size` bytes, a multiple of 4 KiB,
  // without copying it; what stands before is undefined. Unimplemented where
  // the file system cannot.
  virtual absl::Status InsertAtFront(int64_t size) = 0;

  // What InsertAtFront would say, as far as that is known without trying.
  virtual absl::Status CheckInsert(int64_t size) = 0;

  virtual absl::Status ReadAt(int64_t offset, absl::Span<char> out) = 0;
  virtual absl::Status WriteAt(int64_t offset, absl::Span<const char> data) = 0;
  virtual absl::Status Sync() = 0;
};

// Held for as long as it lives.
class FolderLock {
 public:
  virtual ~FolderLock() = default;
};

// Any number of holders may share a folder; one alone has it exclusively.
enum class LockMode { kShared, kExclusive };

// Thread-safe. Paths are those of the storage, without a scheme. Errors carry
// the path: NotFound, AlreadyExists, PermissionDenied, ResourceExhausted (no
// space, no file descriptor), or what errno translates to.
class Storage {
 public:
  // kOther is what is there but cannot be read as a file: a FIFO, a socket, a
  // device.
  enum class Kind { kMissing, kFile, kDirectory, kOther };

  // A name in a directory. Links are followed: one that leads nowhere is
  // kMissing.
  struct Entry {
    std::string name;
    Kind kind = Kind::kMissing;
    int64_t size = 0;  // of a file
  };

  virtual ~Storage() = default;

  // Opens a regular file, and never waits for one: InvalidArgument for anything
  // else (a directory, a FIFO).
  virtual absl::StatusOr<std::shared_ptr<const ReadableFile>> OpenForRead(
      const std::string& path) = 0;

  // AlreadyExists where anything stands there, be it a link that leads nowhere.
  virtual absl::StatusOr<std::unique_ptr<WritableFile>> Create(
      const std::string& path) = 0;

  // FailedPrecondition for a link or a file with several names: what lies
  // behind it belongs to others too. Unimplemented where the storage cannot.
  virtual absl::StatusOr<std::unique_ptr<EditableFile>> OpenForEdit(
      const std::string& path);

  // Links are followed.
  virtual absl::StatusOr<Kind> GetKind(const std::string& path) = 0;

  // What is in a directory, sorted by name.
  virtual absl::StatusOr<std::vector<Entry>> List(
      const std::string& directory) = 0;

  // Holds a directory against other holders, in this process and in others,
  // until the lock is destroyed or the process ends however it ends. Never
  // waits: Unavailable names who is there, on which machine, and since when.
  // NotFound where there is no such directory; where it cannot be written to,
  // what errno translates to.
  virtual absl::StatusOr<std::unique_ptr<FolderLock>> Lock(
      const std::string& directory, LockMode mode) = 0;

  // With its parents; fine where it exists.
  virtual absl::Status MakeDirectory(const std::string& path) = 0;

  // Replaces `to` atomically.
  virtual absl::Status Rename(const std::string& from,
                              const std::string& to) = 0;

  virtual absl::Status Remove(const std::string& path) = 0;

  // Renames and removals in `path` reach the device.
  virtual absl::Status SyncDirectory(const std::string& path) = 0;

  // The one name of a path that may have many; the path need not exist.
  virtual absl::StatusOr<std::string> Canonical(const std::string& path) = 0;

  // Bytes that can still be written below `path`; nullopt where that is not
  // known, as where files may share blocks.
  virtual std::optional<int64_t> FreeBytes(const std::string& path) = 0;
};

// A storage and a path in it.
struct Location {
  Storage* storage = nullptr;  // lives as long as the program
  std::string path;
};

// "scheme://path" or a local path. NotFound lists the known schemes.
absl::StatusOr<Location> ResolveLocation(absl::string_view uri);

// Registers a storage under a scheme. One that is taken ends the program.
class StorageRegistrar {
 public:
  StorageRegistrar(const std::string& scheme, Storage* storage);
};

// "a/b" of "a" and "b".
std::string JoinPath(absl::string_view directory, absl::string_view name);

// The last component of a path, and what stands before it ("." for none).
std::string BaseName(absl::string_view path);
std::string DirName(absl::string_view path);

// Whether a name that a file gave is one in the same folder, and leads nowhere
// else.
bool IsFileName(absl::string_view name);

// The names in a folder, sorted.
absl::StatusOr<std::vector<std::string>> ListNames(const Location& folder);

// A small file at once. ResourceExhausted where it is larger than `limit`.
absl::StatusOr<std::string> ReadFile(Storage& storage, const std::string& path,
                                     int64_t limit);

// Where a file is written before it gets its name: ".NAME" and this suffix. A
// name too long for that is cut, and told from others by its XXH3.
inline constexpr char kPartialSuffix[] = ".windlass-partial";
std::string TemporaryName(absl::string_view name);

// The files that a held folder has: the one that is locked, and one for each
// holder whose name says who it is. All are empty: removing a file that has
// blocks can wait for the device.
inline constexpr char kLockName[] = ".windlass-lock";
bool IsLockName(absl::string_view name);

// Creates a file in place of whatever stands there, a link itself and not what
// it leads to.
absl::StatusOr<std::unique_ptr<WritableFile>> CreateNew(
    Storage& storage, const std::string& path);

// A small file, under its final name and on the device when this returns. With
// `sync` false the device may lag behind.
absl::Status WriteFile(Storage& storage, const std::string& path,
                       absl::string_view contents, bool sync = true);

}  // namespace windlass

#endif  // WINDLASS_IO_STORAGE_STORAGE_H_
