// What a mixture-of-experts adapter must know of its model, out of config.json
// and the adapter's options.

#ifndef WINDLASS_ADAPTERS_COMMON_MOE_OPTIONS_H_
#define WINDLASS_ADAPTERS_COMMON_MOE_OPTIONS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/dtype.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/model_config.h"
#include "windlass/core/state_dict_adapter.h"

namespace windlass {

struct MoeOptions {
  int64_t experts = 0;       // E: n_routed_experts
  int64_t intermediate = 0;  // I: moe_inter_dim, a hidden unit's count
  // For messages: "config.json: field "num_experts"".
  std::string experts_field;
  std::string intermediate_field;
  // The adapter's dtype: what merged and dequantised tensors are cast to.
  DType dtype = DType::kBF16;
  // _uses_model_prefix: whether split experts are named "model.layers...".
  // Unset: as the native name at hand is.
  std::optional<bool> uses_model_prefix;
};

// The options that ReadMoeOptions understands, for AdapterInfo.
std::vector<AdapterOption> MoeAdapterOptions();

// NotFound or InvalidArgument names the field of config.json or the option.
absl::StatusOr<MoeOptions> ReadMoeOptions(const ModelConfig& config,
                                          const JsonFields& options,
                                          absl::string_view experts_field);

// Option `dtype`, or the config's.
absl::StatusOr<DType> ReadDTypeOption(const ModelConfig& config,
                                      const JsonFields& options);

// The experts [first, second) of a rank: as even as can be, the first ranks
// have one more.
std::pair<int64_t, int64_t> ExpertRange(int64_t experts,
                                        const DeviceMesh& mesh);

}  // namespace windlass

#endif  // WINDLASS_ADAPTERS_COMMON_MOE_OPTIONS_H_
