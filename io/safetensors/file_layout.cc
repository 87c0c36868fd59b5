#include "windlass/io/safetensors/file_layout.h"

#include <optional>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

// Whether tensors laid one after the other start at multiples of their
// element's size.
bool Aligned(const std::vector<const NamedTensor*>& tensors) {
  int64_t offset = 0;
  for (const NamedTensor* tensor : tensors) {
    const int64_t element = DTypeBytes(tensor->tensor.dtype());
    if (element > 1 && offset % element != 0) return false;
    offset += tensor->tensor.bytes();
  }
  return true;
}

// Where the data should start, modulo a block, so that tensors that lie
// verbatim in a source keep their place within a block and can be shared;
// nullopt where no tensor does.
std::optional<int64_t> DataRemainder(
    const std::vector<SafetensorsEntry>& entries,
    const std::vector<const NamedTensor*>& tensors) {
  for (size_t i = 0; i < tensors.size(); ++i) {
    const auto extent = tensors[i]->tensor.source()->Verbatim();
    if (!extent.has_value() || extent->size < kBlock) continue;
    const int64_t shift = extent->offset - entries[i].begin;
    if (shift % 8 != 0) break;
    return (shift % kBlock + kBlock) % kBlock;
  }
  return std::nullopt;
}

}  // namespace

SafetensorsMetadata WithFormat(SafetensorsMetadata metadata) {
  const bool has = absl::c_any_of(
      metadata, [](const auto& item) { return item.first == "format"; });
  if (!has) metadata.emplace_back("format", "pt");
  return metadata;
}

absl::StatusOr<std::vector<SafetensorsEntry>> Entries(
    const std::vector<const NamedTensor*>& tensors) {
  std::vector<SafetensorsEntry> entries;
  entries.reserve(tensors.size());
  int64_t offset = 0;
  for (const NamedTensor* tensor : tensors) {
    if (tensor->name == "__metadata__") {
      return absl::InvalidArgumentError(
          "tensor \"__metadata__\": found a name that safetensors has another "
          "use for, expected another one");
    }
    const int64_t end = offset + tensor->tensor.bytes();
    entries.push_back({tensor->name, tensor->tensor.dtype(),
                       tensor->tensor.shape(), offset, end});
    offset = end;
  }
  return entries;
}

absl::Status CheckHeader(absl::string_view file, int64_t size) {
  const int64_t bytes = size - 8;
  if (bytes <= kMaxSafetensorsHeader) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      file, ": the header would take ", bytes, " bytes, expected ",
      kMaxSafetensorsHeader, " at most; smaller shards have smaller headers"));
}

absl::StatusOr<PlannedFile> LayOut(std::string name,
                                   SafetensorsMetadata metadata,
                                   std::vector<const NamedTensor*> tensors) {
  if (!Aligned(tensors)) {
    // The format allows no hole, but larger elements may go first.
    absl::c_stable_sort(
        tensors, [](const NamedTensor* a, const NamedTensor* b) {
          return DTypeBits(a->tensor.dtype()) > DTypeBits(b->tensor.dtype());
        });
  }
  WINDLASS_ASSIGN_OR_RETURN(const std::vector<SafetensorsEntry> entries,
                            Entries(tensors));
  PlannedFile file;
  file.name = std::move(name);
  const std::optional<int64_t> remainder = DataRemainder(entries, tensors);
  file.pieces.reserve(1 + tensors.size());
  file.Append(SerializeSafetensorsHeader(
      WithFormat(std::move(metadata)), entries,
      remainder.has_value() ? kBlock : 8, remainder.value_or(0)));
  WINDLASS_RETURN_IF_ERROR(CheckHeader(file.name, file.pieces.front().size()));
  for (const NamedTensor* named : tensors) {
    file.Append(PlannedTensor{named->name, named->tensor, {}});
  }
  return file;
}

}  // namespace windlass
