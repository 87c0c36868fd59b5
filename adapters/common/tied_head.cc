#include "windlass/adapters/common/tied_head.h"

#include <utility>

#include "windlass/core/status_macros.h"

namespace windlass {

absl::StatusOr<StateDict> TiedHeadStep::FromHf(const StateDict& hf,
                                               const FromHfOptions&) const {
  constexpr char kHead[] = "lm_head.weight";
  constexpr char kEmbedding[] = "model.embed_tokens.weight";
  StateDictBuilder native;
  native.Reserve(hf.size());
  for (const auto& [name, tensor] : hf) {
    WINDLASS_RETURN_IF_ERROR(native.Add(name, tensor, name));
  }
  const Tensor* embedding = hf.Find(kEmbedding);
  if (tied_ && embedding != nullptr && !hf.Contains(kHead)) {
    WINDLASS_RETURN_IF_ERROR(native.Add(kHead, *embedding, kEmbedding));
  }
  return std::move(native).Build();
}

}  // namespace windlass
