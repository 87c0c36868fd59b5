// Tables that mixture families share: experts, their LoRA, FP8 blocks.
//
//   table.Append(ExpertTable(moe)).Append(ExpertLoraTable(moe, true));

#ifndef WINDLASS_ADAPTERS_COMMON_EXPERT_TABLES_H_
#define WINDLASS_ADAPTERS_COMMON_EXPERT_TABLES_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "windlass/adapters/common/moe_options.h"
#include "windlass/core/layout_op.h"
#include "windlass/core/layout_table.h"

namespace windlass {

// What a family calls its experts. The captures are {p*} and {l} or whatever
// the names have, the same ones in both layouts.
struct ExpertNames {
  std::string hf = "{p*}layers.{l}.mlp.experts";
  std::string native = "{p*}layers.{l}.mlp.experts";
  std::string gate = "gate_proj";  // empty for experts without a gate
  std::string up = "up_proj";
  std::string down = "down_proj";
  // A layer that has it has experts.
  std::string router = "{p*}layers.{l}.mlp.gate.weight";
  // Fused experts are published as the native layout has them, [E, H, 2I] and
  // [E, I, H]; those of transformers 5 are told by their shapes.
  bool fused_as_native = false;
  // What is merged of a tensor an expert stands at the end.
  bool merged_at_end = false;
  // And so does what was fused already.
  bool fused_at_end = false;
  // A factor for each expert that goes into its down, [E]; empty for none.
  // Ones are written, of the adapter's dtype.
  std::string down_scale = {};
};

// Which layers config.json says to be mixtures, for LayoutTable::Experts.
// Layers for predicting more tokens (MTP) have numbers of their own, of which
// it does not speak. Null where it says nothing.
std::function<bool(absl::string_view layer, int64_t number)> SparseLayers(
    const MoeOptions& moe);

// Twice the extent, under the name "2I".
LayoutDim Doubled(const LayoutDim& dim);

//   HF      P.e.gate_proj.weight, P.e.up_proj.weight  [I, H] each
//           P.e.down_proj.weight                      [H, I]
//     or    P.gate_up_proj [E, 2I, H], P.down_proj [E, H, I]  (transformers 5)
//   native  P.gate_and_up_projs [E, H, 2I], P.down_projs [E, I, H]
// Closed: what else is called an expert is an error, and so is a layer with a
// router and without experts.
LayoutTable ExpertTable(const MoeOptions& moe, const ExpertNames& names = {});

// With another choice than option expert_layout between "per_expert" and
// "fused".
LayoutTable ExpertTable(const MoeOptions& moe, const ExpertNames& names,
                        LayoutChoice choice);

// The fused form alone, for families that have no other.
LayoutTable FusedExpertTable(const MoeOptions& moe, const ExpertNames& names);

// LoRA of experts, in the forms that PEFT files have; the native tensors stand
// at the end.
//   native  P.lora_gate_and_up_A [E, H, r]   P.lora_gate_and_up_B [E, r, 2I]
//           P.lora_down_A        [E, I, r]   P.lora_down_B        [E, r, H]
//   per expert (transformers 4; gate and up share their A)
//           P.e.gate_proj.lora_A.weight [r, H], .lora_B.weight [I, r], and so
//           on
//   ParamWrapper (PEFT's target_parameters; down is the outer wrapper)
//           P.base_layer.lora_A.weight, .lora_B.weight, P.lora_A.weight, ...
//   of PEFT 0.19 lora_A is [E r, in], row e r + k, and lora_B [out, r E],
//   column k E + e; PEFT 0.18 has in and out the other way round.
// `param_wrapper` is the form written unless v4_compatible asks for the other.
LayoutTable ExpertLoraTable(const MoeOptions& moe, bool param_wrapper,
                            const ExpertNames& names = {});

// X.weight of FP8 and X.weight_scale_inv, a scale for 128 x 128 elements, to
// X.weight; a first stage. Nothing is quantised on the way back. With
// `exact_scales`, scales that no element has are refused.
LayoutTable BlockFp8Table(const MoeOptions& moe, bool exact_scales = false);

// Scales that nobody needs are dropped.
LayoutTable ScaleDropTable();

// Experts and their LoRA, scales that are dropped, and `others`.
LayoutTable MixtureTable(const MoeOptions& moe, bool param_wrapper,
                         const ExpertNames& names = {},
                         const LayoutTable& others = {});

// All of the above, as the reference's MoESplitExpertsStateDictMixin: FP8
// first, then the MixtureTable.
std::vector<LayoutStage> ExpertStages(const MoeOptions& moe, bool param_wrapper,
                                      const ExpertNames& names = {},
                                      const LayoutTable& others = {});

// Option uses_model_prefix: rules for the HF end of the stages; none where the
// option is not set.
std::vector<LayoutStage> ModelPrefixStages(const MoeOptions& moe);

}  // namespace windlass

#endif  // WINDLASS_ADAPTERS_COMMON_EXPERT_TABLES_H_
