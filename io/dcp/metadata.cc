#include "windlass/io/dcp/metadata.h"

#include <optional>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "windlass/core/status_macros.h"
#include "windlass/io/pickle/pickle.h"
#include "windlass/io/storage/storage.h"
#include "windlass/io/torch/archive.h"

namespace windlass {
namespace {

using Kind = PickleNode::Kind;

// What metadata is made of, by the names that the versions of torch give it,
// and the reference's copy of the writer.
constexpr absl::string_view kClasses[] = {
    "__builtin__.getattr",  // how some Pythons name a member of an enumeration
    "builtins.getattr",
    "collections.OrderedDict",
    "nemo_automodel.components.checkpoint._backports.filesystem._StorageInfo",
    "pathlib.PosixPath",
    "pathlib.PurePosixPath",
    "pathlib.WindowsPath",
    "pathlib._local.PosixPath",
    "pathlib._local.WindowsPath",
    "torch.Size",
    "torch.complex128",
    "torch.complex32",
    "torch.distributed._shard.sharded_tensor.metadata.MEM_FORMAT_ENCODING",
    "torch.distributed._shard.sharded_tensor.metadata.TensorProperties",
    "torch.distributed.checkpoint.filesystem._StorageInfo",
    "torch.distributed.checkpoint.metadata.BytesStorageMetadata",
    "torch.distributed.checkpoint.metadata.ChunkStorageMetadata",
    "torch.distributed.checkpoint.metadata.Metadata",
    "torch.distributed.checkpoint.metadata.MetadataIndex",
    "torch.distributed.checkpoint.metadata.StorageMeta",
    "torch.distributed.checkpoint.metadata.TensorProperties",
    "torch.distributed.checkpoint.metadata.TensorStorageMetadata",
    "torch.distributed.checkpoint.metadata._MEM_FORMAT_ENCODING",
    "torch.serialization._get_layout",
    "uuid.UUID",
};

bool IsDcpClass(absl::string_view name) {
  return absl::c_linear_search(kClasses, name) ||
         (absl::StartsWith(name, "torch.") &&
          ParseTorchDType(name).has_value());
}

// Whether an object is of a class, in whichever module.
bool IsA(const PickleNode& node, absl::string_view class_name) {
  if (!node.Is(Kind::kObject)) return false;
  absl::string_view name = node.callee->text;
  return absl::ConsumeSuffix(&name, class_name) && absl::EndsWith(name, ".");
}

absl::Status Invalid(absl::string_view found, absl::string_view expected) {
  return absl::InvalidArgumentError(
      absl::StrCat("found ", found, ", expected ", expected));
}

absl::StatusOr<const PickleNode*> Member(const PickleNode& node,
                                         absl::string_view name) {
  const PickleNode* const member = node.Attribute(name);
  if (member != nullptr) return member;
  return Invalid(absl::StrCat(node.Describe(), " without ", name), "one");
}

absl::StatusOr<Shape> ShapeMember(const PickleNode& node,
                                  absl::string_view name) {
  WINDLASS_ASSIGN_OR_RETURN(const PickleNode* const member, Member(node, name));
  return ReadShape(*member);
}

absl::StatusOr<int64_t> SizeMember(const PickleNode& node,
                                   absl::string_view name) {
  WINDLASS_ASSIGN_OR_RETURN(const PickleNode* const member, Member(node, name));
  if (member->Is(Kind::kInt) && member->integer >= 0) return member->integer;
  return Invalid(absl::StrCat(name, " that is ", member->Describe()),
                 "an integer that is not negative");
}

// A dictionary that is a member, or null where there is none.
absl::StatusOr<const PickleNode*> DictMember(const PickleNode& node,
                                             absl::string_view name) {
  const PickleNode* const member = node.Attribute(name);
  if (member == nullptr || member->Is(Kind::kNone)) return nullptr;
  if (member->Is(Kind::kDict) || member->IsObject("collections.OrderedDict")) {
    return member;
  }
  return Invalid(absl::StrCat(name, " that is ", member->Describe()),
                 "a dictionary");
}

// Properties: (dtype, layout, requires_grad, memory format, pin_memory).
absl::StatusOr<DType> ReadDType(const PickleNode& properties) {
  const PickleNode* dtype = properties.Attribute("dtype");
  const PickleNode* layout = properties.Attribute("layout");
  const PickleNode* const state = properties.state;
  if (dtype == nullptr && state != nullptr && state->Is(Kind::kTuple) &&
      state->items.size() >= 2) {
    dtype = state->items[0];
    layout = state->items[1];
  }
  if (dtype == nullptr || !dtype->Is(Kind::kClass)) {
    return Invalid("no dtype", "one");
  }
  if (layout != nullptr && layout->Is(Kind::kObject)) {
    const auto& arguments = layout->arguments->items;
    if (arguments.size() != 1 || arguments[0]->text != "torch.strided") {
      return Invalid("a sparse tensor", "a dense one");
    }
  }
  const std::optional<DType> known = ParseTorchDType(dtype->text);
  if (known.has_value()) return *known;
  return Invalid(absl::StrCat("the dtype ", dtype->text),
                 "one that safetensors has too");
}

// What is stored where, by name and offsets; objects by name alone.
class BlobFinder {
 public:
  absl::Status Add(const PickleNode& index, const PickleNode& info) {
    const PickleNode* const name = index.Attribute("fqn");
    if (!IsA(index, "MetadataIndex") || name == nullptr ||
        !name->Is(Kind::kString)) {
      return Invalid(index.Describe(), "the index of an entry, with its name");
    }
    const PickleNode* const offset = index.Attribute("offset");
    if (offset == nullptr || offset->Is(Kind::kNone)) {
      if (objects_.emplace(name->text, &info).second) return absl::OkStatus();
      return Invalid(absl::StrCat("the object \"", absl::CHexEscape(name->text),
                                  "\" in two places"),
                     "one");
    }
    WINDLASS_ASSIGN_OR_RETURN(Shape offsets, ReadShape(*offset));
    Key key{name->text, std::move(offsets)};
    if (blobs_.emplace(std::move(key), &info).second) return absl::OkStatus();
    return Invalid(absl::StrCat("a part of \"", absl::CHexEscape(name->text),
                                "\" in two places"),
                   "one");
  }

  absl::StatusOr<DcpBlob> Find(absl::string_view name,
                               const Shape& offsets) const {
    const auto it = blobs_.find(Key{name, offsets});
    if (it == blobs_.end()) {
      return Invalid(
          absl::StrCat("no place for the chunk at ", ShapeString(offsets)),
          "a file that holds it");
    }
    return Read(*it->second);
  }

  absl::StatusOr<std::optional<DcpBlob>> FindObject(
      absl::string_view name) const {
    const auto it = objects_.find(name);
    if (it == objects_.end()) return std::nullopt;
    return Read(*it->second);
  }

 private:
  static absl::StatusOr<DcpBlob> Read(const PickleNode& info) {
    WINDLASS_ASSIGN_OR_RETURN(const PickleNode* const file,
                              Member(info, "relative_path"));
    if (!file->Is(Kind::kString) || !IsFileName(file->text)) {
      return Invalid(
          absl::StrCat("the file \"", absl::CHexEscape(file->text), "\""),
          "a name in the same folder");
    }
    const PickleNode* const transforms =
        info.Attribute("transform_descriptors");
    if (transforms != nullptr && !transforms->items.empty()) {
      return absl::UnimplementedError(
          absl::StrCat("found a chunk that was transformed (",
                       absl::CHexEscape(transforms->items[0]->text),
                       "), expected it as torch.save writes it"));
    }
    DcpBlob blob;
    blob.file = std::string(file->text);
    WINDLASS_ASSIGN_OR_RETURN(blob.offset, SizeMember(info, "offset"));
    WINDLASS_ASSIGN_OR_RETURN(blob.size, SizeMember(info, "length"));
    return blob;
  }

  using Key = std::pair<absl::string_view, Shape>;
  absl::flat_hash_map<Key, const PickleNode*> blobs_;
  absl::flat_hash_map<absl::string_view, const PickleNode*> objects_;
};

absl::Status CheckWithin(const DcpChunk& chunk, const Shape& shape) {
  bool within = chunk.offsets.size() == shape.size() &&
                chunk.shape.size() == shape.size();
  for (size_t i = 0; within && i < shape.size(); ++i) {
    within = chunk.shape[i] <= shape[i] &&
             chunk.offsets[i] <= shape[i] - chunk.shape[i];
  }
  if (within) return absl::OkStatus();
  return Invalid(absl::StrCat("a chunk ", ShapeString(chunk.shape), " at ",
                              ShapeString(chunk.offsets)),
                 absl::StrCat("one within ", ShapeString(shape)));
}

absl::StatusOr<DcpTensor> ReadTensor(absl::string_view name,
                                     const PickleNode& entry,
                                     const BlobFinder& blobs) {
  DcpTensor tensor;
  tensor.name = std::string(name);
  WINDLASS_ASSIGN_OR_RETURN(const PickleNode* const properties,
                            Member(entry, "properties"));
  WINDLASS_ASSIGN_OR_RETURN(tensor.dtype, ReadDType(*properties));
  WINDLASS_ASSIGN_OR_RETURN(tensor.shape, ShapeMember(entry, "size"));
  WINDLASS_RETURN_IF_ERROR(ByteSize(tensor.dtype, tensor.shape).status());
  WINDLASS_ASSIGN_OR_RETURN(const PickleNode* const chunks,
                            Member(entry, "chunks"));
  if (!chunks->Is(Kind::kList) && !chunks->Is(Kind::kTuple)) {
    return Invalid(chunks->Describe(), "a list of chunks");
  }
  for (const PickleNode* node : chunks->items) {
    DcpChunk chunk;
    WINDLASS_ASSIGN_OR_RETURN(chunk.offsets, ShapeMember(*node, "offsets"));
    WINDLASS_ASSIGN_OR_RETURN(chunk.shape, ShapeMember(*node, "sizes"));
    WINDLASS_RETURN_IF_ERROR(CheckWithin(chunk, tensor.shape));
    if (absl::c_linear_search(chunk.shape, 0)) continue;
    WINDLASS_ASSIGN_OR_RETURN(chunk.blob, blobs.Find(name, chunk.offsets));
    tensor.chunks.push_back(std::move(chunk));
  }
  return tensor;
}

// The entries as the saved state dict had them. The dictionary of entries is
// that of the ranks one after the other; the planner's has the right order, in
// those versions of torch that write it.
std::vector<std::pair<absl::string_view, const PickleNode*>> InOrder(
    const PickleNode& entries, const PickleNode* planner) {
  absl::flat_hash_map<absl::string_view, const PickleNode*> by_name;
  for (size_t i = 0; i + 1 < entries.items.size(); i += 2) {
    by_name[entries.items[i]->text] = entries.items[i + 1];
  }
  std::vector<std::pair<absl::string_view, const PickleNode*>> ordered;
  const auto add = [&](const PickleNode& dict) {
    for (size_t i = 0; i + 1 < dict.items.size(); i += 2) {
      const auto it = by_name.find(dict.items[i]->text);
      if (it == by_name.end()) continue;
      ordered.emplace_back(*it);
      by_name.erase(it);
    }
  };
  if (planner != nullptr) add(*planner);
  add(entries);
  return ordered;
}

}  // namespace

absl::StatusOr<DcpMetadata> ParseDcpMetadata(std::string bytes) {
  WINDLASS_ASSIGN_OR_RETURN(const Pickle pickle,
                            Pickle::Parse(std::move(bytes), IsDcpClass));
  const PickleNode& root = pickle.root();
  if (!IsA(root, "Metadata")) {
    return Invalid(root.Describe(), "the metadata of a checkpoint");
  }
  WINDLASS_ASSIGN_OR_RETURN(const PickleNode* const entries,
                            DictMember(root, "state_dict_metadata"));
  WINDLASS_ASSIGN_OR_RETURN(const PickleNode* const storage,
                            DictMember(root, "storage_data"));
  if (entries == nullptr || storage == nullptr) {
    return Invalid("metadata without entries or their places", "both");
  }
  BlobFinder blobs;
  for (size_t i = 0; i + 1 < storage->items.size(); i += 2) {
    WINDLASS_RETURN_IF_ERROR(
        blobs.Add(*storage->items[i], *storage->items[i + 1]));
  }
  for (size_t i = 0; i + 1 < entries->items.size(); i += 2) {
    if (entries->items[i]->Is(Kind::kString)) continue;
    return Invalid(entries->items[i]->Describe(), "an entry's name");
  }
  const PickleNode* planner = root.Attribute("planner_data");
  if (planner != nullptr && !planner->Is(Kind::kDict)) planner = nullptr;
  DcpMetadata metadata;
  for (const auto& [name, entry] : InOrder(*entries, planner)) {
    if (IsA(*entry, "BytesStorageMetadata")) {
      absl::StatusOr<std::optional<DcpBlob>> blob = blobs.FindObject(name);
      if (!blob.ok()) {
        return Annotate(blob.status(), "object \"", absl::CHexEscape(name),
                        "\"");
      }
      metadata.objects.push_back({std::string(name), *std::move(blob)});
      continue;
    }
    absl::StatusOr<DcpTensor> tensor =
        IsA(*entry, "TensorStorageMetadata")
            ? ReadTensor(name, *entry, blobs)
            : Invalid(entry->Describe(), "a tensor or an object");
    if (!tensor.ok()) {
      return Annotate(tensor.status(), "tensor \"", absl::CHexEscape(name),
                      "\"");
    }
    metadata.tensors.push_back(*std::move(tensor));
  }
  return metadata;
}

}  // namespace windlass
