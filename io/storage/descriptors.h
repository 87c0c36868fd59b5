// Files that stay open as long as there is room: a process may have a thousand
// descriptors, and a checkpoint ten thousand shards.

#ifndef WINDLASS_IO_STORAGE_DESCRIPTORS_H_
#define WINDLASS_IO_STORAGE_DESCRIPTORS_H_

#include <unistd.h>

#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <utility>

#include "absl/status/statusor.h"

namespace windlass {

// Owns an open descriptor.
class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  ~FileDescriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;

  int get() const { return fd_; }
  int Release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

// A descriptor that may be closed behind its owner's back, when others need the
// room, and is opened again when it is asked for. Half of what the process may
// have are kept, those that were not used for long go first. Thread-safe.
class SharedDescriptor {
 public:
  // Opens the file again: the very same one, or an error.
  using Reopen = std::function<absl::StatusOr<int>()>;

  SharedDescriptor(int fd, Reopen reopen);
  ~SharedDescriptor();
  SharedDescriptor(const SharedDescriptor&) = delete;
  SharedDescriptor& operator=(const SharedDescriptor&) = delete;

  // An open descriptor, for as long as the handle lives. Errors are those of
  // opening the file again.
  using Handle = std::shared_ptr<const FileDescriptor>;
  absl::StatusOr<Handle> Get() const;

  // Closes all that nobody holds a handle of.
  static void CloseAll();

 private:
  class Pool;

  const Reopen reopen_;
  mutable std::mutex mutex_;
  mutable Handle handle_;      // null while it is closed
  mutable bool used_ = false;  // since the pool looked last
  // In the pool, while it is open; the pool's.
  mutable std::list<const SharedDescriptor*>::iterator place_;
};

}  // namespace windlass

#endif  // WINDLASS_IO_STORAGE_DESCRIPTORS_H_
