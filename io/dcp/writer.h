// Writing folders of torch.distributed.checkpoint.

#ifndef WINDLASS_IO_DCP_WRITER_H_
#define WINDLASS_IO_DCP_WRITER_H_

#include "absl/status/statusor.h"
#include "windlass/core/state_dict.h"
#include "windlass/io/checkpoint.h"
#include "windlass/io/transfer/plan.h"

namespace windlass {

// The "dcp" format's CheckpointFormat::Plan: a file __K_0.distcp for each of
// `num_shards` ranks (one where nobody asked), and .metadata, which is written
// last. Tensors are cut along their first dimension as torch.chunk cuts them;
// the first rank has those that cannot be. Ranks that have nothing write no
// file. InvalidArgument for a dtype that torch does not have, and for options
// that the format has no use for.
absl::StatusOr<TransferPlan> PlanDcp(const StateDict& tensors,
                                     const LayOutOptions& options);

}  // namespace windlass

#endif  // WINDLASS_IO_DCP_WRITER_H_
