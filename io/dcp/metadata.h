// `.metadata` of a torch.distributed.checkpoint folder: which boxes of which
// tensors lie in which file. docs/formats.md describes it in prose.

#ifndef WINDLASS_IO_DCP_METADATA_H_
#define WINDLASS_IO_DCP_METADATA_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "windlass/core/dtype.h"

namespace windlass {

// A range of a file of the folder: what torch.save wrote of one box or object.
struct DcpBlob {
  std::string file;
  int64_t offset = 0;
  int64_t size = 0;
};

// Elements [offsets, offsets + shape) of a tensor.
struct DcpChunk {
  Shape offsets;
  Shape shape;
  DcpBlob blob;
};

struct DcpTensor {
  std::string name;
  DType dtype = DType::kU8;
  Shape shape;
  // Those that have elements.
  std::vector<DcpChunk> chunks;
};

// An entry that is no tensor.
struct DcpObject {
  std::string name;
  std::optional<DcpBlob> blob;  // where the metadata has it
};

// In the order of the state dict that was saved, where that is known.
struct DcpMetadata {
  std::vector<DcpTensor> tensors;
  std::vector<DcpObject> objects;
};

// Reads `.metadata`. InvalidArgument or OutOfRange where it is not whole, holds
// what no metadata has, or names a file that is not in the folder's own;
// Unimplemented where blobs were transformed (compressed). What lies in the
// files is not looked at, and neither is whether the boxes make the tensors.
absl::StatusOr<DcpMetadata> ParseDcpMetadata(std::string bytes);

}  // namespace windlass

#endif  // WINDLASS_IO_DCP_METADATA_H_
