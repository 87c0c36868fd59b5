// The names of Python's that stand in files of torch.save, and what they mean.

#ifndef WINDLASS_IO_TORCH_CLASSES_H_
#define WINDLASS_IO_TORCH_CLASSES_H_

#include <optional>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "windlass/core/dtype.h"

namespace windlass {

// Whether a class or function ("module.name") may stand in a file of tensors
// and of what trainers keep beside them: numbers, strings, NumPy's scalars.
bool IsTorchClass(absl::string_view name);

// Whether it is torch's own type of tensors or parameters.
bool IsTensorType(absl::string_view name);

// The dtype of a class of storages; nullopt for one of bytes alone.
// InvalidArgument for what is no storage, or one of a dtype that safetensors
// does not have.
absl::StatusOr<std::optional<DType>> StorageDType(absl::string_view name);

}  // namespace windlass

#endif  // WINDLASS_IO_TORCH_CLASSES_H_
