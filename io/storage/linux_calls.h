// What Linux can do with files beyond POSIX. On other systems, and with
// WINDLASS_PLAIN_POSIX defined, each call says that it cannot; all works
// without.

#ifndef WINDLASS_IO_STORAGE_LINUX_CALLS_H_
#define WINDLASS_IO_STORAGE_LINUX_CALLS_H_

#include <sys/types.h>

#include <cstdint>

namespace windlass {

// What the file system of an open file can do.
struct FileSystemTraits {
  bool shares_blocks = false;   // Btrfs, XFS
  int64_t insert_multiple = 0;  // of InsertRange; 0 where it cannot
};
FileSystemTraits TraitsOf(int fd);

// As errno says it, or 0.

// Lets the two files have the same blocks for the range (FICLONERANGE).
int ShareRange(int from_fd, int64_t from, int64_t size, int to_fd, int64_t to);

// Gives the file its size, with the space behind it. EOPNOTSUPP where the file
// system cannot promise space other than by writing it.
int AllocateRange(int fd, int64_t size);

// Moves all that the file holds back by `size` bytes.
int InsertRange(int fd, int64_t size);

// Copies within the kernel: how many bytes, or -1 and errno. ENOSYS, EXDEV,
// EINVAL, EOPNOTSUPP and 0 mean that it cannot, here.
ssize_t CopyRange(int from_fd, int64_t from, int to_fd, int64_t to,
                  int64_t size);

// Sends the range on its way to the device; a hint.
void StartWriteback(int fd, int64_t offset, int64_t size);

}  // namespace windlass

#endif  // WINDLASS_IO_STORAGE_LINUX_CALLS_H_
