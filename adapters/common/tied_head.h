// lm_head.weight where the output head is the embedding.

#ifndef WINDLASS_ADAPTERS_COMMON_TIED_HEAD_H_
#define WINDLASS_ADAPTERS_COMMON_TIED_HEAD_H_

#include "absl/status/statusor.h"
#include "windlass/adapters/common/layout_step.h"
#include "windlass/core/state_dict.h"
#include "windlass/core/state_dict_adapter.h"

namespace windlass {

// On the way to native a missing lm_head.weight is model.embed_tokens.weight,
// appended last. On the way to HF it is kept, as the reference's adapters do.
class TiedHeadStep : public LayoutStep {
 public:
  // Does nothing unless `tied` (config.json's tie_word_embeddings).
  explicit TiedHeadStep(bool tied) : tied_(tied) {}

  absl::StatusOr<StateDict> FromHf(const StateDict& hf,
                                   const FromHfOptions& options) const override;

 private:
  const bool tied_;
};

}  // namespace windlass

#endif  // WINDLASS_ADAPTERS_COMMON_TIED_HEAD_H_
