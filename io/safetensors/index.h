// model.safetensors.index.json: which tensor lies in which file.

#ifndef WINDLASS_IO_SAFETENSORS_INDEX_H_
#define WINDLASS_IO_SAFETENSORS_INDEX_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace windlass {

struct WeightMap {
  struct Entry {
    std::string tensor;
    int file;  // in `files`
  };

  std::vector<std::string> files;  // names in the index's folder, each once
  std::vector<Entry> entries;      // in the index's order
};

// Reads an index's weight_map. InvalidArgument where there is none or where a
// file's name leaves the folder. A tensor that comes twice is given twice.
absl::StatusOr<WeightMap> ParseWeightMap(absl::string_view json);

}  // namespace windlass

#endif  // WINDLASS_IO_SAFETENSORS_INDEX_H_
