// DCP_SHARDING_INFO: what a rank's safetensors file says in its metadata of the
// places that its tensors have in the whole ones, as torch.distributed's
// HuggingFaceStorageWriter and NeMo Automodel write it:
//
//   {"w": {"saved_offsets": [5, 0]}, ...}

#ifndef WINDLASS_IO_SAFETENSORS_SHARDING_INFO_H_
#define WINDLASS_IO_SAFETENSORS_SHARDING_INFO_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "windlass/core/dtype.h"

namespace windlass {

inline constexpr char kShardingInfo[] = "DCP_SHARDING_INFO";

// Names and offsets in elements, a number a dimension, in their order.
using ShardingInfo = std::vector<std::pair<std::string, Shape>>;

// InvalidArgument for what is no such JSON.
absl::StatusOr<ShardingInfo> ParseShardingInfo(absl::string_view json);

std::string WriteShardingInfo(const ShardingInfo& info);

}  // namespace windlass

#endif  // WINDLASS_IO_SAFETENSORS_SHARDING_INFO_H_
