// What quantised checkpoints call their tensors.

#ifndef WINDLASS_CORE_QUANTISED_NAMES_H_
#define WINDLASS_CORE_QUANTISED_NAMES_H_

#include "absl/strings/string_view.h"

namespace windlass {

// What a tensor may be by the end of its name, "a tensor of AWQ or GPTQ" for
// instance; empty for a name that says nothing.
absl::string_view DescribeQuantisedName(absl::string_view name);

// Whether a name ends as none does in a model that is not quantised. Scales may
// be parameters, and so may what is called a shape.
bool IsQuantisedName(absl::string_view name);

}  // namespace windlass

#endif  // WINDLASS_CORE_QUANTISED_NAMES_H_
