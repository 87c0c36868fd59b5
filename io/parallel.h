// Work on several threads.

#ifndef WINDLASS_IO_PARALLEL_H_
#define WINDLASS_IO_PARALLEL_H_

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"

namespace windlass {

// Runs `work`, which throws nothing, on as many threads as can be had, `count`
// at most, the caller's among them; returns when all have come back.
void RunOnThreads(int count, absl::FunctionRef<void()> work);

// Calls `turn` with 0 to count - 1, each once, on as many threads as the
// machine has cores (eight at most), and returns when all are done. The first
// error, by its turn, is returned; what a turn throws is one.
absl::Status ParallelFor(int count, absl::FunctionRef<absl::Status(int)> turn);

}  // namespace windlass

#endif  // WINDLASS_IO_PARALLEL_H_
