// Which adapter a conversion takes.

#ifndef WINDLASS_CONVERT_CHOOSE_ADAPTER_H_
#define WINDLASS_CONVERT_CHOOSE_ADAPTER_H_

#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "windlass/convert/request.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/dtype.h"
#include "windlass/core/state_dict.h"
#include "windlass/core/state_dict_adapter.h"
#include "windlass/io/checkpoint.h"
#include "windlass/io/storage/storage.h"

namespace windlass {

// An option that says how a model is written, and otherwise how it is read.
inline constexpr char kPeftLayout[] = "peft_layout";

// An adapter, chosen and built, and what is asked of it.
struct ChosenAdapter {
  const AdapterInfo* info = nullptr;
  std::shared_ptr<const AdapterInfo> own_info;  // of a file of rules
  std::unique_ptr<StateDictAdapter> adapter;
  // What reads HF's layout to write it anew; null where `adapter` does.
  std::unique_ptr<StateDictAdapter> reader;
  ToHfOptions options;
  // config.json announces experts, of which the adapter has no row.
  bool no_experts = false;
};

// By the request, or by the config.json that it names, that lies in `folder`,
// beside the tensors of `like` (null for none), or with the base model of an
// adapter_config.json. The adapter is told that the config says `dtype`, if
// that is given. Errors are BadRequest's, the registry's, the adapter's and the
// storage's.
absl::StatusOr<ChosenAdapter> ChooseAdapter(const ConversionRequest& request,
                                            const Location& folder,
                                            const Checkpoint* like,
                                            std::optional<DType> dtype);

// InvalidArgument for an expert: a dense model's adapter would pass experts on
// as they are.
absl::Status CheckNoExperts(const StateDict& tensors, const AdapterInfo& info);

}  // namespace windlass

#endif  // WINDLASS_CONVERT_CHOOSE_ADAPTER_H_
