// Two checkpoints of one model in different layouts, or packed in different
// ways, brought to where they can be compared.

#ifndef WINDLASS_CONVERT_COMMON_LAYOUT_H_
#define WINDLASS_CONVERT_COMMON_LAYOUT_H_

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "windlass/core/state_dict.h"
#include "windlass/io/checkpoint.h"

namespace windlass {

struct CommonLayoutRequest {
  // A registered adapter's name; "auto" goes by config.json.
  std::string adapter = "auto";
  std::string adapter_options = "{}";  // JSON: option names and values
  // config.json, where neither has one or another is meant.
  std::string config;
};

struct CommonLayout {
  std::string adapter;
  // What the adapter made of either; nullopt where it stays as it is.
  std::optional<StateDict> a, b;
  // In words: "A to native"; "as they are".
  std::string what;
};

// Tries what the adapter makes of either, in both directions, and takes that in
// which fewest tensors have no counterpart, then that in which fewest dtypes
// differ; the checkpoints as they are where that is no worse. Reads headers
// alone. NotFound where no adapter is found; the adapter's error where it takes
// neither and they do not fit as they are.
absl::StatusOr<CommonLayout> FindCommonLayout(
    const Checkpoint& a, const Checkpoint& b,
    const CommonLayoutRequest& request);

}  // namespace windlass

#endif  // WINDLASS_CONVERT_COMMON_LAYOUT_H_
