// Where in a file of torch.save the model's tensors lie: at the top, or under a
// name ("state_dict", "model", "module") beside what the trainer keeps.

#ifndef WINDLASS_IO_TORCH_FIND_STATE_DICT_H_
#define WINDLASS_IO_TORCH_FIND_STATE_DICT_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "windlass/io/pickle/pickle.h"

namespace windlass {

// The name of the top for FindStateDict.
inline constexpr char kTopStateDict[] = ".";

struct FoundStateDict {
  // Names and nodes, in the file's order. They point into the pickle.
  std::vector<std::pair<std::string, const PickleNode*>> tensors;
  // What is there beside them: "epoch", "model.config".
  std::vector<std::string> objects;
};

// The state dict at `key`, names joined by dots; or, where `key` is empty, the
// one that is there: the dictionaries that hold tensors at the least depth.
// InvalidArgument where there are several, by their keys, and where none holds
// tensors; NotFound where `key` leads nowhere.
absl::StatusOr<FoundStateDict> FindStateDict(const PickleNode& root,
                                             absl::string_view key);

}  // namespace windlass

#endif  // WINDLASS_IO_TORCH_FIND_STATE_DICT_H_
