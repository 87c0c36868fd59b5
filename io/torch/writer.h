// Writing what torch.save writes, so that torch.load reads it with
// weights_only.

#ifndef WINDLASS_IO_TORCH_WRITER_H_
#define WINDLASS_IO_TORCH_WRITER_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "windlass/core/dtype.h"
#include "windlass/core/state_dict.h"
#include "windlass/io/checkpoint.h"
#include "windlass/io/transfer/plan.h"

namespace windlass {

// The "torch" format's CheckpointFormat::Plan: pytorch_model.bin, or numbered
// files and pytorch_model.bin.index.json, or the one file of the options' name.
// A dict of tensors each, in order; tensors that are the same range of a file
// share a storage. InvalidArgument for a dtype that torch does not have, and
// for options that the format has no use for.
absl::StatusOr<TransferPlan> PlanTorch(const StateDict& tensors,
                                       const Checkpoint& like,
                                       const LayOutOptions& options);

// Appends an archive that holds the one tensor and nothing around it, as
// torch.distributed.checkpoint keeps chunks, and returns where it begins: at a
// multiple of 64 bytes. As CheckTorchDType.
absl::StatusOr<int64_t> AppendTorchTensor(PlannedTensor tensor,
                                          PlannedFile* file);

// InvalidArgument for a dtype that torch does not have.
absl::Status CheckTorchDType(absl::string_view tensor, DType dtype);

}  // namespace windlass

#endif  // WINDLASS_IO_TORCH_WRITER_H_
