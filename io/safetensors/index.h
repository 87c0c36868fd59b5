// model.safetensors.index.json: which tensor lies in which file.

#ifndef WINDLASS_IO_SAFETENSORS_INDEX_H_
#define WINDLASS_IO_SAFETENSORS_INDEX_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace windlass {

struct WeightMap {
  struct Entry {
    size_t begin;  // of the tensor's name, in `names`
    uint32_t size;
    int file;  // in `files`
  };

  absl::string_view NameOf(const Entry& entry) const {
    return absl::string_view(names).substr(entry.begin, entry.size);
  }

  std::vector<std::string> files;  // names in the index's folder, each once
  std::vector<Entry> entries;      // in the index's order
  // All tensors' names, one behind the other: there may be a million.
  std::string names;
  // The members of the index's own "metadata" and their JSON, in their order.
  std::vector<std::pair<std::string, std::string>> metadata;
};

// Reads an index's weight_map. InvalidArgument where there is none or where a
// file's name leaves the folder ("./NAME" is NAME). A tensor that comes twice
// is given twice. `found` is called for each file as soon as it is known.
absl::StatusOr<WeightMap> ParseWeightMap(
    absl::string_view json, absl::FunctionRef<void(const std::string&)> found =
                                [](const std::string&) {});

}  // namespace windlass

#endif  // WINDLASS_IO_SAFETENSORS_INDEX_H_
