// An adapter for benchmarks alone: casts every float tensor to F32. What the
// engine has to compute is then all of a checkpoint.

#include <memory>

#include "absl/status/statusor.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/dtype.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/layout_op.h"
#include "windlass/core/layout_table.h"
#include "windlass/core/model_config.h"

namespace windlass {
namespace {

absl::StatusOr<std::unique_ptr<StateDictAdapter>> Create(const ModelConfig&,
                                                         const JsonFields&) {
  LayoutTable table;
  table.Map({"{r*}"}, {"{r*}"}, {layout::Hold(DType::kF32)});
  return MakeLayoutAdapter({table});
}

const AdapterRegistrar registrar({
    /*name=*/"cast_to_f32",
    /*framework=*/"benchmark",
    /*summary=*/"casts everything to F32",
    /*architectures=*/{},
    /*model_types=*/{},
    /*options=*/{},
    &Create,
    /*expert_parallel=*/false,
    /*supports=*/nullptr,
});

}  // namespace
}  // namespace windlass
