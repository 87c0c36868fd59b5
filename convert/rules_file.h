// An adapter's rules on a storage.

#ifndef WINDLASS_CONVERT_RULES_FILE_H_
#define WINDLASS_CONVERT_RULES_FILE_H_

#include <string>

#include "absl/status/statusor.h"
#include "windlass/core/adapter_registry.h"

namespace windlass {

// The adapter of the rules at `path`, a path or URI. Errors are the storage's
// and ParseRules'.
absl::StatusOr<AdapterInfo> ReadRulesFile(const std::string& path);

}  // namespace windlass

#endif  // WINDLASS_CONVERT_RULES_FILE_H_
