// What torch.save writes: a zip archive with a pickle and the storages beside
// it or, before PyTorch 1.6 and on request, a row of pickles with the storages
// behind them.
//
//   absl::StatusOr<TorchArchive> archive = TorchArchive::Open(extent);
//   absl::StatusOr<Tensor> w = archive->GetTensor(*archive->root().Find("w"));

#ifndef WINDLASS_IO_TORCH_ARCHIVE_H_
#define WINDLASS_IO_TORCH_ARCHIVE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "windlass/core/byte_source.h"
#include "windlass/core/dtype.h"
#include "windlass/core/tensor.h"
#include "windlass/io/pickle/pickle.h"
#include "windlass/io/torch/zip.h"

namespace windlass {

// Const after Open; thread-safe. Messages do not name the file.
class TorchArchive {
 public:
  // Reads the pickle and no storage. InvalidArgument where that is no archive
  // of torch.save (and what it is instead), holds classes that no tensors need,
  // or was written by a big-endian machine; DataLoss or OutOfRange where it
  // ends early; Unimplemented where it is compressed.
  static absl::StatusOr<TorchArchive> Open(const Extent& bytes);

  const PickleNode& root() const { return pickle_->root(); }

  // Whether a node is a tensor of any kind, be it one that GetTensor refuses.
  static bool IsTensor(const PickleNode& node);

  // The tensor, a view of its storage. Parameters are what they wrap.
  // InvalidArgument for what is no dense tensor of a dtype that there is, or
  // does not fit its storage; the errors of ZipArchive::Find.
  absl::StatusOr<Tensor> GetTensor(const PickleNode& node) const;

 private:
  TorchArchive() = default;

  absl::Status OpenZip(const Extent& bytes);
  absl::Status OpenLegacy();
  absl::Status FindLegacyStorages(int64_t begin, const Pickle& keys);

  absl::StatusOr<Tensor> GetStorage(const PickleNode& node,
                                    std::optional<DType> dtype) const;

  Extent bytes_;
  std::unique_ptr<const Pickle> pickle_;
  // Of a zip archive: the folder of all its entries; legacy_ is empty then.
  std::optional<ZipArchive> zip_;
  std::string folder_;
  absl::flat_hash_map<std::string, Extent> legacy_;
};

// The shape, or the strides, that a tuple or a torch.Size has. InvalidArgument
// where it is neither, or holds anything but integers that are not negative.
absl::StatusOr<Shape> ReadShape(const PickleNode& node);

}  // namespace windlass

#endif  // WINDLASS_IO_TORCH_ARCHIVE_H_
