// A model that is rewritten in the layout that it is in: only what is asked for
// changes.

#ifndef WINDLASS_CONVERT_SAME_LAYOUT_H_
#define WINDLASS_CONVERT_SAME_LAYOUT_H_

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "windlass/core/regex.h"
#include "windlass/core/state_dict.h"

namespace windlass {

// What may change. All else stays under its name, byte for byte, in its order,
// whether or not a way to the other layout and back would give it again.
struct AskedChanges {
  bool lora = false;    // how LoRA is written
  bool others = false;  // how all other tensors are
  bool casts = false;   // what the adapter casts tensors to
  // Quantised weights become values. They do, too, where some of them are
  // written otherwise.
  bool unpack = false;
  // Names that go where the round trip does not give them back.
  NameFilter excluded;
};

// `round_trip` goes to the other layout and back; it reads no bytes, and is
// called again where something changes. Its errors are passed on.
absl::StatusOr<StateDict> RewriteInSameLayout(
    const StateDict& tensors, const AskedChanges& asked,
    absl::FunctionRef<absl::StatusOr<StateDict>(const StateDict&)> round_trip);

}  // namespace windlass

#endif  // WINDLASS_CONVERT_SAME_LAYOUT_H_
