// What Kimi's vision language models share: a DeepSeek-V3 under
// "language_model.model." and the options that go with it.

#ifndef WINDLASS_ADAPTERS_KIMI_VL_KIMI_LANGUAGE_MODEL_H_
#define WINDLASS_ADAPTERS_KIMI_VL_KIMI_LANGUAGE_MODEL_H_

#include <vector>

#include "absl/status/statusor.h"
#include "windlass/adapters/common/moe_options.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/layout_table.h"

namespace windlass {

// Experts, and LoRA of experts below any prefix. Closed: other parts of the
// model have none.
LayoutTable KimiExpertTable(const MoeOptions& moe);

// lm_head_in_language_model (false): the native name of the head. The
// reference's older one matches no parameter of its model.
AdapterOption LmHeadOption();
absl::StatusOr<bool> ReadLmHeadOption(const JsonFields& options);

// Those of mixtures and `others`, but that experts have one prefix here.
std::vector<AdapterOption> KimiOptions(std::vector<AdapterOption> others);

}  // namespace windlass

#endif  // WINDLASS_ADAPTERS_KIMI_VL_KIMI_LANGUAGE_MODEL_H_
