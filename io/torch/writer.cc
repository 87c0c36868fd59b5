#include "windlass/io/torch/writer.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "windlass/core/status_macros.h"
#include "windlass/io/output_shards.h"
#include "windlass/io/pickle/writer.h"
#include "windlass/io/torch/writer_zip.h"
#include "windlass/io/transfer/crc32.h"

namespace windlass {
namespace {

// The class of the storages that torch.save gives tensors of a dtype; empty
// where the storage is untyped and the tensor says its dtype itself.
absl::string_view StorageClass(DType dtype) {
  switch (dtype) {
    case DType::kBool:
      return "BoolStorage";
    case DType::kU8:
      return "ByteStorage";
    case DType::kI8:
      return "CharStorage";
    case DType::kI16:
      return "ShortStorage";
    case DType::kI32:
      return "IntStorage";
    case DType::kI64:
      return "LongStorage";
    case DType::kF16:
      return "HalfStorage";
    case DType::kBF16:
      return "BFloat16Storage";
    case DType::kF32:
      return "FloatStorage";
    case DType::kF64:
      return "DoubleStorage";
    case DType::kC64:
      return "ComplexFloatStorage";
    default:
      return "";
  }
}

std::vector<int64_t> ContiguousStrides(const Shape& shape) {
  std::vector<int64_t> strides(shape.size(), 1);
  for (int i = static_cast<int>(shape.size()) - 2; i >= 0; --i) {
    strides[i] = strides[i + 1] * std::max<int64_t>(shape[i + 1], 1);
  }
  return strides;
}

void WriteOrderedDict(PickleWriter* pickle) {
  pickle->Global("collections", "OrderedDict");
  pickle->EmptyTuple();
  pickle->Reduce();
}

// The call that makes a tensor of the storage of that number.
void WriteTensor(const Tensor& tensor, int storage, PickleWriter* pickle) {
  const absl::string_view storage_class = StorageClass(tensor.dtype());
  const bool typed = !storage_class.empty();
  pickle->Global("torch._utils",
                 typed ? "_rebuild_tensor_v2" : "_rebuild_tensor_v3");
  pickle->Mark();
  pickle->Mark();
  pickle->String("storage");
  if (typed) {
    pickle->Global("torch", storage_class);
  } else {
    pickle->Global("torch.storage", "UntypedStorage");
  }
  pickle->String(absl::StrCat(storage));
  pickle->String("cpu");
  pickle->Int(typed ? tensor.bytes() / DTypeBytes(tensor.dtype())
                    : tensor.bytes());
  pickle->Tuple();
  pickle->PersistentId();
  pickle->Int(0);  // from the storage's first element on
  pickle->Ints(tensor.shape());
  pickle->Ints(ContiguousStrides(tensor.shape()));
  pickle->False();  // requires_grad
  WriteOrderedDict(pickle);
  if (!typed) pickle->Global("torch", TorchDTypeName(tensor.dtype()));
  pickle->Tuple();
  pickle->Reduce();
}

// A file of a pickle and the storages that it speaks of.
void AppendArchive(std::string pickle, std::vector<PlannedTensor> storages,
                   PlannedFile* file) {
  int64_t bytes = 0;
  for (const PlannedTensor& storage : storages) bytes += storage.tensor.bytes();
  const std::string id =
      absl::StrFormat("%020d%020d", ExtendCrc32(0, pickle), bytes);
  ZipWriter zip(file);
  zip.Add("archive/data.pkl", std::move(pickle));
  zip.Add("archive/.format_version", std::string("1"));
  zip.Add("archive/.storage_alignment", absl::StrCat(ZipWriter::kAlignment));
  zip.Add("archive/byteorder", std::string("little"));
  for (size_t i = 0; i < storages.size(); ++i) {
    zip.Add(absl::StrCat("archive/data/", i), std::move(storages[i]));
  }
  zip.Add("archive/version", std::string("3\n"));
  zip.Add("archive/.data/serialization_id", id);
  zip.Finish();
}

// The storages of an archive. Tensors that are the same bytes of a file have
// one together: a tied head stays tied.
class Storages {
 public:
  int Add(const NamedTensor& named) {
    const Tensor& tensor = named.tensor;
    const auto extent = tensor.source()->Verbatim();
    if (extent.has_value() && extent->size > 0) {
      const auto [it, is_new] = known_.try_emplace(
          {extent->source.get(), extent->offset, extent->size, tensor.dtype(),
           std::vector<int64_t>(tensor.shape().begin(), tensor.shape().end())},
          storages_.size());
      if (!is_new) {
        storages_[it->second].aliases.push_back(named.name);
        return it->second;
      }
    }
    storages_.push_back({named.name, tensor, {}});
    return static_cast<int>(storages_.size()) - 1;
  }

  std::vector<PlannedTensor> Take() { return std::move(storages_); }

 private:
  using Place = std::tuple<const ByteSource*, int64_t, int64_t, DType,
                           std::vector<int64_t>>;

  std::map<Place, int> known_;
  std::vector<PlannedTensor> storages_;
};

absl::StatusOr<PlannedFile> LayOut(const OutputShard& shard) {
  PlannedFile file;
  file.name = shard.name;
  PickleWriter pickle;
  WriteOrderedDict(&pickle);
  Storages storages;
  {
    PickleItems items(&pickle);
    for (const NamedTensor* named : shard.tensors) {
      WINDLASS_RETURN_IF_ERROR(Annotate(
          CheckTorchDType(named->name, named->tensor.dtype()), shard.name));
      items.Next();
      pickle.String(named->name);
      WriteTensor(named->tensor, storages.Add(*named), &pickle);
    }
  }
  AppendArchive(std::move(pickle).Finish(), storages.Take(), &file);
  return file;
}

absl::StatusOr<std::vector<OutputShard>> NameShards(
    const StateDict& tensors, const Checkpoint& like,
    const LayOutOptions& options) {
  if (!options.file.empty()) {
    if (options.max_shard_bytes > 0) {
      return absl::InvalidArgumentError(
          absl::StrCat(options.file,
                       ": found a largest size of shards, expected none: one "
                       "file holds it all"));
    }
    OutputShard shard;
    shard.name = options.file;
    for (const NamedTensor& named : tensors) shard.tensors.push_back(&named);
    return std::vector<OutputShard>{std::move(shard)};
  }
  WINDLASS_ASSIGN_OR_RETURN(std::vector<OutputShard> shards,
                            ShareOut(tensors, like, options));
  for (size_t i = 0; i < shards.size(); ++i) {
    shards[i].name = shards.size() == 1
                         ? NameOfOnlyFile(like, "pytorch_model", ".bin")
                         : absl::StrFormat("pytorch_model-%05d-of-%05d.bin",
                                           i + 1, shards.size());
  }
  return shards;
}

}  // namespace

absl::Status CheckTorchDType(absl::string_view tensor, DType dtype) {
  if (!TorchDTypeName(dtype).empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("tensor \"", tensor, "\": found ", DTypeName(dtype),
                   ", expected a dtype that torch has"));
}

absl::StatusOr<int64_t> AppendTorchTensor(PlannedTensor tensor,
                                          PlannedFile* file) {
  WINDLASS_RETURN_IF_ERROR(CheckTorchDType(tensor.name, tensor.tensor.dtype()));
  const int64_t rest = file->size % ZipWriter::kAlignment;
  if (rest > 0) file->Append(std::string(ZipWriter::kAlignment - rest, '\0'));
  const int64_t begin = file->size;
  PickleWriter pickle;
  WriteTensor(tensor.tensor, 0, &pickle);
  std::vector<PlannedTensor> storages;
  storages.push_back(std::move(tensor));
  AppendArchive(std::move(pickle).Finish(), std::move(storages), file);
  return begin;
}

absl::StatusOr<TransferPlan> PlanTorch(const StateDict& tensors,
                                       const Checkpoint& like,
                                       const LayOutOptions& options) {
  WINDLASS_RETURN_IF_ERROR(CheckKeepsTensorsWhole(options, "torch"));
  WINDLASS_ASSIGN_OR_RETURN(const std::vector<OutputShard> shards,
                            NameShards(tensors, like, options));
  TransferPlan plan;
  for (const OutputShard& shard : shards) {
    WINDLASS_ASSIGN_OR_RETURN(PlannedFile file, LayOut(shard));
    plan.files.push_back(std::move(file));
  }
  if (shards.size() > 1) {
    plan.closing.push_back(
        MakeIndex("pytorch_model.bin.index.json", shards, like));
  }
  return plan;
}

}  // namespace windlass
