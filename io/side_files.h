// Side files: what belongs to a model but holds none of its tensors, and goes
// along as it is. The rule is the data in side_files.cc.

#ifndef WINDLASS_IO_SIDE_FILES_H_
#define WINDLASS_IO_SIDE_FILES_H_

#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "windlass/io/storage/storage.h"

namespace windlass {

struct SideFiles {
  // Paths in the folder ("config.json", "1_Pooling/config.json"), sorted.
  std::vector<std::string> files;
  // What stays where it is, sorted; "original/" for a folder.
  std::vector<std::string> left_behind;
};

// Whether transformers, vLLM or a tokenizer's library loads a file of this name
// beside a model, or its licence asks for it.
bool IsSideFileName(absl::string_view name);

// Sorts a folder's `names` but for those in `weights`, which are the format's.
// NotFound for a link that leads nowhere, InvalidArgument for what is no file
// under a side file's name, and for a Git LFS pointer or a web page in its
// place: what came out would not load.
absl::StatusOr<SideFiles> FindSideFiles(
    const Location& folder, const std::vector<std::string>& names,
    const absl::flat_hash_set<absl::string_view>& weights);

}  // namespace windlass

#endif  // WINDLASS_IO_SIDE_FILES_H_
