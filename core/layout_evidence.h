// Which layout a model is in, told by its tensors' names.

#ifndef WINDLASS_CORE_LAYOUT_EVIDENCE_H_
#define WINDLASS_CORE_LAYOUT_EVIDENCE_H_

#include "windlass/core/state_dict.h"
#include "windlass/core/state_dict_adapter.h"

namespace windlass {

// Names that are changed on the way from one layout and left alone on the way
// from the other. Of most models, many names are the same in both.
struct LayoutEvidence {
  const NamedTensor* hf = nullptr;      // the first that is HF's; null for none
  const NamedTensor* native = nullptr;  // likewise
};

// By the adapter's stages; no evidence where it has none. Names that differ in
// numbers alone are taken for alike, so that a model of many layers and experts
// is looked at in no time.
LayoutEvidence FindLayoutEvidence(const StateDictAdapter& adapter,
                                  const StateDict& tensors);

}  // namespace windlass

#endif  // WINDLASS_CORE_LAYOUT_EVIDENCE_H_
