// MiMo-V2-Flash: FP8 blocks are dequantised, experts are merged. On the way
// back matrices become FP8 again, without scales of their own.
//
// The reference: models/mimo_v2_flash/state_dict_adapter.py,
// MiMoV2FlashStateDictAdapter.

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "windlass/adapters/common/expert_tables.h"
#include "windlass/adapters/common/moe_options.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/dequantize.h"
#include "windlass/core/dtype.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/layout_op.h"
#include "windlass/core/layout_table.h"
#include "windlass/core/model_config.h"
#include "windlass/core/status_macros.h"
#include "windlass/core/tensor.h"
#include "windlass/core/tensor_ops.h"

namespace windlass {
namespace {

// What ends so is never written in FP8.
constexpr const char* kKept[] = {
    "norm.weight",
    "{s+}norm.weight",
    "lm_head.weight",
    "embed_tokens.weight",
    "mlp.gate.weight",
    "self_attn.o_proj.weight",
    "{m:lora_A|lora_B}.weight",
};

// The published keys of full attention have scales for 1024 rows, whatever
// number they have of them.
constexpr int64_t kKeyScaleRows = 8;

LayoutOp PadKeyScales(int64_t heads, int64_t head_dim) {
  return layout::OneWay(
      "pad scales", /*takes=*/0, /*gives=*/1,
      [](const LayoutContext&, std::vector<Tensor>*) {
        return absl::OkStatus();
      },
      [heads, head_dim](const LayoutContext&,
                        std::vector<Tensor>* tensors) -> absl::Status {
        if (tensors->size() == 1) return absl::OkStatus();
        const int64_t rows = tensors->front().shape()[0];
        Shape blocks = tensors->back().shape();
        if (rows % head_dim != 0 || rows / head_dim != heads ||
            blocks[0] >= kKeyScaleRows) {
          return absl::OkStatus();
        }
        blocks[0] = kKeyScaleRows;
        WINDLASS_ASSIGN_OR_RETURN(tensors->back(),
                                  Fill(DType::kF32, blocks, 1));
        return absl::OkStatus();
      });
}

LayoutTable Fp8Table(DType dtype, int64_t heads, int64_t head_dim) {
  LayoutTable table;
  const auto add = [&table](const std::string& name,
                            std::vector<LayoutOp> ops) {
    table.Decode("{n*}" + name, {"{n*}" + name + "_scale_inv"}, "{n*}" + name,
                 std::move(ops));
  };
  for (const char* name : kKept) {
    add(name, {layout::Dequantize(BlockFormat(), dtype)});
  }
  table.Else();
  add("self_attn.k_proj.weight",
      {PadKeyScales(heads, head_dim), layout::CastFp8(dtype)});
  table.Else();
  add("weight", {layout::CastFp8(dtype)});
  return table;
}

absl::StatusOr<std::unique_ptr<StateDictAdapter>> Create(
    const ModelConfig& config, const JsonFields& options) {
  WINDLASS_ASSIGN_OR_RETURN(const MoeOptions moe,
                            ReadMoeOptions(config, options));
  std::vector<LayoutStage> stages = ExpertStages(moe, /*param_wrapper=*/false);
  WINDLASS_ASSIGN_OR_RETURN(const bool fp8,
                            options.GetBoolOr("export_fp8", true));
  if (fp8) {
    WINDLASS_ASSIGN_OR_RETURN(const int64_t heads,
                              config.GetPositiveInt("num_key_value_heads"));
    WINDLASS_ASSIGN_OR_RETURN(const int64_t head_dim,
                              config.GetPositiveInt("head_dim"));
    stages.front() =
        Fp8Table(moe.dtype.value_or(DType::kBF16), heads, head_dim);
  }
  return MakeLayoutAdapter(std::move(stages));
}

std::vector<AdapterOption> Options() {
  std::vector<AdapterOption> options = MoeAdapterOptions();
  options.push_back({"export_fp8", "true",
                     "matrices are written in FP8, rounded with scales of 1 as "
                     "the reference does; false keeps their dtype"});
  return options;
}

const AdapterRegistrar registrar({
    /*name=*/"mimo_v2_flash",
    /*framework=*/"automodel",
    /*summary=*/"MiMo-V2-Flash",
    /*architectures=*/{"MiMoV2FlashForCausalLM"},
    /*model_types=*/{"mimo_v2_flash"},
    /*options=*/Options(),
    &Create,
    /*expert_parallel=*/true,
    /*supports=*/nullptr,
    /*example_config=*/
    R"({"dtype": "bfloat16", "n_routed_experts": 4, "moe_intermediate_size": 8,
        "num_key_value_heads": 2, "head_dim": 8})",
});

}  // namespace
}  // namespace windlass
