// A loop whose turns run on several threads.

#ifndef WINDLASS_IO_PARALLEL_H_
#define WINDLASS_IO_PARALLEL_H_

#include "absl/functional/function_ref.h"

namespace windlass {

// Calls `turn` with 0 to count - 1, each once, on as many threads as the
// machine has cores (eight at most), and returns when all are done.
void ParallelFor(int count, absl::FunctionRef<void(int)> turn);

}  // namespace windlass

#endif  // WINDLASS_IO_PARALLEL_H_
