// The conversion that the fault tests disturb.

#ifndef WINDLASS_TESTS_FAULT_CONVERSION_H_
#define WINDLASS_TESTS_FAULT_CONVERSION_H_

#include <map>
#include <string>

#include "absl/status/status.h"
#include "windlass/io/save.h"
#include "windlass/io/transfer/transfer.h"

namespace windlass {

// Renames all tensors of a checkpoint, and casts every second one to F32: some
// are copied and some computed.
absl::Status RenameAndCast(const std::string& input, const std::string& output,
                           const SaveOptions& save = {},
                           const TransferOptions& transfer = {});

// The files of a folder by name, but for hidden ones, which are our own
// business; none where there is no folder.
std::map<std::string, std::string> ShownFiles(const std::string& folder);

// Whatever has a final name in `output` is what it is in the whole conversion's
// folder.
void ExpectNothingDamaged(const std::string& output,
                          const std::map<std::string, std::string>& whole);

}  // namespace windlass

#endif  // WINDLASS_TESTS_FAULT_CONVERSION_H_
