// The second half of docs/adapters.md, made from the adapters' tables.

#ifndef WINDLASS_TOOLS_ADAPTER_DOCS_H_
#define WINDLASS_TOOLS_ADAPTER_DOCS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "windlass/core/adapter_registry.h"

namespace windlass {

// Markdown: for each adapter the rows of its tables, with both names and what
// is done in between, and what the way back does not give; then all options.
// The errors of an adapter's factory, for its example config.
absl::StatusOr<std::string> AdapterDocs(
    const std::vector<const AdapterInfo*>& adapters);

}  // namespace windlass

#endif  // WINDLASS_TOOLS_ADAPTER_DOCS_H_
