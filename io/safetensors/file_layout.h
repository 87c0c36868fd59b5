// How tensors lie in one safetensors file.

#ifndef WINDLASS_IO_SAFETENSORS_FILE_LAYOUT_H_
#define WINDLASS_IO_SAFETENSORS_FILE_LAYOUT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "windlass/core/state_dict.h"
#include "windlass/io/safetensors/header.h"
#include "windlass/io/transfer/plan.h"

namespace windlass {

// File systems share blocks of this size between files.
inline constexpr int64_t kBlock = 4096;

// With "format": "pt", where the metadata do not say another; transformers asks
// for it.
SafetensorsMetadata WithFormat(SafetensorsMetadata metadata);

// The tensors one after the other. InvalidArgument for the one name that a
// header has another use for.
absl::StatusOr<std::vector<SafetensorsEntry>> Entries(
    const std::vector<const NamedTensor*>& tensors);

// InvalidArgument for a header of `size` bytes that could be written, but not
// read.
absl::Status CheckHeader(absl::string_view file, int64_t size);

// A file of the tensors, in their order where that keeps them aligned, with
// larger elements first otherwise. Data that lie verbatim in a source keep
// their place within a block, as far as one header can give it to them. Errors
// are those of Entries and CheckHeader.
absl::StatusOr<PlannedFile> LayOut(std::string name,
                                   SafetensorsMetadata metadata,
                                   std::vector<const NamedTensor*> tensors);

}  // namespace windlass

#endif  // WINDLASS_IO_SAFETENSORS_FILE_LAYOUT_H_
