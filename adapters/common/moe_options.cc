#include "windlass/adapters/common/moe_options.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "windlass/core/kernels/float_convert.h"
#include "windlass/core/status_macros.h"

namespace windlass {

std::vector<AdapterOption> MoeAdapterOptions() {
  return {
      {"dtype", "config.json's", "what merged expert tensors are cast to"},
      {"uses_model_prefix", "as the names at hand",
       "whether split experts are named model.layers..."},
  };
}

absl::StatusOr<DType> ReadDTypeOption(const ModelConfig& config,
                                      const JsonFields& options) {
  if (!options.Has("dtype")) return config.GetDType();
  WINDLASS_ASSIGN_OR_RETURN(const std::string name, options.GetString("dtype"));
  const std::optional<DType> dtype = ParseTorchDType(name);
  if (dtype.has_value() && IsConvertible(*dtype)) return *dtype;
  return options.WrongValue("dtype", "a torch float dtype such as bfloat16");
}

absl::StatusOr<MoeOptions> ReadMoeOptions(const ModelConfig& config,
                                          const JsonFields& options,
                                          absl::string_view experts_field) {
  constexpr absl::string_view kIntermediate = "moe_intermediate_size";
  auto describe = [&config](absl::string_view field) {
    return absl::StrCat(config.origin(), ": field \"", field, "\"");
  };
  MoeOptions moe;
  moe.experts_field = describe(experts_field);
  moe.intermediate_field = describe(kIntermediate);
  WINDLASS_ASSIGN_OR_RETURN(moe.experts, config.GetPositiveInt(experts_field));
  WINDLASS_ASSIGN_OR_RETURN(moe.intermediate,
                            config.GetPositiveInt(kIntermediate));
  WINDLASS_ASSIGN_OR_RETURN(moe.dtype, ReadDTypeOption(config, options));
  if (options.Has("uses_model_prefix")) {
    WINDLASS_ASSIGN_OR_RETURN(moe.uses_model_prefix,
                              options.GetBool("uses_model_prefix"));
  }
  return moe;
}

std::pair<int64_t, int64_t> ExpertRange(int64_t experts,
                                        const DeviceMesh& mesh) {
  const int64_t each = experts / mesh.ep_size;
  const int64_t more = experts % mesh.ep_size;
  const int64_t rank = mesh.ep_rank;
  const int64_t begin = rank * each + std::min(rank, more);
  return {begin, begin + each + (rank < more ? 1 : 0)};
}

}  // namespace windlass
