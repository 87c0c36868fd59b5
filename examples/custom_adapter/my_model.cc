// An adapter of another repository: a model whose native layout calls the
// decoder "transformer" and keeps the embedding beside it.

#include <memory>

#include "absl/status/statusor.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/layout_table.h"

namespace {

absl::StatusOr<std::unique_ptr<windlass::StateDictAdapter>> Create(
    const windlass::ModelConfig&, const windlass::JsonFields&) {
  windlass::LayoutTable table;
  table.Rename("model.embed_tokens.{r*}", "embedding.{r*}")
      .Else()
      .Rename("model.{r*}", "transformer.{r*}");
  return windlass::MakeLayoutAdapter({table});
}

const windlass::AdapterRegistrar registrar({
    /*name=*/"my_model",
    /*framework=*/"mine",
    /*summary=*/"an adapter of another repository",
    /*architectures=*/{"MyModelForCausalLM"},
    /*model_types=*/{"my_model"},
    /*options=*/{},
    &Create,
});

}  // namespace
