// DeepSeek-V3 (and Kimi-K2, Moonlight): FP8 blocks are dequantised, experts are
// merged.
//
// The reference: models/deepseek_v3/state_dict_adapter.py,
// DeepSeekV3StateDictAdapter.

#include <memory>

#include "absl/status/statusor.h"
#include "windlass/adapters/common/expert_tables.h"
#include "windlass/adapters/common/moe_options.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/layout_table.h"
#include "windlass/core/model_config.h"
#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

absl::StatusOr<std::unique_ptr<StateDictAdapter>> Create(
    const ModelConfig& config, const JsonFields& options) {
  WINDLASS_ASSIGN_OR_RETURN(const MoeOptions moe,
                            ReadMoeOptions(config, options));
  return MakeLayoutAdapter(ExpertStages(moe, /*param_wrapper=*/false));
}

const AdapterRegistrar deepseek_v3({
    /*name=*/"deepseek_v3",
    /*framework=*/"automodel",
    /*summary=*/"DeepSeek-V3, Kimi-K2, Moonlight",
    /*architectures=*/{"DeepseekV3ForCausalLM"},
    /*model_types=*/{"deepseek_v3", "kimi_k2"},
    /*options=*/MoeAdapterOptions(),
    &Create,
    /*expert_parallel=*/true,
    /*supports=*/nullptr,
});

// The indexer's tensors are called and laid out alike.
const AdapterRegistrar deepseek_v32({
    /*name=*/"deepseek_v32",
    /*framework=*/"automodel",
    /*summary=*/"DeepSeek-V3.2",
    /*architectures=*/{"DeepseekV32ForCausalLM"},
    /*model_types=*/{"deepseek_v32"},
    /*options=*/MoeAdapterOptions(),
    &Create,
    /*expert_parallel=*/true,
    /*supports=*/nullptr,
});

}  // namespace
}  // namespace windlass
