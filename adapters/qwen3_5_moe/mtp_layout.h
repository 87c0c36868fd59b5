// How files of Qwen3.5 and 3.6 have the experts of the multi-token-prediction
// (MTP) module: a tensor an expert, or fused.

#ifndef WINDLASS_ADAPTERS_QWEN3_5_MOE_MTP_LAYOUT_H_
#define WINDLASS_ADAPTERS_QWEN3_5_MOE_MTP_LAYOUT_H_

#include "absl/status/statusor.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/layout_table.h"
#include "windlass/core/model_config.h"

namespace windlass {

// Option mtp_expert_hf_layout.
AdapterOption MtpLayoutOption();

// Between the forms "per_expert" and "fused": both are read. What is written
// the option says, or the field of that name in config.json, or the model at
// hand. InvalidArgument for a word that is neither.
absl::StatusOr<LayoutChoice> ReadMtpLayout(const ModelConfig& config,
                                           const JsonFields& options);

}  // namespace windlass

#endif  // WINDLASS_ADAPTERS_QWEN3_5_MOE_MTP_LAYOUT_H_
