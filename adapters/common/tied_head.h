// A head that is the embedding: config.json ties the two, and files of either
// layout may have both or the embedding alone.

#ifndef WINDLASS_ADAPTERS_COMMON_TIED_HEAD_H_
#define WINDLASS_ADAPTERS_COMMON_TIED_HEAD_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/layout_table.h"

namespace windlass {

inline constexpr char kHead[] = "lm_head.weight";

// drop_tied_head (false): on the way to HF, a head that config.json ties is not
// written beside its embedding.
AdapterOption DropTiedHeadOption();

// Rows for that option, for a table that both layouts call the head and the
// embedding alike in; none where it is not set or nothing is `tied`. The
// embedding is the first of `embeddings` that a model has. A head of other
// values is refused, when it is read at the latest.
absl::StatusOr<LayoutTable> TiedHeadTable(
    const JsonFields& options, bool tied,
    const std::vector<std::string>& embeddings);

}  // namespace windlass

#endif  // WINDLASS_ADAPTERS_COMMON_TIED_HEAD_H_
