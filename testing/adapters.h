// Adapters and inputs for their tests.

#ifndef WINDLASS_TESTING_ADAPTERS_H_
#define WINDLASS_TESTING_ADAPTERS_H_

#include <memory>
#include <string>
#include <vector>

#include "windlass/core/dtype.h"
#include "windlass/core/state_dict.h"
#include "windlass/core/state_dict_adapter.h"

namespace windlass {

// The adapter that a config.json finds, with these options; both as JSON. Ends
// the test program where there is none.
std::unique_ptr<StateDictAdapter> MakeAdapter(
    const std::string& config, const std::string& options = "{}");

struct TensorSpec {
  std::string name;
  Shape shape;
  DType dtype = DType::kBF16;
};

// Random tensors of these kinds, others with each call.
StateDict RandomDict(const std::vector<TensorSpec>& specs);

}  // namespace windlass

#endif  // WINDLASS_TESTING_ADAPTERS_H_
