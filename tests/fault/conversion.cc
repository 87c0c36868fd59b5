#include "windlass/tests/fault/conversion.h"

#include <filesystem>
#include <iterator>
#include <utility>

#include "gtest/gtest.h"
#include "windlass/core/status_macros.h"
#include "windlass/core/tensor_ops.h"
#include "windlass/io/checkpoint.h"
#include "windlass/tests/testing/files.h"

namespace windlass {

absl::Status RenameAndCast(const std::string& input, const std::string& output,
                           const SaveOptions& save,
                           const TransferOptions& transfer) {
  WINDLASS_ASSIGN_OR_RETURN(const Checkpoint in, OpenCheckpoint(input));
  StateDict out;
  int i = 0;
  for (const auto& [name, tensor] : in.tensors) {
    WINDLASS_ASSIGN_OR_RETURN(
        Tensor changed,
        Cast(tensor, i++ % 2 == 0 ? DType::kF32 : tensor.dtype()));
    WINDLASS_RETURN_IF_ERROR(out.Insert("new." + name, std::move(changed)));
  }
  WINDLASS_ASSIGN_OR_RETURN(const SavePlan plan,
                            PlanSave(out, in, output, save));
  return SaveCheckpoint(plan, transfer);
}

std::map<std::string, std::string> ShownFiles(const std::string& folder) {
  if (!std::filesystem::exists(folder)) return {};
  std::map<std::string, std::string> files = ReadTestFolder(folder);
  for (auto it = files.begin(); it != files.end();) {
    it = it->first[0] == '.' ? files.erase(it) : std::next(it);
  }
  return files;
}

void ExpectNothingDamaged(const std::string& output,
                          const std::map<std::string, std::string>& whole) {
  for (const auto& [name, bytes] : ShownFiles(output)) {
    ASSERT_EQ(whole.count(name), 1u) << name;
    ASSERT_EQ(bytes, whole.at(name)) << name;
  }
}

}  // namespace windlass
