// The engine: carries a plan out with bounded memory on a few threads.
//
// Every file is written under a temporary name; when all are whole they are
// renamed, the closing files last. Nothing half-written ever stands under a
// final name. docs/architecture.md tells the whole story.

#ifndef WINDLASS_IO_TRANSFER_TRANSFER_H_
#define WINDLASS_IO_TRANSFER_TRANSFER_H_

#include <atomic>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
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

// Files of a plan that are whole, by the names that they will have, each with
// the digests of its tensors (name, digest) when digests were asked for.
using WholeFiles =
    std::map<std::string, std::vector<std::pair<std::string, std::string>>>;

// Writes the plan's files under their temporary names, but for those that
// `whole` has, and adds each to `whole`. Memory: a piece or two (core/tensor.h)
// a thread. Errors are those of reading and writing; a temporary file that is
// not whole is removed then.
absl::Status WriteTemporaries(const TransferPlan& plan,
                              const Location& directory,
                              const TransferOptions& options,
                              WholeFiles* whole);

// Which of the plan's files are already in the directory, under their temporary
// or their final names, to the last byte: everything is read, computed again
// and compared. Cancelled when asked to stop.
absl::StatusOr<WholeFiles> FindWholeFiles(const TransferPlan& plan,
                                          const Location& directory,
                                          const TransferOptions& options);

// Identifies a plan: the names, headers and sizes of its files, where each
// tensor comes from (a file's size and time of change among it), and `tag`,
// which says what the plan itself does not show (adapter, options, version).
std::string PlanHash(const TransferPlan& plan, absl::string_view tag);

// Removes what WriteTemporaries wrote, but for the files in `keep`.
void RemoveTemporaries(const TransferPlan& plan, const Location& directory,
                       const WholeFiles& keep = {});

// Renames what WriteTemporaries wrote (and was not renamed before), and writes
// the closing files.
absl::Status CommitTemporaries(const TransferPlan& plan,
                               const Location& directory,
                               const TransferOptions& options);

}  // namespace windlass

#endif  // WINDLASS_IO_TRANSFER_TRANSFER_H_
