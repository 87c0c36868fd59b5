#include "windlass/io/transfer/plan.h"

#include <utility>

namespace windlass {

int64_t TransferPlan::bytes() const {
  int64_t bytes = 0;
  for (const PlannedFile& file : files) bytes += file.size;
  for (const ClosingFile& file : closing) bytes += file.contents.size();
  return bytes;
}

PlannedFile VerbatimFile(std::string name, Extent whole) {
  PlannedFile file;
  file.name = std::move(name);
  file.size = whole.size;
  Tensor bytes =
      Tensor::FromExtent(DType::kU8, {whole.size}, std::move(whole)).value();
  file.tensors.push_back({file.name, 0, std::move(bytes)});
  return file;
}

}  // namespace windlass
