// The engine: carries a plan out with bounded memory on a few threads.
//
// Every file is written under a temporary name; when all are whole they are
// renamed, the closing files last. Nothing half-written ever stands under a
// final name. docs/architecture.md tells the whole story.

#ifndef WINDLASS_IO_TRANSFER_TRANSFER_H_
#define WINDLASS_IO_TRANSFER_TRANSFER_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "windlass/io/storage/storage.h"
#include "windlass/io/transfer/digest.h"
#include "windlass/io/transfer/plan.h"

namespace windlass {

struct TransferOptions {
  int threads = 2;
  // Whether what was written must reach the device before it is called done.
  bool sync = true;
  // A digest of every tensor, taken while its bytes pass.
  DigestKind digest = DigestKind::kNone;
  // Continue what an earlier run of the same plan left unfinished.
  bool resume = false;
  // Counts up to plan.bytes() while the engine works; may be null.
  std::atomic<int64_t>* bytes_done = nullptr;
  // Turning true stops the engine with a Cancelled status; may be null.
  const std::atomic<bool>* cancelled = nullptr;
};

// A temporary file that is whole.
struct FileRecord {
  int64_t size = 0;
  // Of its contents, taken while they were written; empty where the bytes never
  // passed through this process (clones).
  std::string checksum;
  // Tensor name to digest, when digests were asked for.
  std::vector<std::pair<std::string, std::string>> digests;
};

// By the name that the file will have.
using FileRecords = std::map<std::string, FileRecord>;

// Where a file is written before it gets its name: ".NAME" and this suffix.
inline constexpr char kPartialSuffix[] = ".windlass-partial";
std::string TemporaryName(const std::string& name);

// Writes the plan's files under their temporary names, but for those that
// `done` has; adds each to `done` when it is whole, and then calls `on_done`
// (never from two threads at once). Memory: a piece or two (core/tensor.h) a
// thread. Errors are those of reading and writing; a temporary file that is not
// whole is removed then.
absl::Status WriteTemporaries(
    const TransferPlan& plan, const Location& directory,
    const TransferOptions& options, FileRecords* done,
    const std::function<absl::Status(const std::string& name)>& on_done);

// Reads a file that was written by this plan and computes its checksum again.
absl::StatusOr<std::string> ReadChecksum(const PlannedFile& planned,
                                         const ByteSource& file,
                                         DigestKind digest);

// Removes what WriteTemporaries wrote.
void RemoveTemporaries(const TransferPlan& plan, const Location& directory);

// Renames what WriteTemporaries wrote (and was not renamed before), and writes
// the closing files.
absl::Status CommitTemporaries(const TransferPlan& plan,
                               const Location& directory,
                               const TransferOptions& options);

}  // namespace windlass

#endif  // WINDLASS_IO_TRANSFER_TRANSFER_H_
