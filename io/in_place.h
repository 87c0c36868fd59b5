// Renaming tensors where they lie: only the beginning of each file is written.
//
// A journal in the folder makes it safe to kill at any moment: it is complete
// before the first byte changes, and says what to write where. The same command
// again finishes what it says. A journal that is finished stays behind (a small
// hidden file), so that a command that is given twice converts once.

#ifndef WINDLASS_IO_IN_PLACE_H_
#define WINDLASS_IO_IN_PLACE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "windlass/io/storage/storage.h"
#include "windlass/io/transfer/plan.h"

namespace windlass {

inline constexpr char kJournalName[] = ".windlass-journal";

// The new beginning of a file. Where it is longer than the old one, either the
// file grows in front, or what stood behind the old one goes to the file's end.
struct InPlaceEdit {
  std::string name;
  int64_t size = 0;    // of the file before
  int64_t insert = 0;  // bytes to make room for in front, a multiple of 4 KiB
  std::string moved;   // bytes that the new beginning covers; appended
  std::string old_start;  // what the file begins with before...
  std::string new_start;  // ...and after; written last

  int64_t size_after() const {
    return size + insert + static_cast<int64_t>(moved.size());
  }
};

struct InPlacePlan {
  std::vector<InPlaceEdit> edits;
  std::vector<ClosingFile> closing;  // replaced when the edits are done
};

// Carries out a plan under a journal. Errors before the first change leave
// everything as it was; after one, calling ResumeInPlace goes on.
absl::Status StartInPlace(const InPlacePlan& plan, const Location& folder,
                          absl::string_view tag, bool sync);

enum class InPlaceState {
  kNone,      // nothing was begun, or the files are others by now
  kFinished,  // the conversion `tag` is done, by this call or by an earlier one
};

// Finishes what the folder's journal says. To be called before the checkpoint
// is opened: its headers may be half-written. FailedPrecondition where the
// journal is of another conversion that is unfinished.
absl::StatusOr<InPlaceState> ResumeInPlace(const Location& folder,
                                           absl::string_view tag, bool sync);

}  // namespace windlass

#endif  // WINDLASS_IO_IN_PLACE_H_
