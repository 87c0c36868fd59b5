// An adapter for benchmarks alone: casts every float tensor to F32. What the
// engine has to compute is then all of a checkpoint.

#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "windlass/adapters/common/layout_step.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/dtype.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/model_config.h"
#include "windlass/core/state_dict_adapter.h"
#include "windlass/core/tensor.h"
#include "windlass/core/tensor_ops.h"

namespace windlass {
namespace {

class CastStep : public OneToOneStep {
 public:
  absl::StatusOr<Tensor> Convert(absl::string_view,
                                 const Tensor& tensor) const override {
    return IsFloat(tensor.dtype()) ? Cast(tensor, DType::kF32) : tensor;
  }
};

absl::StatusOr<std::unique_ptr<StateDictAdapter>> Create(const ModelConfig&,
                                                         const JsonFields&) {
  std::vector<std::unique_ptr<LayoutStep>> steps;
  steps.push_back(std::make_unique<CastStep>());
  return std::make_unique<StepAdapter>(std::move(steps), StepAdapter::Traits{});
}

const AdapterRegistrar registrar({
    /*name=*/"cast_to_f32",
    /*framework=*/"benchmark",
    /*summary=*/"casts everything to F32",
    /*architectures=*/{},
    /*model_types=*/{},
    /*options=*/{},
    &Create,
});

}  // namespace
}  // namespace windlass
