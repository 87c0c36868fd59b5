// The engine: moves a plan's bytes with bounded memory on a few threads.
//
// Every file is written under a temporary name (TemporaryName, in the folder
// that the file will have). What becomes of those is for save.h to say:
// nothing half-written ever stands under a final name.

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
#include "absl/types/span.h"
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
  // Counts up to plan.bytes() while the engine works; may be null.
  std::atomic<int64_t>* bytes_done = nullptr;
  // Turning true stops the engine with a Cancelled status; may be null.
  const std::atomic<bool>* cancelled = nullptr;
};

// A file of a plan that stands in the folder to the last byte.
struct WholeFile {
  // Under which of its names it stands.
  enum Place { kTemporary, kFinal };
  Place place = kTemporary;
  // Of its tensors (name, digest), when digests were asked for.
  std::vector<std::pair<std::string, std::string>> digests;
};

// By the names that the files have in the plan.
using WholeFiles = std::map<std::string, WholeFile>;

// Where the plan's file `name`, relative to the folder, lies before it gets its
// name.
std::string TemporaryPath(const Location& folder, const std::string& name);

// Writes the plan's files under their temporary names, but for those that
// `whole` has, and adds each to `whole`. Memory: a piece or two (core/tensor.h)
// a thread. Errors are those of reading and writing, AlreadyExists where
// something stands at a temporary name, ResourceExhausted for want of memory,
// Cancelled. A temporary file that is not whole is removed then.
absl::Status WriteTemporaries(const TransferPlan& plan, const Location& folder,
                              const TransferOptions& options,
                              WholeFiles* whole);

// Which of the plan's files already stand in the folder at one of `places`, the
// first one counts: everything is read, computed again and compared. A link is
// nobody's whole file. With options.sync the files found have reached the
// device when this returns. Cancelled when asked to stop.
absl::StatusOr<WholeFiles> FindWholeFiles(
    const TransferPlan& plan, const Location& folder,
    absl::Span<const WholeFile::Place> places, const TransferOptions& options);

}  // namespace windlass

#endif  // WINDLASS_IO_TRANSFER_TRANSFER_H_
