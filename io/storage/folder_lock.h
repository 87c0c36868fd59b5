// Holding a local directory against other processes.

#ifndef WINDLASS_IO_STORAGE_FOLDER_LOCK_H_
#define WINDLASS_IO_STORAGE_FOLDER_LOCK_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "windlass/io/storage/storage.h"

namespace windlass {

// Storage::Lock for local files: flock on a file of ours in the directory,
// which NFS carries to the server (on the directory itself it may not). The
// system releases it when the process ends, however it ends; what a dead
// process left is taken over. Where the file system knows no flock, an
// exclusive lock goes by the files that name holders, and one of another host
// must be removed by hand; a shared one cannot be had.
absl::StatusOr<std::unique_ptr<FolderLock>> LockLocalFolder(
    const std::string& directory, LockMode mode);

}  // namespace windlass

#endif  // WINDLASS_IO_STORAGE_FOLDER_LOCK_H_
