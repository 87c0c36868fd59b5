// The engine: carries a plan out with bounded memory on a few threads.
//
// Every file is written under a temporary name; when all are whole they are
// renamed, the closing files last. Nothing half-written ever stands under a
// final name.

#ifndef WINDLASS_IO_TRANSFER_TRANSFER_H_
#define WINDLASS_IO_TRANSFER_TRANSFER_H_

#include <atomic>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "windlass/io/storage/storage.h"
#include "windlass/io/transfer/plan.h"

namespace windlass {

struct TransferOptions {
  int threads = 2;
  // Whether what was written must reach the device before it is called done.
  bool sync = true;
  // Counts up to plan.bytes() while the engine works; may be null.
  std::atomic<int64_t>* bytes_done = nullptr;
  // Turning true stops the engine with a Cancelled status; may be null.
  const std::atomic<bool>* cancelled = nullptr;
};

// Where a file is written before it gets its name: ".NAME" and this suffix.
inline constexpr char kPartialSuffix[] = ".windlass-partial";
std::string TemporaryName(const std::string& name);

// Writes the plan's files under their temporary names. Memory: a few pieces
// (core/tensor.h) a thread. Errors are those of reading and writing; all
// temporary files are removed then.
absl::Status WriteTemporaries(const TransferPlan& plan,
                              const Location& directory,
                              const TransferOptions& options);

// Removes what WriteTemporaries wrote.
void RemoveTemporaries(const TransferPlan& plan, const Location& directory);

// Renames what WriteTemporaries wrote, and writes the closing files.
absl::Status CommitTemporaries(const TransferPlan& plan,
                               const Location& directory,
                               const TransferOptions& options);

}  // namespace windlass

#endif  // WINDLASS_IO_TRANSFER_TRANSFER_H_
