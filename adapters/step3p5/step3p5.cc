// Step-3.5: the experts of a projection are one tensor in Hugging Face's files;
// gate and up are joined. Step-3.6 and 3.7: the same below a vision language
// model, with layers for predicting more tokens (MTP).
//
// The reference: models/step3p5/state_dict_adapter.py, Step3p5StateDictAdapter,
// and models/step3p7/state_dict_adapter.py, Step3p7StateDictAdapter.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "windlass/adapters/common/expert_tables.h"
#include "windlass/adapters/common/moe_options.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/layout_op.h"
#include "windlass/core/layout_table.h"
#include "windlass/core/model_config.h"
#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

LayoutTable ExpertsTable(const MoeOptions& moe) {
  const LayoutDim& E = moe.experts;
  const LayoutDim& H = moe.hidden;
  const LayoutDim& I = moe.intermediate;
  const LayoutOp cast =
      moe.dtype.has_value() ? layout::Cast(*moe.dtype) : layout::NotPacked();
  const std::string mixture = "{p*}layers.{l}.moe.";
  LayoutTable table;
  table
      .Map({mixture + "gate_proj.weight", mixture + "up_proj.weight"},
           {mixture + "experts.gate_and_up_projs"},
           {layout::Shapes({{E, I, H}, {E, I, H}}), layout::Share(E),
            layout::Transpose(), layout::Concat(-1, {I.size, I.size}), cast})
      .Map({mixture + "down_proj.weight"}, {mixture + "experts.down_projs"},
           {layout::Shapes({{E, H, I}}), layout::Share(E), layout::Transpose(),
            cast})
      .Together()
      .Rename("{p*}moe.router_bias", "{p*}moe.gate.e_score_correction_bias")
      // Native models of old.
      .Rename("{p*}moe.router_bias", "{p*}moe.gate.bias")
      .OnlyToHf()
      .ClosedExperts({mixture + "gate.weight", nullptr});
  return table;
}

absl::StatusOr<std::unique_ptr<StateDictAdapter>> Create3p5(
    const ModelConfig& config, const JsonFields& options) {
  WINDLASS_ASSIGN_OR_RETURN(const MoeOptions moe,
                            ReadMoeOptions(config, options));
  return MakeLayoutAdapter(
      {BlockFp8Table(moe), ScaleDropTable(), ExpertsTable(moe)});
}

const AdapterRegistrar step3p5({
    /*name=*/"step3p5",
    /*framework=*/"automodel",
    /*summary=*/"Step-3.5",
    /*architectures=*/{"Step3p5ForCausalLM"},
    /*model_types=*/{"step3p5"},
    /*options=*/FusedMoeAdapterOptions(),
    &Create3p5,
    /*expert_parallel=*/true,
});

// The `count` layers from `first` on are MTP's. The text model stands at the
// end; some files have the native prefix of its names, or half of it.
LayoutTable WholeTable(int64_t first, int64_t count) {
  const std::string text = "model.language_model.";
  const std::vector<std::string> others = {text, "language_model."};
  const std::string behind =
      absl::StrCat("layers.{l>=", first + count, "}.{r*}");
  const std::string mtp = absl::StrCat("layers.{l>=", first, "}.{r*}");
  LayoutTable table = ScaleDropTable();
  table.Else().Rename("{k:vision_model|vit_large_projector}.{r*}",
                      "model.{k}.{r*}");
  if (count > 0) {
    table.Rename("model." + behind, text + behind).AtEndAsTheyCome();
    for (const std::string& other : others) {
      table.Rename(other + behind, text + behind)
          .AtEndAsTheyCome()
          .OnlyToNative();
    }
    const std::string native = absl::StrCat("mtp.layers.{l-", first, "}.{r*}");
    table.Else().Rename("model." + mtp, native);
    for (const std::string& other : others) {
      table.Rename(other + mtp, native).OnlyToNative();
    }
  }
  table.Else()
      .Rename("model.{k:embed_tokens|layers|norm}.{r*}", text + "{k}.{r*}")
      .AtEndAsTheyCome();
  for (const std::string& other : others) {
    table.Rename(other + "{r*}", text + "{r*}")
        .AtEndAsTheyCome()
        .OnlyToNative();
  }
  return table.Else().Rename("model.{r*}", text + "{r*}").OnlyToHf();
}

absl::StatusOr<int64_t> Layers(const ModelConfig& config, const char* field) {
  const JsonFields& fields = config.FieldsWith(field);
  WINDLASS_ASSIGN_OR_RETURN(const int64_t count, fields.GetInt(field));
  if (count >= 0 && count <= INT32_MAX) return count;
  return fields.WrongValue(field, "a number of layers");
}

absl::StatusOr<std::unique_ptr<StateDictAdapter>> Create3p7(
    const ModelConfig& config, const JsonFields& options) {
  WINDLASS_ASSIGN_OR_RETURN(const MoeOptions moe,
                            ReadMoeOptions(config, options));
  int64_t first = 0, count = 0;
  if (config.Has("num_nextn_predict_layers")) {
    WINDLASS_ASSIGN_OR_RETURN(count,
                              Layers(config, "num_nextn_predict_layers"));
  }
  if (count > 0) {
    WINDLASS_ASSIGN_OR_RETURN(
        first,
        Layers(config, config.Has("mtp_base_layer_idx") ? "mtp_base_layer_idx"
                                                        : "num_hidden_layers"));
  }
  // MTP's layers keep the layout of files, as in the reference.
  const std::string text = "model.language_model.";
  return MakeLayoutAdapter({BlockFp8Table(moe), WholeTable(first, count),
                            Under{text, text, {ExpertsTable(moe)}}});
}

const AdapterRegistrar step3p7({
    /*name=*/"step3p7",
    /*framework=*/"automodel",
    /*summary=*/"Step-3.6 and Step-3.7",
    /*architectures=*/
    {"Step3p6ForConditionalGeneration", "Step3p7ForConditionalGeneration"},
    /*model_types=*/{"step3p7", "step3p5v"},
    /*options=*/FusedMoeAdapterOptions(),
    &Create3p7,
    /*expert_parallel=*/true,
    /*supports=*/nullptr,
    /*example_config=*/
    R"({"dtype": "bfloat16", "text_config": {
          "num_experts": 4, "moe_intermediate_size": 8, "num_hidden_layers": 8,
          "num_nextn_predict_layers": 2}})",
});

}  // namespace
}  // namespace windlass
