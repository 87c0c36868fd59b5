// Gemma4 that takes images without an encoder: what embeds patches has another
// place in the native model.
//
// The reference: models/gemma4_unified/state_dict_adapter.py,
// Gemma4UnifiedStateDictAdapter.

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/layout_table.h"
#include "windlass/core/model_config.h"
#include "windlass/core/regex.h"

namespace windlass {
namespace {

absl::StatusOr<std::unique_ptr<StateDictAdapter>> Create(const ModelConfig&,
                                                         const JsonFields&) {
  LayoutTable table;
  // A parameter, or a module that has some.
  for (const char* rest : {"", ".{r*}"}) {
    const std::string root =
        "{p:model.||base_model.model.model.|base_model.model.}";
    const std::string parts =
        "{k:patch_ln1|patch_dense|patch_ln2|pos_embedding|pos_norm}";
    table
        .Rename(absl::StrCat(root, "vision_embedder.", parts, rest),
                absl::StrCat("{p}embed_vision.{k}", rest))
        .Rename(absl::StrCat(root, "embed_vision.embedding_projection", rest),
                absl::StrCat(
                    "{p}embed_vision.multimodal_embedder.embedding_projection",
                    rest));
  }
  LayoutTraits traits;
  traits.exclude_anchor = NameFilter::Anchor::kSearch;
  traits.exclude_native = true;
  traits.write_through = true;
  return MakeLayoutAdapter({table}, traits);
}

const AdapterRegistrar registrar({
    /*name=*/"gemma4_unified",
    /*framework=*/"automodel",
    /*summary=*/"Gemma4, unified",
    /*architectures=*/{"Gemma4UnifiedForConditionalGeneration"},
    /*model_types=*/{"gemma4_unified"},
    /*options=*/{},
    &Create,
    /*expert_parallel=*/false,
    /*supports=*/nullptr,
});

}  // namespace
}  // namespace windlass
