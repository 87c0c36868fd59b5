#include "windlass/io/transfer/plan.h"

#include <algorithm>
#include <utility>

namespace windlass {
namespace {

template <typename Content>
void AppendPiece(Content content, PlannedFile* file) {
  file->pieces.push_back({file->size, std::move(content)});
  file->size += file->pieces.back().size();
}

}  // namespace

int64_t Piece::size() const {
  if (const PlannedTensor* planned = tensor()) return planned->tensor.bytes();
  if (const LateBytes* bytes = late()) return bytes->size;
  return std::get<std::string>(content).size();
}

void PlannedFile::Append(std::string bytes) {
  AppendPiece(std::move(bytes), this);
}

void PlannedFile::Append(PlannedTensor tensor) {
  AppendPiece(std::move(tensor), this);
  ++tensors;
}

void PlannedFile::Append(LateBytes late) { AppendPiece(std::move(late), this); }

int64_t PlannedFile::CountTensors() const {
  int64_t count = 0;
  for (const Piece& piece : pieces) {
    const PlannedTensor* const tensor = piece.tensor();
    if (tensor == nullptr || tensor->name.empty()) continue;
    count += 1 + tensor->aliases.size();
  }
  return count;
}

int64_t TransferPlan::bytes() const {
  int64_t bytes = 0;
  for (const PlannedFile& file : files) bytes += file.size;
  for (const ClosingFile& file : closing) bytes += file.contents.size();
  return bytes;
}

PlannedFile VerbatimFile(std::string name, Extent whole) {
  PlannedFile file;
  file.name = std::move(name);
  const Shape shape = {whole.size};
  file.Append(PlannedTensor{
      "", Tensor::FromExtent(DType::kU8, shape, std::move(whole)).value(), {}});
  return file;
}

}  // namespace windlass
