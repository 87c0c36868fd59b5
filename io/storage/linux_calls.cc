#include "windlass/io/storage/linux_calls.h"

#include <cerrno>

#if defined(__linux__) && !defined(WINDLASS_PLAIN_POSIX)

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>
#include <unistd.h>

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342  // linux/magic.h has it since 5.11
#endif

namespace windlass {

FileSystemTraits TraitsOf(int fd) {
  struct statfs info;
  FileSystemTraits traits;
  if (::fstatfs(fd, &info) != 0) return traits;
  const bool xfs = info.f_type == XFS_SUPER_MAGIC;
  traits.shares_blocks = xfs || info.f_type == BTRFS_SUPER_MAGIC;
  if (xfs || info.f_type == EXT4_SUPER_MAGIC) {
    traits.insert_multiple = info.f_bsize;
  }
  return traits;
}

int ShareRange(int from_fd, int64_t from, int64_t size, int to_fd, int64_t to) {
  struct file_clone_range range = {};
  range.src_fd = from_fd;
  range.src_offset = from;
  range.src_length = size;
  range.dest_offset = to;
  return ::ioctl(to_fd, FICLONERANGE, &range) == 0 ? 0 : errno;
}

int AllocateRange(int fd, int64_t size) {
  return ::fallocate(fd, 0, 0, size) == 0 ? 0 : errno;
}

int InsertRange(int fd, int64_t size) {
  return ::fallocate(fd, FALLOC_FL_INSERT_RANGE, 0, size) == 0 ? 0 : errno;
}

ssize_t CopyRange(int from_fd, int64_t from, int to_fd, int64_t to,
                  int64_t size) {
  off_t in = from;
  off_t out = to;
  return ::copy_file_range(from_fd, &in, to_fd, &out, size, 0);
}

void StartWriteback(int fd, int64_t offset, int64_t size) {
#ifdef SYNC_FILE_RANGE_WRITE
  ::sync_file_range(fd, offset, size, SYNC_FILE_RANGE_WRITE);
#else
  (void)fd, (void)offset, (void)size;
#endif
}

}  // namespace windlass

#else

namespace windlass {

FileSystemTraits TraitsOf(int) { return {}; }
int ShareRange(int, int64_t, int64_t, int, int64_t) { return EOPNOTSUPP; }
int AllocateRange(int, int64_t) { return EOPNOTSUPP; }
int InsertRange(int, int64_t) { return EOPNOTSUPP; }
ssize_t CopyRange(int, int64_t, int, int64_t, int64_t) {
  errno = EOPNOTSUPP;
  return -1;
}
void StartWriteback(int, int64_t, int64_t) {}

}  // namespace windlass

#endif
