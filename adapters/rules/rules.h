// An adapter from a file: a LayoutTable in JSON, written by somebody who does
// not build C++. docs/rules.md has the format; examples/rules has files.
//
//   absl::StatusOr<AdapterInfo> info = ParseRules(text, "my_model.json");
//   auto adapter = AdapterRegistry::Create(*info, config, options);

#ifndef WINDLASS_ADAPTERS_RULES_RULES_H_
#define WINDLASS_ADAPTERS_RULES_RULES_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "windlass/core/adapter_registry.h"

namespace windlass {

// The adapter of these rules; it is not registered. Its options are the file's
// parameters, which are read from config.json where no option says them, and
// the file's choices. `origin` names the text in messages.
//
// InvalidArgument says what is wrong, by line and column; what depends on
// parameters' values, and what the table's own checks find, the factory says,
// in the same way.
absl::StatusOr<AdapterInfo> ParseRules(absl::string_view text,
                                       std::string origin);

}  // namespace windlass

#endif  // WINDLASS_ADAPTERS_RULES_RULES_H_
