// One safetensors file, its header read.

#ifndef WINDLASS_IO_SAFETENSORS_SHARD_FILE_H_
#define WINDLASS_IO_SAFETENSORS_SHARD_FILE_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "windlass/core/state_dict.h"
#include "windlass/io/checkpoint.h"
#include "windlass/io/storage/storage.h"

namespace windlass {

struct ReadShard {
  Shard shard;
  std::vector<NamedTensor> tensors;  // in the order of their data
};

// The errors of the storage and of ReadSafetensorsHeader, which name the file.
absl::StatusOr<ReadShard> ReadShardHeader(const Location& folder,
                                          const std::string& name);

}  // namespace windlass

#endif  // WINDLASS_IO_SAFETENSORS_SHARD_FILE_H_
