#include "windlass/io/dcp/writer.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "windlass/core/dtype.h"
#include "windlass/core/status_macros.h"
#include "windlass/core/tensor.h"
#include "windlass/core/tensor_ops.h"
#include "windlass/io/output_shards.h"
#include "windlass/io/pickle/writer.h"
#include "windlass/io/torch/writer.h"

namespace windlass {
namespace {

constexpr absl::string_view kMetadataModule =
    "torch.distributed.checkpoint.metadata";
constexpr absl::string_view kVersion = "1.0.0";

// Rows [offset, offset + its first extent) of a tensor, in a file; or an
// object.
struct Chunk {
  const NamedTensor* whole = nullptr;
  Shape offsets;
  Shape shape;
  int index = 0;  // among the tensor's; -1 for an object
  int rank = 0;
  int64_t begin = 0;  // of its archive, in the rank's file
  int64_t size = 0;
};

std::string FileName(int rank) { return absl::StrCat("__", rank, "_0.distcp"); }

std::vector<Chunk> Cut(const NamedTensor& named, int ranks) {
  const Shape& shape = named.tensor.shape();
  std::vector<Chunk> chunks;
  for (const RowRange& rows : CutRows(named.tensor, ranks)) {
    Chunk chunk{&named, Shape(shape.size(), 0), shape, 0, 0, 0, 0};
    if (rows.begin < rows.end) {
      chunk.offsets[0] = rows.begin;
      chunk.shape[0] = rows.end - rows.begin;
    }
    chunk.index = chunk.rank = static_cast<int>(chunks.size());
    chunks.push_back(std::move(chunk));
  }
  return chunks;
}

absl::Status AppendChunk(Chunk* chunk, PlannedFile* file) {
  Tensor part = chunk->whole->tensor;
  if (chunk->shape != part.shape()) {
    const int64_t begin = chunk->offsets[0];
    WINDLASS_ASSIGN_OR_RETURN(part,
                              Slice(part, 0, begin, begin + chunk->shape[0]));
  }
  WINDLASS_ASSIGN_OR_RETURN(
      chunk->begin,
      AppendTorchTensor(PlannedTensor{chunk->whole->name, std::move(part), {}},
                        file));
  chunk->size = file->size - chunk->begin;
  return absl::OkStatus();
}

// An object of a class, up to its state, which is the dict that is written
// next.
void StartObject(absl::string_view module, absl::string_view name,
                 PickleWriter* pickle) {
  pickle->Global(module, name);
  pickle->EmptyTuple();
  pickle->NewObject();
  pickle->EmptyDict();
}

void WriteSize(const Shape& shape, PickleWriter* pickle) {
  pickle->Global("torch", "Size");
  pickle->Mark();
  pickle->Ints(shape);
  pickle->Tuple();
  pickle->Reduce();
}

// A call with one argument, which `write` writes.
template <typename Write>
void WriteCall(absl::string_view module, absl::string_view name, Write write,
               PickleWriter* pickle) {
  pickle->Global(module, name);
  pickle->Mark();
  write();
  pickle->Tuple();
  pickle->Reduce();
}

void WriteProperties(DType dtype, PickleWriter* pickle) {
  pickle->Global(kMetadataModule, "TensorProperties");
  pickle->EmptyTuple();
  pickle->NewObject();
  pickle->Mark();
  pickle->Global("torch", TorchDTypeName(dtype));
  WriteCall(
      "torch.serialization", "_get_layout",
      [pickle] { pickle->String("torch.strided"); }, pickle);
  pickle->False();  // requires_grad
  WriteCall(
      kMetadataModule, "_MEM_FORMAT_ENCODING",
      [pickle] { pickle->Int(0); },  // contiguous
      pickle);
  pickle->False();  // pin_memory
  pickle->Tuple();
  pickle->Build();
}

// What it is in Python: `state` writes the items of the object's dict.
class State {
 public:
  explicit State(PickleWriter* pickle) : pickle_(pickle), items_(pickle) {}

  // The key of the value that is written next.
  void Field(absl::string_view name) {
    items_.Next();
    pickle_->String(name);
  }

 private:
  PickleWriter* const pickle_;
  PickleItems items_;
};

void WriteTensorMetadata(const NamedTensor& named,
                         absl::Span<const Chunk> chunks, PickleWriter* pickle) {
  StartObject(kMetadataModule, "TensorStorageMetadata", pickle);
  {
    State state(pickle);
    state.Field("properties");
    WriteProperties(named.tensor.dtype(), pickle);
    state.Field("size");
    WriteSize(named.tensor.shape(), pickle);
    state.Field("chunks");
    pickle->EmptyList();
    pickle->Mark();
    for (const Chunk& chunk : chunks) {
      StartObject(kMetadataModule, "ChunkStorageMetadata", pickle);
      {
        State chunk_state(pickle);
        chunk_state.Field("offsets");
        WriteSize(chunk.offsets, pickle);
        chunk_state.Field("sizes");
        WriteSize(chunk.shape, pickle);
      }
      pickle->Build();
    }
    pickle->Appends();
  }
  pickle->Build();
}

void WriteIndex(const Chunk& chunk, PickleWriter* pickle) {
  StartObject(kMetadataModule, "MetadataIndex", pickle);
  {
    State state(pickle);
    state.Field("fqn");
    pickle->String(chunk.whole->name);
    if (chunk.index < 0) {
      state.Field("index");
      pickle->None();
    } else {
      state.Field("offset");
      WriteSize(chunk.offsets, pickle);
      state.Field("index");
      pickle->Int(chunk.index);
    }
  }
  pickle->Build();
}

void WriteStorageInfo(const Chunk& chunk, PickleWriter* pickle) {
  StartObject("torch.distributed.checkpoint.filesystem", "_StorageInfo",
              pickle);
  {
    State state(pickle);
    state.Field("relative_path");
    pickle->String(FileName(chunk.rank));
    state.Field("offset");
    pickle->Int(chunk.begin);
    state.Field("length");
    pickle->Int(chunk.size);
  }
  pickle->Build();
}

// Chunks come in the tensors' order, those of one tensor together.
absl::Span<const Chunk> ChunksOf(const NamedTensor& named,
                                 absl::Span<const Chunk>* chunks) {
  size_t count = 0;
  while (count < chunks->size() && (*chunks)[count].whole == &named) ++count;
  const absl::Span<const Chunk> found = chunks->subspan(0, count);
  chunks->remove_prefix(count);
  return found;
}

void WriteObjectMetadata(PickleWriter* pickle) {
  pickle->Global(kMetadataModule, "BytesStorageMetadata");
  pickle->EmptyTuple();
  pickle->NewObject();
}

std::string MakeMetadata(const StateDict& tensors, const StateDict& objects,
                         absl::Span<const Chunk> chunks) {
  PickleWriter pickle;
  StartObject(kMetadataModule, "Metadata", &pickle);
  {
    State state(&pickle);
    state.Field("state_dict_metadata");
    pickle.EmptyDict();
    {
      PickleItems items(&pickle);
      absl::Span<const Chunk> rest = chunks;
      for (const NamedTensor& named : tensors) {
        items.Next();
        pickle.String(named.name);
        WriteTensorMetadata(named, ChunksOf(named, &rest), &pickle);
      }
      for (const NamedTensor& named : objects) {
        items.Next();
        pickle.String(named.name);
        WriteObjectMetadata(&pickle);
      }
    }
    state.Field("planner_data");
    pickle.EmptyDict();
    {
      PickleItems items(&pickle);
      for (const StateDict* dict : {&tensors, &objects}) {
        for (const NamedTensor& named : *dict) {
          items.Next();
          pickle.String(named.name);
          pickle.Mark();
          pickle.String(named.name);
          pickle.Tuple();
        }
      }
    }
    state.Field("storage_data");
    pickle.EmptyDict();
    {
      PickleItems items(&pickle);
      for (const Chunk& chunk : chunks) {
        items.Next();
        WriteIndex(chunk, &pickle);
        WriteStorageInfo(chunk, &pickle);
      }
    }
    state.Field("storage_meta");
    pickle.None();
    state.Field("version");
    pickle.String(kVersion);
  }
  pickle.Build();
  return std::move(pickle).Finish();
}

}  // namespace

absl::StatusOr<TransferPlan> PlanDcp(const StateDict& tensors,
                                     const LayOutOptions& options) {
  if (options.max_shard_bytes > 0) {
    return absl::InvalidArgumentError(
        "found a largest size of shards, expected their number: the format dcp "
        "cuts every tensor into as many");
  }
  const int ranks = std::max(options.num_shards, 1);
  std::vector<PlannedFile> files(ranks);
  std::vector<Chunk> chunks;
  TransferPlan plan;
  plan.cuts_tensors = ranks > 1;
  for (const NamedTensor& named : tensors) {
    for (Chunk& chunk : Cut(named, ranks)) {
      WINDLASS_RETURN_IF_ERROR(AppendChunk(&chunk, &files[chunk.rank]));
      chunks.push_back(std::move(chunk));
    }
  }
  static const StateDict* const kNone = new StateDict;
  const StateDict& objects =
      options.objects != nullptr ? *options.objects : *kNone;
  for (const NamedTensor& named : objects) {
    Chunk chunk{&named, {}, {}, -1, 0, files[0].size, named.tensor.bytes()};
    files[0].Append(PlannedTensor{"", named.tensor, {}});
    chunks.push_back(std::move(chunk));
  }
  for (int rank = 0; rank < ranks; ++rank) {
    if (files[rank].pieces.empty()) continue;
    files[rank].name = FileName(rank);
    plan.files.push_back(std::move(files[rank]));
  }
  plan.closing.push_back({".metadata", MakeMetadata(tensors, objects, chunks)});
  return plan;
}

}  // namespace windlass
