// What a training job knows of the checkpoint that its model was published as:
// NeMo Automodel keeps it, and the files that belong beside the weights, in the
// folder ".hf_metadata" of every checkpoint that it writes.

#ifndef WINDLASS_IO_PUBLISHED_H_
#define WINDLASS_IO_PUBLISHED_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "windlass/core/dtype.h"
#include "windlass/io/storage/storage.h"

namespace windlass {

inline constexpr char kHfMetadata[] = ".hf_metadata";

struct Published {
  // fqn_to_file_index_mapping: in which file, counted from 1, each tensor lies;
  // in the order of the names. Empty where it is not known.
  std::vector<std::pair<std::string, int>> files;
  // fqn_to_dtype_mapping: dtypes on disk.
  absl::flat_hash_map<std::string, DType> dtypes;

  int file_count() const;
};

// Whether the name is that of a file that Read reads, and not a side file.
bool IsPublishedMapping(absl::string_view name);

// Reads what the metadata folder has; InvalidArgument names the file that does
// not hold what it should.
absl::StatusOr<Published> ReadPublished(const Location& metadata,
                                        const std::vector<std::string>& names);

}  // namespace windlass

#endif  // WINDLASS_IO_PUBLISHED_H_
