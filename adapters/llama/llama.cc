// Llama, Qwen2 and Qwen3, dense: Hugging Face's names and shapes are the native
// ones. Only a tied head that the file leaves out is filled in, and left out if
// that is asked for.
//
// The reference: models/llama/state_dict_adapter.py, LlamaStateDictAdapter, and
// its like in models/qwen2 and models/qwen3.

#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "windlass/adapters/common/tied_head.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/layout_table.h"
#include "windlass/core/model_config.h"
#include "windlass/core/regex.h"
#include "windlass/core/state_dict_adapter.h"
#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

// `tied_by_default` is what a config means that does not say it.
template <bool tied_by_default>
absl::StatusOr<std::unique_ptr<StateDictAdapter>> Create(
    const ModelConfig& config, const JsonFields& options) {
  WINDLASS_ASSIGN_OR_RETURN(
      const bool tied,
      config.GetBoolOr("tie_word_embeddings", tied_by_default));
  constexpr char kEmbedding[] = "model.embed_tokens.weight";
  WINDLASS_ASSIGN_OR_RETURN(LayoutTable table,
                            TiedHeadTable(options, tied, {kEmbedding}));
  if (tied) table.Synthesize(kHead, kEmbedding, {});
  LayoutTraits traits;
  traits.exclude_anchor = NameFilter::Anchor::kSearch;
  return MakeLayoutAdapter({table}, traits);
}

AdapterInfo Dense(std::string name, std::string summary,
                  std::string architecture, AdapterInfo::Factory factory) {
  AdapterInfo info;
  info.name = name;
  info.framework = "automodel";
  info.summary = std::move(summary);
  info.architectures = {std::move(architecture)};
  info.model_types = {std::move(name)};
  info.options = {DropTiedHeadOption()};
  info.factory = std::move(factory);
  return info;
}

const AdapterRegistrar llama(Dense("llama", "Llama", "LlamaForCausalLM",
                                   &Create</*tied_by_default=*/false>));
const AdapterRegistrar qwen2(Dense("qwen2", "Qwen2 and Qwen2.5, dense",
                                   "Qwen2ForCausalLM",
                                   &Create</*tied_by_default=*/true>));
const AdapterRegistrar qwen3(Dense("qwen3", "Qwen3, dense", "Qwen3ForCausalLM",
                                   &Create</*tied_by_default=*/false>));

}  // namespace
}  // namespace windlass
