// A small made-up model as Hugging Face would store it, with tensors for every
// row of an adapter's tables: what the adapter's property tests run on.

#ifndef WINDLASS_TESTING_LAYOUT_EXAMPLE_H_
#define WINDLASS_TESTING_LAYOUT_EXAMPLE_H_

#include <random>
#include <vector>

#include "absl/status/statusor.h"
#include "windlass/core/layout_table.h"
#include "windlass/core/state_dict.h"

namespace windlass {

// Of the forms that are written. Values are in BF16, but for those whose dtype
// is held; nothing is quantised. Without `shares`, rows are left out whose HF
// tensors cannot be given back from one rank's share.
absl::StatusOr<StateDict> ExampleHf(const std::vector<LayoutStage>& stages,
                                    bool shares, std::mt19937* random);

}  // namespace windlass

#endif  // WINDLASS_TESTING_LAYOUT_EXAMPLE_H_
