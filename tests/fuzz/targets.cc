#include "windlass/tests/fuzz/targets.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "windlass/core/assemble.h"
#include "windlass/core/byte_source.h"
#include "windlass/core/tensor.h"
#include "windlass/core/tensor_ops.h"
#include "windlass/io/dcp/metadata.h"
#include "windlass/io/pickle/pickle.h"
#include "windlass/io/torch/archive.h"
#include "windlass/io/torch/find_state_dict.h"
#include "windlass/io/torch/zip.h"

namespace windlass {
namespace {

Extent Whole(std::string bytes) {
  const int64_t size = static_cast<int64_t>(bytes.size());
  return {std::make_shared<MemorySource>(std::move(bytes)), 0, size};
}

// The first piece; a view may be of any size.
void ReadSome(const Tensor& tensor) {
  const int64_t size = std::min<int64_t>(tensor.bytes(), 1 << 16);
  std::string out(size, '\0');
  if (size == 0) return;
  tensor.source()->Read(Region{0, size}, &out[0], size).IgnoreError();
}

}  // namespace

void FuzzPickle(std::string bytes) {
  const absl::StatusOr<Pickle> pickle =
      Pickle::Parse(std::move(bytes), [](absl::string_view) { return true; });
  if (!pickle.ok()) return;
  for (const PickleNode& node : pickle->nodes()) {
    node.Describe();
    node.Find("state_dict");
    node.Attribute("fqn");
    ReadShape(node).IgnoreError();
    TorchArchive::IsTensor(node);
  }
  FindStateDict(pickle->root(), "").IgnoreError();
  FindStateDict(pickle->root(), "model.state_dict").IgnoreError();
}

void FuzzZip(std::string bytes) {
  const absl::StatusOr<ZipArchive> archive =
      ZipArchive::Open(Whole(std::move(bytes)));
  if (!archive.ok()) return;
  for (const auto& [name, entry] : archive->entries()) {
    const absl::StatusOr<Extent> extent = archive->Find(name);
    if (!extent.ok()) continue;
    ReadRange(*extent->source, extent->offset, extent->size).value();
  }
}

void FuzzTorch(std::string bytes) {
  const absl::StatusOr<TorchArchive> archive =
      TorchArchive::Open(Whole(std::move(bytes)));
  if (!archive.ok()) return;
  const absl::StatusOr<FoundStateDict> found =
      FindStateDict(archive->root(), "");
  if (!found.ok()) return;
  for (const auto& [name, node] : found->tensors) {
    const absl::StatusOr<Tensor> tensor = archive->GetTensor(*node);
    if (tensor.ok()) ReadSome(*tensor);
  }
}

void FuzzDcpMetadata(std::string bytes) {
  const absl::StatusOr<DcpMetadata> metadata =
      ParseDcpMetadata(std::move(bytes));
  if (!metadata.ok()) return;
  for (const DcpTensor& tensor : metadata->tensors) {
    std::vector<Box> boxes;
    for (const DcpChunk& chunk : tensor.chunks) {
      const absl::StatusOr<Tensor> box = Fill(tensor.dtype, chunk.shape, 0);
      if (box.ok()) boxes.push_back({chunk.offsets, *box});
    }
    const absl::StatusOr<Tensor> whole =
        Assemble(tensor.dtype, tensor.shape, boxes);
    if (whole.ok()) ReadSome(*whole);
  }
}

}  // namespace windlass
