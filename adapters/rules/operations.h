// Operations of a row, as a file of rules writes them.

#ifndef WINDLASS_ADAPTERS_RULES_OPERATIONS_H_
#define WINDLASS_ADAPTERS_RULES_OPERATIONS_H_

#include <vector>

#include "absl/status/statusor.h"
#include "windlass/adapters/rules/parameters.h"
#include "windlass/core/layout_op.h"
#include "windlass/core/located_json.h"

namespace windlass {

// The operations of the list `ops`; none where it is null. InvalidArgument says
// what is wrong, by line and column.
absl::StatusOr<std::vector<LayoutOp>> ReadOperations(
    const LocatedJson* ops, const RulesParameters& parameters);

}  // namespace windlass

#endif  // WINDLASS_ADAPTERS_RULES_OPERATIONS_H_
