#include "windlass/testing/adapters.h"

#include <random>

#include "windlass/core/adapter_registry.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/model_config.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/testing/tensors.h"

namespace windlass {

std::unique_ptr<StateDictAdapter> MakeAdapter(const std::string& config,
                                              const std::string& options) {
  const ModelConfig parsed = ModelConfig::Parse(config).value();
  return AdapterRegistry::Create(**AdapterRegistry::FindByConfig(parsed),
                                 parsed,
                                 JsonFields::Parse(options, "options").value())
      .value();
}

StateDict RandomDict(const std::vector<TensorSpec>& specs) {
  static std::mt19937 random(7);
  StateDict dict;
  for (const TensorSpec& spec : specs) {
    EXPECT_OK(
        dict.Insert(spec.name, RandomTensor(spec.dtype, spec.shape, &random)));
  }
  return dict;
}

}  // namespace windlass
