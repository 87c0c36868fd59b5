// GPT-OSS: other names for the router and the experts, which are laid out in
// HF's files as in the native model; files that pack them as MXFP4 are
// unpacked.
//
// The reference: models/gpt_oss/state_dict_adapter.py, GPTOSSStateDictAdapter.

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

// Blocks [..., G, 16] and their scales [..., G] to values [..., 32 G].
absl::Status UnpackBlocks(const LayoutContext&, std::vector<Tensor>* tensors) {
  Shape shape = tensors->front().shape();
  const int64_t width = shape.back();
  shape.pop_back();
  shape.back() *= width;
  WINDLASS_ASSIGN_OR_RETURN(const Tensor codes,
                            Reshape(tensors->front(), std::move(shape)));
  WINDLASS_ASSIGN_OR_RETURN(
      Tensor values,
      Dequantize(codes, tensors->back(), MxFp4Format(), DType::kBF16));
  tensors->assign(1, std::move(values));
  return absl::OkStatus();
}

// What is unpacked stands at the end, in the layout of other files: a packed
// expert is [out, in], one that is not is [in, out].
LayoutTable Mxfp4Table() {
  const LayoutDim n = {"n", -1, ""};
  const LayoutDim rows = {"rows", -1, ""};
  const LayoutDim groups = {"groups", -1, ""};
  const LayoutDim bytes = {"bytes", 16, "MXFP4: 32 elements of 4 bits"};
  LayoutTable table;
  table
      .Map({"{n*}{s+}_blocks", "{n*}{s+}_scales"}, {"{n*}{s+}"},
           {layout::Shapes({{n, rows, groups, bytes}, {n, rows, groups}}),
            layout::OneWay("unpack MXFP4", /*takes=*/2, /*gives=*/1,
                           &UnpackBlocks, nullptr),
            layout::Transpose()})
      .AtEnd()
      .OnlyToNative();
  return table;
}

// What is renamed stands at the end.
LayoutTable Names(const MoeOptions& moe, bool te_attention) {
  const LayoutDim& E = moe.experts;
  const LayoutDim& H = moe.hidden;
  const LayoutDim& I = moe.intermediate;
  const std::string experts = "{p*}mlp.experts.";
  LayoutTable table;
  table.Rename("{p*}mlp.router.{k:weight|bias}", "{p*}mlp.gate.{k}")
      .AtEndAsTheyCome()
      .Map({experts + "gate_up_proj"}, {experts + "gate_and_up_projs"},
           {layout::Shapes({{E, H, Doubled(I)}})})
      .AtEndAsTheyCome()
      .Map({experts + "down_proj"}, {experts + "down_projs"},
           {layout::Shapes({{E, I, H}})})
      .AtEndAsTheyCome()
      .Rename(experts + "{k:gate_up_proj_bias|down_proj_bias}", experts + "{k}")
      .ClosedExperts({"{p*}layers.{l}.mlp.router.weight", nullptr});
  if (te_attention) {
    table
        .Rename("{p*}self_attn.sinks",
                "{p*}self_attn.attn_module.softmax_offset")
        .AtEndAsTheyCome();
  }
  return table;
}

absl::StatusOr<std::unique_ptr<StateDictAdapter>> Create(
    const ModelConfig& config, const JsonFields& options) {
  WINDLASS_ASSIGN_OR_RETURN(
      const MoeOptions moe,
      ReadMoeOptions(config, options, "intermediate_size"));
  WINDLASS_ASSIGN_OR_RETURN(const bool te_attention,
                            options.GetBoolOr("te_attention", false));
  return MakeLayoutAdapter(
      {BlockFp8Table(moe), Mxfp4Table(), Names(moe, te_attention)});
}

std::vector<AdapterOption> Options() {
  std::vector<AdapterOption> options;
  for (AdapterOption& option : NestedMoeAdapterOptions()) {
    if (option.name == "moe_intermediate_size" ||
        option.name == "num_experts") {
      options.push_back(std::move(option));
    }
  }
  options.push_back({"dtype", "config.json's",
                     "what FP8 weights are unpacked to; MXFP4 is to BF16"});
  options.push_back({"te_attention", "false",
                     "the native model's attention is Transformer Engine's, "
                     "which has another name for the sinks"});
  return options;
}

// Every rank of an expert-parallel run reads all experts, as in the reference.
const AdapterRegistrar registrar({
    /*name=*/"gpt_oss",
    /*framework=*/"automodel",
    /*summary=*/"GPT-OSS",
    /*architectures=*/{"GptOssForCausalLM"},
    /*model_types=*/{"gpt_oss"},
    /*options=*/Options(),
    &Create,
    /*expert_parallel=*/false,
    /*supports=*/nullptr,
    /*example_config=*/
    R"({"dtype": "bfloat16", "num_local_experts": 4, "intermediate_size": 8,
        "hidden_size": 6})",
});

}  // namespace
}  // namespace windlass
