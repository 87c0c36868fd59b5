// What is asked of a conversion.

#ifndef WINDLASS_CONVERT_REQUEST_H_
#define WINDLASS_CONVERT_REQUEST_H_

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "windlass/convert/wrapper_names.h"
#include "windlass/core/dtype.h"
#include "windlass/core/state_dict_adapter.h"
#include "windlass/io/checkpoint.h"
#include "windlass/io/save.h"

namespace windlass {

// kSame is that of the input, whichever it is.
enum class Layout { kNative, kHf, kSame };

// "native", "hf", "same".
absl::string_view LayoutName(Layout layout);

struct ConversionRequest {
  // A folder, a file in one, or a folder of Hugging Face's cache; paths or
  // URIs.
  std::string input;
  // The folder to write. Empty converts in place: only the headers of INPUT's
  // files are rewritten, so only names may change.
  std::string output;
  // Whichever layout INPUT is in; in one that it is in already, nothing changes
  // but what options ask for. kSame changes the format alone: it takes no
  // adapter and no config.json, and no name changes but for prefixes that are
  // asked to go.
  Layout to = Layout::kNative;
  // A registered adapter's name; "auto" goes by config.json.
  std::string adapter = "auto";
  std::string adapter_options = "{}";  // JSON: option names and values
  // A file of rules, a path or URI, instead of a registered adapter.
  std::string rules;
  // config.json, where INPUT has none or another is meant.
  std::string config;
  OpenOptions open;
  // INPUT holds what an optimizer keeps of a model's parameters
  // (optimizer_state.h): it follows them.
  bool optimizer = false;
  // The reference's exclude_key_regex: HF names to drop, matched at their
  // start.
  std::string exclude_key_regex = kExtraStates;
  // Wrappers' names that INPUT's tensors have and the model does not.
  WrapperNames wrapper_names;
  // Whether a conversion whose inverse does not give INPUT back is refused.
  bool check = false;
  // How expert LoRA is written (ToHfOptions).
  bool v4_compatible = false;
  // Which share of the experts the native side holds.
  DeviceMesh device_mesh;
  // What floats of the output are cast to, and config.json's word on it; but
  // for those that the adapter forces. Refused where a float may be a scale.
  std::optional<DType> dtype;
  // A checkpoint in the layout that is written: where it has a tensor, that
  // goes into the same shard, at the same place, in the same dtype (unless
  // `dtype` is set); side files that INPUT lacks come from it. Empty for none.
  std::string like;
  // Names and shapes may be others than in `like`.
  bool allow_differences = false;
  // A checkpoint in the layout that is written: tensors that it has and the
  // output lacks come from it, as they are. Empty for none.
  std::string fill_from;
  SaveOptions save;
};

// What is wrong with the request itself: an unknown adapter or format, an
// option that the adapter does not take, a rank out of range. Everything else
// that fails says what is wrong with the world.
bool IsBadRequest(const absl::Status& status);

// The error, marked as such; OK stays OK.
absl::Status BadRequest(absl::Status status);

// Whether the parts of the request go together, and formats have such names.
absl::Status CheckRequest(const ConversionRequest& request);

}  // namespace windlass

#endif  // WINDLASS_CONVERT_REQUEST_H_
