// Renaming tensors where they lie: only the beginning of each file is written.
//
// A journal in the folder makes it safe to kill at any moment: it is complete
// before the first byte changes, and says what is written over what. The same
// command again finishes what it says. When all is done the journal stays as a
// record (a small hidden file), so that a command that is given twice converts
// once. docs/commit.md is the page of this protocol, too.
//
// Whoever calls these holds the folder's lock from the first call to the last.

#ifndef WINDLASS_IO_IN_PLACE_H_
#define WINDLASS_IO_IN_PLACE_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "windlass/core/state_dict.h"
#include "windlass/io/checkpoint.h"
#include "windlass/io/in_place_plan.h"
#include "windlass/io/storage/storage.h"

namespace windlass {

// Finishes what the folder's journal says; true where there was one. To be
// called before the checkpoint is opened: its headers may be half-written.
// FailedPrecondition, and nothing is written, where the journal is of another
// conversion than `tag`, or the files are neither as they were nor as it left
// them.
absl::StatusOr<bool> FinishInPlace(const Location& folder,
                                   absl::string_view tag, bool sync);

// Whether the whole checkpoint is as an earlier conversion `tag` in place left
// it.
absl::StatusOr<bool> IsConvertedInPlace(const Checkpoint& checkpoint,
                                        absl::string_view tag);

// Plans to give the tensors of a checkpoint the names that `tensors` has for
// them. FailedPrecondition where more than names would change, where the
// checkpoint is one file of several, or where a file cannot be edited: a link,
// a file with several names, one without room on a file system that cannot make
// some. Writes nothing.
absl::StatusOr<InPlacePlan> PlanInPlace(const StateDict& tensors,
                                        const Checkpoint& input);

// Carries a plan out. `tag` identifies the conversion: what was done to the
// names, by which adapter and options. FailedPrecondition where a file is not
// as it was planned; nothing is written then. After any other error, and after
// a crash, FinishInPlace goes on.
absl::Status RenameInPlace(const InPlacePlan& plan, const Location& folder,
                           absl::string_view tag, bool sync);

}  // namespace windlass

#endif  // WINDLASS_IO_IN_PLACE_H_
