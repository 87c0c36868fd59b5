// The folders in which Hugging Face's libraries keep what they downloaded:
//
//   models--ORG--NAME/refs/main            the revision that "main" is
//   models--ORG--NAME/snapshots/REVISION/  the files, as links into blobs/

#ifndef WINDLASS_IO_HUGGING_FACE_CACHE_H_
#define WINDLASS_IO_HUGGING_FACE_CACHE_H_

#include "absl/status/statusor.h"
#include "windlass/io/storage/storage.h"

namespace windlass {

// The snapshot that a folder stands for, if it is the one above the snapshots
// or the one that holds them: that of refs/main, else the only one. Any other
// folder is returned as it is. NotFound where there is no such snapshot,
// InvalidArgument where there are several to choose from.
absl::StatusOr<Location> ResolveSnapshot(const Location& folder);

}  // namespace windlass

#endif  // WINDLASS_IO_HUGGING_FACE_CACHE_H_
