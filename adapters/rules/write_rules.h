// A built-in adapter as a file of rules.

#ifndef WINDLASS_ADAPTERS_RULES_WRITE_RULES_H_
#define WINDLASS_ADAPTERS_RULES_WRITE_RULES_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "windlass/core/state_dict_adapter.h"

namespace windlass {

struct WrittenRules {
  std::string text;  // JSON, as ParseRules reads it
  // What no file can say, and what is therefore not in it.
  std::vector<std::string> left_out;
};

// The rules of an adapter that is made of stages, for the model that it was
// built for: extents are numbers. `name` and `summary` are the file's.
WrittenRules WriteRules(absl::string_view name, absl::string_view summary,
                        const StateDictAdapter& adapter);

}  // namespace windlass

#endif  // WINDLASS_ADAPTERS_RULES_WRITE_RULES_H_
