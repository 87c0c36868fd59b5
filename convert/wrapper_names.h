// Names that wrappers of a model leave in a state dict and that are no part of
// it: torch.compile's "_orig_mod", FSDP's "_fsdp_wrapped_module", activation
// checkpointing's "_checkpoint_wrapped_module", and the "module" that DDP puts
// in front.

#ifndef WINDLASS_CONVERT_WRAPPER_NAMES_H_
#define WINDLASS_CONVERT_WRAPPER_NAMES_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "windlass/core/state_dict.h"

namespace windlass {

struct WrapperNames {
  // Leave them where they are.
  bool keep = false;
  // More to strip from the front of names, once each, in this order; a dot
  // after one is understood.
  std::vector<std::string> prefixes;
};

// The same tensors under the names without wrappers, in the same order; an
// empty dict where no name has any. InvalidArgument for a prefix that no name
// has; AlreadyExists names two tensors that would have one name.
absl::StatusOr<StateDict> StripWrapperNames(const StateDict& tensors,
                                            const WrapperNames& names);

}  // namespace windlass

#endif  // WINDLASS_CONVERT_WRAPPER_NAMES_H_
