// What Gemma4's mixtures share: how experts and their router are called and
// laid out.

#ifndef WINDLASS_ADAPTERS_GEMMA4_GEMMA4_EXPERTS_H_
#define WINDLASS_ADAPTERS_GEMMA4_GEMMA4_EXPERTS_H_

#include <vector>

#include "absl/status/statusor.h"
#include "windlass/adapters/common/moe_options.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/layout_table.h"
#include "windlass/core/model_config.h"

namespace windlass {

// Errors are those of ReadMoeOptions.
absl::StatusOr<MoeOptions> ReadGemma4Options(const ModelConfig& config,
                                             const JsonFields& options);

//   HF      L.experts.gate_up_proj [E, 2I, H], L.experts.down_proj [E, H, I]
//           L.router.per_expert_scale [E], proj.weight, scale
//   native  L.moe.experts.gate_and_up_projs [E, H, 2I]
//           L.moe.experts.down_projs [E, I, H], times the scale
//           L.moe.gate.proj.weight, scale
// Experts stand at the end of the native model. LoRA of them is refused: what
// it adds in HF is multiplied by the scale, of which its files know nothing.
// Not the first stages.
std::vector<LayoutStage> Gemma4ExpertStages(const MoeOptions& moe);

}  // namespace windlass

#endif  // WINDLASS_ADAPTERS_GEMMA4_GEMMA4_EXPERTS_H_
