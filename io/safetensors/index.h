// model.safetensors.index.json: which tensor lies in which file.

#ifndef WINDLASS_IO_SAFETENSORS_INDEX_H_
#define WINDLASS_IO_SAFETENSORS_INDEX_H_

#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace windlass {

// Tensor name to the name of a file in the same folder.
using WeightMap = absl::flat_hash_map<std::string, std::string>;

// Reads an index's weight_map. InvalidArgument where there is none, where a
// tensor comes twice, or where a file's name leaves the folder.
absl::StatusOr<WeightMap> ParseWeightMap(absl::string_view json);

}  // namespace windlass

#endif  // WINDLASS_IO_SAFETENSORS_INDEX_H_
