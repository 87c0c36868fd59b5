// An adapter of another repository: a model whose native layout calls the
// decoder "transformer" and keeps the embedding beside it.

#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "windlass/adapters/common/layout_step.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/key_rewriter.h"

namespace {

using windlass::KeyRewriter;

absl::StatusOr<std::unique_ptr<windlass::StateDictAdapter>> Create(
    const windlass::ModelConfig&, const windlass::JsonFields&) {
  auto to_hf = KeyRewriter::Create({
      KeyRewriter::Prefix(
          {{"transformer.", "model."}, {"embedding.", "model.embed_tokens."}}),
  });
  auto from_hf = KeyRewriter::Create({
      KeyRewriter::Prefix(
          {{"model.embed_tokens.", "embedding."}, {"model.", "transformer."}}),
  });
  if (!to_hf.ok()) return to_hf.status();
  if (!from_hf.ok()) return from_hf.status();
  std::vector<std::unique_ptr<windlass::LayoutStep>> steps;
  steps.push_back(std::make_unique<windlass::RenameStep>(*to_hf, *from_hf));
  return std::make_unique<windlass::StepAdapter>(
      std::move(steps), windlass::StepAdapter::Traits{});
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
