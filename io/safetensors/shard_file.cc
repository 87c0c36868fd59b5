#include "windlass/io/safetensors/shard_file.h"

#include <utility>

#include "windlass/core/status_macros.h"
#include "windlass/io/safetensors/header.h"

namespace windlass {

absl::StatusOr<ReadShard> ReadShardHeader(const Location& folder,
                                          const std::string& name) {
  ReadShard read;
  WINDLASS_ASSIGN_OR_RETURN(
      auto file, folder.storage->OpenForRead(JoinPath(folder.path, name)));
  WINDLASS_ASSIGN_OR_RETURN(SafetensorsHeader header,
                            ReadSafetensorsHeader(*file));
  read.shard = {name, std::move(file), std::move(header.metadata)};
  read.tensors.reserve(header.tensors.size());
  for (SafetensorsEntry& entry : header.tensors) {
    WINDLASS_ASSIGN_OR_RETURN(
        Tensor tensor,
        Tensor::FromExtent(
            entry.dtype, std::move(entry.shape),
            Extent{read.shard.file, header.data_begin + entry.begin,
                   entry.end - entry.begin}));
    read.tensors.push_back({std::move(entry.name), std::move(tensor)});
  }
  return read;
}

}  // namespace windlass
