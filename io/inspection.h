// What a checkpoint holds, by its headers alone.

#ifndef WINDLASS_IO_INSPECTION_H_
#define WINDLASS_IO_INSPECTION_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "windlass/core/tensor.h"
#include "windlass/io/checkpoint.h"

namespace windlass {

struct InspectedTensor {
  absl::string_view name;
  const Tensor* tensor = nullptr;
  // Among the checkpoint's shards: where its bytes begin, and how many shards
  // hold some; -1 and 0 for none.
  int shard = -1;
  int shards = 0;
  // Its elements are codes, which `scales`, a tensor's name, gives a meaning;
  // empty where there is no such tensor.
  bool quantised = false;
  std::string scales;
};

// A name that another tensor's bytes serve, too.
struct TiedTensor {
  std::string name;
  std::string to;
  std::string said_by;  // "same bytes", a file's name
};

// How an index that could not be followed differs from the files.
struct IndexFindings {
  std::vector<std::string> unlisted;   // found in a file, not in the index
  std::vector<std::string> missing;    // in the index, found nowhere
  std::vector<std::string> misplaced;  // found in another file
};

// A metadata entry of the files.
struct FileMetadata {
  std::string key;
  std::string value;
  int64_t files = 0;  // how many have it
};

struct Inspection {
  Checkpoint checkpoint;
  std::vector<InspectedTensor> tensors;  // in the checkpoint's order
  std::vector<FileMetadata> metadata;
  std::vector<TiedTensor> tied;
  // What config.json says of quantisation; empty for nothing.
  std::string quantisation;
  // What stood in the way, though the tensors could be listed: an index that
  // does not fit, a config.json that cannot be read.
  std::vector<std::string> problems;
  IndexFindings index;
};

// Opens a checkpoint and looks at it; reads headers, the index and config.json.
// Where the index does not fit, the files are read without it. Errors are those
// of OpenCheckpoint.
absl::StatusOr<Inspection> Inspect(absl::string_view uri,
                                   OpenOptions options = {});

}  // namespace windlass

#endif  // WINDLASS_IO_INSPECTION_H_
