#include "windlass/io/unfinished.h"

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "windlass/core/status_macros.h"

namespace windlass {

bool IsOurs(absl::string_view name) {
  return name == kUnfinishedName || name == kJournalName ||
         name == kConvertedName || IsLockName(name) ||
         absl::EndsWith(name, kPartialSuffix);
}

absl::Status CheckFinished(const Location& folder) {
  for (const char* name : {kUnfinishedName, kJournalName}) {
    WINDLASS_ASSIGN_OR_RETURN(
        const Storage::Kind kind,
        folder.storage->GetKind(JoinPath(folder.path, name)));
    if (kind == Storage::Kind::kMissing) continue;
    return absl::FailedPreconditionError(absl::StrCat(
        folder.path, ": found ", name, ": a conversion ",
        name == kJournalName ? "in place" : "into this folder",
        " was stopped in the middle; give the command that began it again "
        "before you use what it writes"));
  }
  return absl::OkStatus();
}

}  // namespace windlass
