// The "dcp" checkpoint format: a folder of torch.distributed.checkpoint, in
// which `.metadata` says where the boxes lie that ranks have written of each
// tensor.

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "windlass/core/assemble.h"
#include "windlass/core/status_macros.h"
#include "windlass/io/checkpoint.h"
#include "windlass/io/dcp/metadata.h"
#include "windlass/io/dcp/writer.h"
#include "windlass/io/parallel.h"
#include "windlass/io/torch/archive.h"

namespace windlass {
namespace {

constexpr absl::string_view kMetadataName = ".metadata";
constexpr absl::string_view kSuffix = ".distcp";

// A box takes some hundred bytes; a million of them fit.
constexpr int64_t kMaxMetadataBytes = int64_t{1} << 28;

// The folder's files that hold tensors, by name.
using Files = std::map<std::string, std::shared_ptr<const ReadableFile>>;

absl::StatusOr<Files> OpenFiles(const Location& folder,
                                const DcpMetadata& metadata) {
  Files files;
  const auto open = [&](const DcpBlob& blob, const char* what,
                        const std::string& name) {
    const auto [it, is_new] = files.try_emplace(blob.file);
    if (!is_new) return absl::OkStatus();
    absl::StatusOr<std::shared_ptr<const ReadableFile>> file =
        folder.storage->OpenForRead(JoinPath(folder.path, blob.file));
    if (!file.ok()) {
      return Annotate(file.status(), JoinPath(folder.path, kMetadataName), ": ",
                      what, " \"", absl::CHexEscape(name), "\"");
    }
    it->second = *std::move(file);
    return absl::OkStatus();
  };
  for (const DcpTensor& tensor : metadata.tensors) {
    for (const DcpChunk& chunk : tensor.chunks) {
      WINDLASS_RETURN_IF_ERROR(open(chunk.blob, "tensor", tensor.name));
    }
  }
  for (const DcpObject& object : metadata.objects) {
    if (!object.blob.has_value()) continue;
    WINDLASS_RETURN_IF_ERROR(open(*object.blob, "object", object.name));
  }
  return files;
}

absl::Status CheckBlob(const DcpBlob& blob, const ReadableFile& file) {
  if (blob.offset <= file.size() && blob.size <= file.size() - blob.offset) {
    return absl::OkStatus();
  }
  return absl::DataLossError(
      absl::StrCat("found ", file.size(), " bytes, expected ", blob.size,
                   " at ", blob.offset, "; the file was truncated"));
}

// The objects' bytes; what they mean is not looked at.
absl::Status AddObjects(const DcpMetadata& metadata, const Files& files,
                        Checkpoint* checkpoint) {
  for (const DcpObject& object : metadata.objects) {
    checkpoint->objects.push_back(object.name);
    if (!object.blob.has_value()) continue;
    const DcpBlob& blob = *object.blob;
    const auto& file = files.at(blob.file);
    const absl::Status within = CheckBlob(blob, *file);
    if (!within.ok()) {
      return Annotate(within, file->name(), ": object \"",
                      absl::CHexEscape(object.name), "\"");
    }
    WINDLASS_ASSIGN_OR_RETURN(
        Tensor bytes, Tensor::FromExtent(DType::kU8, {blob.size},
                                         Extent{file, blob.offset, blob.size}));
    WINDLASS_RETURN_IF_ERROR(
        checkpoint->object_bytes.Insert(object.name, std::move(bytes)));
  }
  return absl::OkStatus();
}

// The box of a tensor that a chunk is.
absl::StatusOr<Box> ReadChunk(const DcpTensor& tensor, const DcpChunk& chunk,
                              const std::shared_ptr<const ReadableFile>& file) {
  const DcpBlob& blob = chunk.blob;
  WINDLASS_RETURN_IF_ERROR(CheckBlob(blob, *file));
  WINDLASS_ASSIGN_OR_RETURN(
      const TorchArchive archive,
      TorchArchive::Open(Extent{file, blob.offset, blob.size}));
  WINDLASS_ASSIGN_OR_RETURN(Tensor box, archive.GetTensor(archive.root()));
  if (box.dtype() != tensor.dtype || box.shape() != chunk.shape) {
    return absl::InvalidArgumentError(absl::StrCat(
        "found ", box.ToString(), ", expected ", DTypeName(tensor.dtype), " ",
        ShapeString(chunk.shape), " as ", kMetadataName, " has it"));
  }
  return Box{chunk.offsets, std::move(box)};
}

absl::StatusOr<Tensor> ReadTensor(const std::string& path,
                                  const DcpTensor& tensor, const Files& files) {
  std::vector<Box> boxes;
  boxes.reserve(tensor.chunks.size());
  for (const DcpChunk& chunk : tensor.chunks) {
    const auto& file = files.at(chunk.blob.file);
    absl::StatusOr<Box> box = ReadChunk(tensor, chunk, file);
    if (!box.ok()) {
      return Annotate(box.status(), file->name(), ": tensor \"",
                      absl::CHexEscape(tensor.name), "\"");
    }
    boxes.push_back(*std::move(box));
  }
  absl::StatusOr<Tensor> whole = Assemble(tensor.dtype, tensor.shape, boxes);
  if (whole.ok()) return whole;
  return Annotate(whole.status(), path, ": tensor \"",
                  absl::CHexEscape(tensor.name), "\"");
}

class DcpFormat : public CheckpointFormat {
 public:
  absl::string_view name() const override { return "dcp"; }

  bool HasObjects() const override { return true; }

  Certainty Detect(const std::vector<std::string>& names) const override {
    Certainty certainty = Certainty::kNone;
    for (const std::string& name : names) {
      if (name == kMetadataName) return Certainty::kCertain;
      if (absl::EndsWith(name, kSuffix)) certainty = Certainty::kLikely;
    }
    return certainty;
  }

  absl::StatusOr<Checkpoint> Open(const Location& folder,
                                  const std::vector<std::string>& names,
                                  const std::string& file,
                                  const OpenOptions&) const override {
    const std::string path = JoinPath(folder.path, kMetadataName);
    if (!file.empty() && file != kMetadataName) {
      return absl::InvalidArgumentError(
          absl::StrCat(JoinPath(folder.path, file),
                       ": found a part of a checkpoint, expected its folder"));
    }
    if (file.empty() && !absl::c_linear_search(names, kMetadataName)) {
      return absl::FailedPreconditionError(
          absl::StrCat(folder.path, ": found ", kSuffix, " files and no ",
                       kMetadataName, "; the save did not finish"));
    }
    WINDLASS_ASSIGN_OR_RETURN(
        std::string bytes, ReadFile(*folder.storage, path, kMaxMetadataBytes));
    const absl::StatusOr<DcpMetadata> metadata =
        ParseDcpMetadata(std::move(bytes));
    if (!metadata.ok()) return Annotate(metadata.status(), path);
    WINDLASS_ASSIGN_OR_RETURN(const Files files, OpenFiles(folder, *metadata));
    const int count = static_cast<int>(metadata->tensors.size());
    std::vector<Tensor> tensors(count);
    WINDLASS_RETURN_IF_ERROR(ParallelFor(count, [&](int i) -> absl::Status {
      WINDLASS_ASSIGN_OR_RETURN(tensors[i],
                                ReadTensor(path, metadata->tensors[i], files));
      return absl::OkStatus();
    }));
    Checkpoint checkpoint;
    checkpoint.is_ranks = true;
    for (int i = 0; i < count; ++i) {
      WINDLASS_RETURN_IF_ERROR(checkpoint.tensors.Insert(
          metadata->tensors[i].name, std::move(tensors[i])));
    }
    WINDLASS_RETURN_IF_ERROR(AddObjects(*metadata, files, &checkpoint));
    checkpoint.index_name = std::string(kMetadataName);
    for (const auto& [shard, opened] : files) {
      checkpoint.shards.push_back({shard, opened, {}});
    }
    for (const std::string& other : names) {
      if (file.empty() && absl::EndsWith(other, kSuffix) &&
          files.count(other) == 0) {
        checkpoint.left_out.push_back(other);
      }
    }
    return checkpoint;
  }

  absl::StatusOr<TransferPlan> Plan(
      const StateDict& tensors, const Checkpoint&,
      const LayOutOptions& options) const override {
    return PlanDcp(tensors, options);
  }

  // Blobs lie in no other format's files, so that all are this checkpoint's.
  absl::StatusOr<CheckpointFiles> FindFiles(
      const Location& folder) const override {
    WINDLASS_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                              ListNames(folder));
    CheckpointFiles files;
    for (const std::string& name : names) {
      if (name == kMetadataName) files.index = name;
      if (absl::EndsWith(name, kSuffix)) files.shards.push_back(name);
    }
    return files;
  }
};

const CheckpointFormatRegistrar registrar(new DcpFormat);

}  // namespace
}  // namespace windlass
