// Folders in which NeMo Automodel keeps the checkpoints of a training job:
//
//   ROOT/epoch_0_step_100/model/   the weights
//   ROOT/epoch_0_step_100/optim/   the optimizer's state
//   ROOT/LATEST                    a link to such a folder; or its path, in
//                                  LATEST.txt
//
// `.incomplete` lies in a folder that is still being written, or whose job has
// died.

#ifndef WINDLASS_IO_TRAINING_ROOT_H_
#define WINDLASS_IO_TRAINING_ROOT_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "windlass/io/storage/storage.h"

namespace windlass {

enum class TrainingPart { kModel, kOptimizer };

// The folder of that part that `folder` stands for, if it is a job's root or a
// checkpoint in it: of a root, what LATEST says, else the highest step. Any
// other folder is returned as it is. NotFound where LATEST leads nowhere, and
// where the part is not there; FailedPrecondition for an unfinished checkpoint,
// also where `folder` is a part of one.
absl::StatusOr<Location> ResolveTrainingRoot(const Location& folder,
                                             TrainingPart part);

// Where the config.json of a model may lie whose part is in `folder`: with the
// weights, beside an optimizer's state. In the order in which they are looked
// for.
std::vector<std::string> ConfigPaths(const Location& folder);

}  // namespace windlass

#endif  // WINDLASS_IO_TRAINING_ROOT_H_
