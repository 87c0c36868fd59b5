// Qwen3.5 dense, text and vision-language: the first adapter, and the one to
// copy.
//
// The native model keeps the gates of its GatedDeltaNet layers in F32 holders
// and names its multi-token-prediction (MTP) module as Megatron does. Nothing
// else differs from Hugging Face: no tensor changes its shape.
//
// The reference: nemo_automodel.components.models.qwen3_5.state_dict_adapter,
// class Qwen3_5DenseStateDictAdapter.

#ifndef WINDLASS_ADAPTERS_QWEN3_5_QWEN3_5_H_
#define WINDLASS_ADAPTERS_QWEN3_5_QWEN3_5_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "windlass/adapters/common/layout_step.h"
#include "windlass/core/dtype.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/model_config.h"
#include "windlass/core/state_dict.h"

namespace windlass {

// map_qwen3_5_mtp_from_hf_key and map_qwen3_5_mtp_to_hf_key: the four names of
// the MTP module that differ; every other key as it is.
std::string MapQwen3_5MtpFromHfKey(absl::string_view key);
std::string MapQwen3_5MtpToHfKey(absl::string_view key);

class Qwen3_5DenseStateDictAdapter : public StepAdapter {
 public:
  // Option route_linear_attn_fp32_params (true): whether native gates live in
  // the holders. They are F32 either way.
  explicit Qwen3_5DenseStateDictAdapter(
      bool route_linear_attn_fp32_params = true);

  // For the registry.
  static absl::StatusOr<std::unique_ptr<StateDictAdapter>> Create(
      const ModelConfig& config, const JsonFields& options);

  std::vector<std::pair<std::string, DType>> ForcedHfDtypeMapping(
      const StateDict& hf_state_dict) const override;
};

}  // namespace windlass

#endif  // WINDLASS_ADAPTERS_QWEN3_5_QWEN3_5_H_
