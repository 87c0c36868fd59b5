// Prefixes of a model inside another, where files do not agree on them.

#ifndef WINDLASS_ADAPTERS_COMMON_MODEL_PREFIX_H_
#define WINDLASS_ADAPTERS_COMMON_MODEL_PREFIX_H_

#include <string>
#include <vector>

#include "windlass/core/layout_table.h"

namespace windlass {

// Where an HF name starts with "model.", all others get it but "lm_head." and
// what starts with one of `kept`: older files have "visual." beside "model.".
// Native names stay as they are on the way to HF.
LayoutTable ModelRootTable(std::vector<std::string> kept = {});

// `prefix` before every HF name; of LoRA behind PEFT's "base_model.model.".
LayoutTable PrefixTable(const std::string& prefix);

// With "thinker.".
LayoutTable ThinkerTable();

}  // namespace windlass

#endif  // WINDLASS_ADAPTERS_COMMON_MODEL_PREFIX_H_
