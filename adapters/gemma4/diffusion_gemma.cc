// DiffusionGemma: the native model is the decoder alone, with Gemma4's experts
// and a head of its own, which HF ties to the embedding.
//
// The reference: models/diffusion_gemma/state_dict_adapter.py,
// DiffusionGemmaStateDictAdapter.

#include <memory>
#include <string>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "windlass/adapters/common/expert_tables.h"
#include "windlass/adapters/common/moe_options.h"
#include "windlass/adapters/gemma4/gemma4_experts.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/layout_table.h"
#include "windlass/core/model_config.h"
#include "windlass/core/state_dict.h"
#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

constexpr char kHead[] = "lm_head.weight";
constexpr const char* kEmbeddings[] = {"model.decoder.embed_tokens.weight",
                                       "model.embed_tokens.weight"};

// "made" where a file is a model, "none" where it is LoRA for one.
absl::StatusOr<std::string> HeadOf(const StateDict& hf) {
  if (absl::c_any_of(hf, [](const NamedTensor& named) {
        return absl::StrContains(named.name, ".lora_");
      })) {
    return std::string("none");
  }
  if (hf.Contains(kHead) ||
      absl::c_any_of(kEmbeddings,
                     [&hf](const char* name) { return hf.Contains(name); })) {
    return std::string("made");
  }
  return absl::InvalidArgumentError(
      "tensor \"lm_head.weight\": found neither it nor "
      "\"model.decoder.embed_tokens.weight\", which it is made of, expected "
      "one of them");
}

LayoutTable HeadTable() {
  LayoutTable made;
  for (const char* embedding : kEmbeddings) {
    made.Synthesize(kHead, embedding, {});
  }
  LayoutTable table;
  table
      .OneOf({"tied_head", "made", "", &HeadOf}, {{"made", made}, {"none", {}}})
      .DropNative(kHead);
  return table;
}

LayoutTable DecoderTable() {
  LayoutTable table;
  table.DropHf("model.encoder.{r*}")
      .Rename("{b:|base_model.model.}model.decoder.{r*}", "{b}model.{r*}");
  return table;
}

absl::StatusOr<std::unique_ptr<StateDictAdapter>> Create(
    const ModelConfig& config, const JsonFields& options) {
  WINDLASS_ASSIGN_OR_RETURN(const MoeOptions moe,
                            ReadGemma4Options(config, options));
  std::vector<LayoutStage> stages = {
      HeadTable().Else().Append(BlockFp8Table(moe)), DecoderTable()};
  for (const LayoutStage& stage : Gemma4ExpertStages(moe)) {
    stages.push_back(stage);
  }
  return MakeLayoutAdapter(std::move(stages));
}

const AdapterRegistrar registrar({
    /*name=*/"diffusion_gemma",
    /*framework=*/"automodel",
    /*summary=*/"DiffusionGemma",
    /*architectures=*/{"DiffusionGemmaForBlockDiffusion"},
    /*model_types=*/{"diffusion_gemma"},
    /*options=*/FusedMoeAdapterOptions(),
    &Create,
    /*expert_parallel=*/true,
    /*supports=*/nullptr,
});

}  // namespace
}  // namespace windlass
