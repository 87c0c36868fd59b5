// How tensors are shared out among the files of an output, by the rules that
// formats have in common; what the files are called is theirs to say.

#ifndef WINDLASS_IO_OUTPUT_SHARDS_H_
#define WINDLASS_IO_OUTPUT_SHARDS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "windlass/core/state_dict.h"
#include "windlass/core/tensor.h"
#include "windlass/io/checkpoint.h"
#include "windlass/io/transfer/plan.h"

namespace windlass {

// The tensors of one output file. They point into the dict.
struct OutputShard {
  std::string name;
  // The input's shard that its tensors came from; null where they were not
  // grouped by that.
  const Shard* like = nullptr;
  // The place among the files that the model was published in; 0 for none.
  int number = 0;
  std::vector<const NamedTensor*> tensors;
};

// One at least, be it empty. Where no size of shards is asked for, each tensor
// goes where it was published, if `like` knows that; or else where its first
// source lay in `like`, or by_name that of its namesake (what has none there
// follows the tensor before it), unless that has a shard a rank. Shards that
// nobody goes to are left out, unless there is no tensor at all. Otherwise
// shards are filled in order up to that many bytes of data. Names are left
// empty. FailedPrecondition where what was published and the tensors are not
// the same, naming one.
absl::StatusOr<std::vector<OutputShard>> ShareOut(const StateDict& tensors,
                                                  const Checkpoint& like,
                                                  const LayOutOptions& options);

// What the one file of an output is called: `usual` and the format's ending.
// The one that PEFT looks for ("adapter_model") keeps its name.
std::string NameOfOnlyFile(const Checkpoint& like, absl::string_view usual,
                           absl::string_view ending);

// Rows [begin, end) of a tensor's dimension 0.
struct RowRange {
  int64_t begin = 0;
  int64_t end = 0;
};

// The parts that `ranks` files have of a tensor, the first file's first, as
// torch.chunk cuts dimension 0: all but the last have as many rows, and later
// files may have none. What has no rows or no dimension is whole: [0, 0).
std::vector<RowRange> CutRows(const Tensor& tensor, int ranks);

// InvalidArgument where tensors were asked to be cut, which `format` does not.
absl::Status CheckKeepsTensorsWhole(const LayOutOptions& options,
                                    absl::string_view format);

// The index that says which tensor lies in which shard, as transformers writes
// it: the metadata that `like`'s index has, with the size renewed.
ClosingFile MakeIndex(std::string name, const std::vector<OutputShard>& shards,
                      const Checkpoint& like);

}  // namespace windlass

#endif  // WINDLASS_IO_OUTPUT_SHARDS_H_
