// What a conversion that was stopped in the middle leaves in a folder, by name.
//
// docs/commit.md has the whole protocol: which files mean what, and who may
// remove them.

#ifndef WINDLASS_IO_UNFINISHED_H_
#define WINDLASS_IO_UNFINISHED_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "windlass/io/storage/storage.h"

namespace windlass {

// An empty file that stands in a folder from the first byte of a conversion
// into it to the last. Empty, because removing a file that has blocks can wait
// as long for the device as all that was written before it.
inline constexpr char kUnfinishedName[] = ".windlass-unfinished";

// What a conversion in place is going to write; and the same file once that is
// written (in_place.h).
inline constexpr char kJournalName[] = ".windlass-journal";
inline constexpr char kConvertedName[] = ".windlass-converted";

// Whether the name is one that Windlass gives to files that are no part of a
// checkpoint: temporaries, locks, and those above.
bool IsOurs(absl::string_view name);

// FailedPrecondition where the folder's contents are half-written, by a
// conversion into it or in place: says what stands there and what finishes it.
absl::Status CheckFinished(const Location& folder);

}  // namespace windlass

#endif  // WINDLASS_IO_UNFINISHED_H_
