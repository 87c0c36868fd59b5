#include "windlass/io/torch/archive.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/types/span.h"
#include "windlass/core/assemble.h"
#include "windlass/core/leading_bytes.h"
#include "windlass/core/status_macros.h"
#include "windlass/io/torch/classes.h"

namespace windlass {
namespace {

using Kind = PickleNode::Kind;

// A tensor takes a hundred bytes of a pickle; a few million of them fit.
constexpr int64_t kMaxPickleBytes = int64_t{1} << 28;

// How much of a file of pickles is read at first to find where one ends.
constexpr int64_t kWindowBytes = int64_t{1} << 16;

// 0x1950a86a20f9469cfc6c, by which a file of before PyTorch 1.6 begins.
constexpr absl::string_view kLegacyMagic =
    "\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
constexpr int64_t kLegacyProtocol = 1001;

absl::Status Invalid(absl::string_view found, absl::string_view expected) {
  return absl::InvalidArgumentError(
      absl::StrCat("found ", found, ", expected ", expected));
}

// A part of a source whose ends are in memory: there lies nearly all that is
// read of an archive, in small pieces. Offsets are the source's.
class EndsInMemory : public ByteSource {
 public:
  static absl::StatusOr<std::shared_ptr<const EndsInMemory>> Create(
      const Extent& bytes) {
    std::shared_ptr<EndsInMemory> ends(new EndsInMemory);
    ends->source_ = bytes.source;
    const int64_t head = std::min(bytes.size, kEndBytes);
    const int64_t tail = std::min(bytes.size - head, kEndBytes);
    WINDLASS_RETURN_IF_ERROR(ends->head_.Read(bytes, bytes.offset, head));
    WINDLASS_RETURN_IF_ERROR(
        ends->tail_.Read(bytes, bytes.offset + bytes.size - tail, tail));
    return ends;
  }

  const std::string& name() const override { return source_->name(); }
  int64_t size() const override { return source_->size(); }

  absl::Status ReadAt(int64_t offset, absl::Span<char> out) const override {
    for (const End* end : {&head_, &tail_}) {
      if (end->Copy(offset, out)) return absl::OkStatus();
    }
    return source_->ReadAt(offset, out);
  }

  absl::string_view head() const { return head_.bytes; }

 private:
  // An archive of one tensor has some hundred bytes at either end.
  static constexpr int64_t kEndBytes = 4096;

  struct End {
    absl::Status Read(const Extent& all, int64_t from, int64_t size) {
      begin = from;
      WINDLASS_ASSIGN_OR_RETURN(bytes, ReadRange(*all.source, from, size));
      return absl::OkStatus();
    }

    bool Copy(int64_t offset, absl::Span<char> out) const {
      const int64_t size = out.size();
      const int64_t has = bytes.size();
      if (offset < begin || size > has || offset - begin > has - size) {
        return false;
      }
      std::copy_n(bytes.data() + (offset - begin), size, out.data());
      return true;
    }

    int64_t begin = 0;
    std::string bytes;
  };

  EndsInMemory() = default;

  std::shared_ptr<const ByteSource> source_;
  End head_;
  End tail_;
};

// The pickle that begins at `begin`; reads more of the file until it is whole.
absl::StatusOr<Pickle> ReadPickle(const Extent& bytes, int64_t begin) {
  const int64_t most = std::min(bytes.size - begin, kMaxPickleBytes);
  for (int64_t size = std::min(most, kWindowBytes);;
       size = std::min(most, size * 8)) {
    WINDLASS_ASSIGN_OR_RETURN(
        std::string text, ReadRange(*bytes.source, bytes.offset + begin, size));
    absl::StatusOr<Pickle> pickle =
        Pickle::Parse(std::move(text), IsTorchClass);
    if (pickle.ok() || size == most ||
        pickle.status().code() != absl::StatusCode::kOutOfRange) {
      return pickle;
    }
  }
}

// A storage as a pickle refers to it: ("storage", class, key, location, size)
// and, in old files, (key, offset, size) of a part of it.
struct StorageId {
  std::string key;
  std::optional<DType> dtype;  // nullopt for bytes
  int64_t bytes = 0;
  int64_t view_begin = 0;  // in bytes
  int64_t view_bytes = 0;
};

absl::StatusOr<StorageId> ReadStorageId(const PickleNode& node) {
  const PickleNode* const id = node.callee;
  if (!node.Is(Kind::kPersistent) || !id->Is(Kind::kTuple) ||
      id->items.size() < 5 || !id->items[0]->Is(Kind::kString) ||
      id->items[0]->text != "storage" || !id->items[1]->Is(Kind::kClass) ||
      !id->items[2]->Is(Kind::kString) || !id->items[4]->Is(Kind::kInt) ||
      id->items[4]->integer < 0) {
    return Invalid(node.Describe(), "a storage and its size");
  }
  StorageId storage;
  WINDLASS_ASSIGN_OR_RETURN(storage.dtype, StorageDType(id->items[1]->text));
  storage.key = std::string(id->items[2]->text);
  const int64_t element =
      storage.dtype.has_value() ? DTypeBytes(*storage.dtype) : 1;
  if (__builtin_mul_overflow(id->items[4]->integer, element, &storage.bytes)) {
    return Invalid("a storage of too many bytes", "a smaller one");
  }
  storage.view_bytes = storage.bytes;
  if (id->items.size() < 6 || id->items[5]->Is(Kind::kNone)) return storage;
  const PickleNode& view = *id->items[5];
  if (!view.Is(Kind::kTuple) || view.items.size() != 3 ||
      !view.items[1]->Is(Kind::kInt) || !view.items[2]->Is(Kind::kInt)) {
    return Invalid(view.Describe(), "the part of a storage");
  }
  const int64_t begin = view.items[1]->integer;
  const int64_t size = view.items[2]->integer;
  const int64_t all = storage.bytes / element;
  if (begin < 0 || begin > all || size < 0 || size > all - begin) {
    return Invalid("a part that its storage does not have", "one within it");
  }
  storage.view_begin = begin * element;
  storage.view_bytes = size * element;
  return storage;
}

// How a tensor is made: the function, and what it is given.
struct Rebuild {
  absl::string_view function;
  absl::Span<const PickleNode* const> arguments;
};

// Takes off what wraps a tensor: parameters, and types that are tensors alone.
Rebuild Unwrap(const PickleNode* node) {
  Rebuild rebuild;
  while (node->Is(Kind::kObject)) {
    const auto arguments = node->arguments->items;
    rebuild = {node->callee->text, arguments};
    if (absl::StartsWith(rebuild.function, "torch._utils._rebuild_parameter") &&
        !arguments.empty()) {
      node = arguments[0];
      rebuild = {};
      continue;
    }
    if (rebuild.function == "torch._tensor._rebuild_from_type_v2" &&
        arguments.size() >= 3 && arguments[0]->Is(Kind::kClass) &&
        arguments[1]->Is(Kind::kClass) && IsTensorType(arguments[1]->text) &&
        arguments[2]->Is(Kind::kTuple)) {
      return {arguments[0]->text, arguments[2]->items};
    }
    return rebuild;
  }
  return rebuild;
}

// A bit that says that the numbers are to be read otherwise (conj, neg).
bool HasTrueFlag(const PickleNode& metadata) {
  for (size_t i = 1; i < metadata.items.size(); i += 2) {
    const PickleNode& value = *metadata.items[i];
    if (!value.Is(Kind::kBool) || value.integer != 0) return true;
  }
  return false;
}

}  // namespace

absl::StatusOr<Shape> ReadShape(const PickleNode& node) {
  const PickleNode* tuple = &node;
  if (node.IsObject("torch.Size")) {
    // torch.Size() is that of a scalar.
    tuple = node.arguments;
    if (!tuple->items.empty()) tuple = tuple->items[0];
  }
  if (!tuple->Is(Kind::kTuple) && !tuple->Is(Kind::kList)) {
    return Invalid(tuple->Describe(), "a tuple of integers");
  }
  Shape shape;
  for (const PickleNode* item : tuple->items) {
    if (!item->Is(Kind::kInt) || item->integer < 0) {
      return Invalid(absl::StrCat(item->Describe(), " in a tuple"),
                     "integers that are not negative");
    }
    shape.push_back(item->integer);
  }
  return shape;
}

absl::StatusOr<TorchArchive> TorchArchive::Open(const Extent& bytes) {
  WINDLASS_ASSIGN_OR_RETURN(const auto ends, EndsInMemory::Create(bytes));
  const absl::string_view leading = ends->head().substr(0, kLeadingBytes);
  TorchArchive archive;
  archive.bytes_ = bytes;
  if (IsZip(leading)) {
    WINDLASS_RETURN_IF_ERROR(
        archive.OpenZip(Extent{ends, bytes.offset, bytes.size}));
    return archive;
  }
  if (absl::StartsWith(leading, "\x80")) {
    WINDLASS_RETURN_IF_ERROR(archive.OpenLegacy());
    return archive;
  }
  const std::string what = DescribeLeadingBytes(leading);
  return Invalid(what.empty() ? "neither a zip archive nor a pickle" : what,
                 "what torch.save writes");
}

absl::Status TorchArchive::OpenZip(const Extent& bytes) {
  WINDLASS_ASSIGN_OR_RETURN(zip_, ZipArchive::Open(bytes));
  constexpr absl::string_view kPickle = "/data.pkl";
  std::vector<absl::string_view> folders;
  for (const auto& [name, entry] : zip_->entries()) {
    absl::string_view folder = name;
    if (absl::ConsumeSuffix(&folder, kPickle) &&
        !absl::StrContains(folder, "/")) {
      folders.push_back(folder);
    }
  }
  if (folders.size() != 1) {
    return Invalid(
        absl::StrCat("a zip archive with ", folders.size(), " data.pkl"),
        "one in a folder, as torch.save writes it");
  }
  folder_ = std::string(folders[0]);
  if (zip_->FindEntry(absl::StrCat(folder_, "/constants.pkl")) != nullptr) {
    return Invalid("a TorchScript archive, which holds a program",
                   "a state dict");
  }
  const absl::StatusOr<Extent> order =
      zip_->Find(absl::StrCat(folder_, "/byteorder"));
  if (order.ok()) {
    WINDLASS_ASSIGN_OR_RETURN(const std::string text,
                              ReadRange(*order->source, order->offset,
                                        std::min<int64_t>(order->size, 16)));
    if (text != "little") {
      return Invalid(absl::StrCat("numbers in the byte order \"",
                                  absl::CHexEscape(text), "\""),
                     "little");
    }
  } else if (!absl::IsNotFound(order.status())) {
    return order.status();
  }
  WINDLASS_ASSIGN_OR_RETURN(const Extent pickle,
                            zip_->Find(absl::StrCat(folder_, kPickle)));
  if (pickle.size > kMaxPickleBytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat("data.pkl has ", pickle.size, " bytes, expected ",
                     kMaxPickleBytes, " at most"));
  }
  WINDLASS_ASSIGN_OR_RETURN(
      std::string text, ReadRange(*pickle.source, pickle.offset, pickle.size));
  absl::StatusOr<Pickle> parsed = Pickle::Parse(std::move(text), IsTorchClass);
  if (!parsed.ok()) return Annotate(parsed.status(), "data.pkl");
  pickle_ = std::make_unique<const Pickle>(*std::move(parsed));
  return absl::OkStatus();
}

// Five pickles (the magic number, the version, what the machine was, the
// object, the storages' keys), and each storage with its length before it.
absl::Status TorchArchive::OpenLegacy() {
  std::vector<Pickle> pickles;
  int64_t position = 0;
  for (int i = 0; i < 5; ++i) {
    WINDLASS_ASSIGN_OR_RETURN(Pickle pickle, ReadPickle(bytes_, position));
    position += static_cast<int64_t>(pickle.size());
    const PickleNode& root = pickle.root();
    if (i == 0 && !(root.Is(Kind::kLong) && root.text == kLegacyMagic)) {
      return Invalid(absl::StrCat("a pickle of ", root.Describe()),
                     "what torch.save writes");
    }
    if (i == 1 && !(root.Is(Kind::kInt) && root.integer == kLegacyProtocol)) {
      return Invalid("an unknown version of the format",
                     absl::StrCat("version ", kLegacyProtocol));
    }
    const PickleNode* const little =
        i == 2 ? root.Find("little_endian") : nullptr;
    if (i == 2 && (little == nullptr || little->integer == 0)) {
      return Invalid("numbers of a big-endian machine", "little-endian ones");
    }
    pickles.push_back(std::move(pickle));
  }
  pickle_ = std::make_unique<const Pickle>(std::move(pickles[3]));
  return FindLegacyStorages(position, pickles[4]);
}

absl::Status TorchArchive::FindLegacyStorages(int64_t begin,
                                              const Pickle& keys) {
  absl::flat_hash_map<std::string, StorageId> ids;
  for (const PickleNode& node : pickle_->nodes()) {
    if (!node.Is(Kind::kPersistent)) continue;
    WINDLASS_ASSIGN_OR_RETURN(StorageId id, ReadStorageId(node));
    const auto [it, is_new] = ids.try_emplace(id.key, id);
    if (!is_new && it->second.bytes != id.bytes) {
      return Invalid(absl::StrCat("the storage ", absl::CHexEscape(id.key),
                                  " in two sizes"),
                     "one");
    }
  }
  if (!keys.root().Is(Kind::kList)) {
    return Invalid(keys.root().Describe(), "a list of storages");
  }
  for (const PickleNode* key : keys.root().items) {
    const auto id = ids.find(key->text);
    if (!key->Is(Kind::kString) || id == ids.end()) {
      return Invalid("a storage that no tensor has", "only those in use");
    }
    if (bytes_.size - begin < 8) {
      return absl::DataLossError(
          "found the end before all storages; the file was truncated");
    }
    begin += 8;  // its elements, which the pickle has too
    if (id->second.bytes > bytes_.size - begin) {
      return absl::DataLossError(absl::StrCat(
          "found the end in the storage ", absl::CHexEscape(key->text), " of ",
          id->second.bytes, " bytes; the file was truncated"));
    }
    legacy_.emplace(key->text, Extent{bytes_.source, bytes_.offset + begin,
                                      id->second.bytes});
    begin += id->second.bytes;
  }
  if (begin == bytes_.size) return absl::OkStatus();
  return Invalid(
      absl::StrCat(bytes_.size - begin, " bytes behind the storages"),
      "the end");
}

absl::StatusOr<Tensor> TorchArchive::GetStorage(
    const PickleNode& node, std::optional<DType> dtype) const {
  WINDLASS_ASSIGN_OR_RETURN(const StorageId id, ReadStorageId(node));
  if (!dtype.has_value()) dtype = id.dtype;
  if (!dtype.has_value()) {
    return Invalid("a storage of bytes alone", "a dtype beside it");
  }
  Extent extent;
  if (zip_.has_value()) {
    WINDLASS_ASSIGN_OR_RETURN(
        extent, zip_->Find(absl::StrCat(folder_, "/data/", id.key)));
    extent.source = bytes_.source;
  } else {
    const auto it = legacy_.find(id.key);
    if (it == legacy_.end()) {
      return absl::NotFoundError(absl::StrCat(
          "found no storage ", absl::CHexEscape(id.key), " in the file"));
    }
    extent = it->second;
  }
  if (extent.size < id.bytes) {
    return Invalid(absl::StrCat("a storage ", absl::CHexEscape(id.key), " of ",
                                extent.size, " bytes"),
                   absl::StrCat(id.bytes));
  }
  const int64_t elements = id.view_bytes / DTypeBytes(*dtype);
  extent.offset += id.view_begin;
  extent.size = elements * DTypeBytes(*dtype);
  return Tensor::FromExtent(*dtype, {elements}, std::move(extent));
}

bool TorchArchive::IsTensor(const PickleNode& node) {
  return node.Is(Kind::kObject) &&
         (absl::StartsWith(node.callee->text, "torch._utils._rebuild_") ||
          absl::StartsWith(node.callee->text, "torch._tensor._rebuild_"));
}

absl::StatusOr<Tensor> TorchArchive::GetTensor(const PickleNode& node) const {
  const Rebuild rebuild = Unwrap(&node);
  const bool v1 = rebuild.function == "torch._utils._rebuild_tensor";
  const bool v2 = rebuild.function == "torch._utils._rebuild_tensor_v2";
  const bool v3 = rebuild.function == "torch._utils._rebuild_tensor_v3";
  if (!v1 && !v2 && !v3) {
    absl::string_view kind = rebuild.function;
    absl::ConsumePrefix(&kind, "torch._utils._rebuild_");
    return Invalid(kind.empty() ? node.Describe()
                                : absl::StrCat("a tensor of another kind (",
                                               absl::CHexEscape(kind), ")"),
                   "a dense tensor");
  }
  // storage, offset, size, strides, requires_grad, hooks; the dtype in v3; what
  // else there is to say.
  const auto arguments = rebuild.arguments;
  const size_t count = v1 ? 4 : v2 ? 6 : 7;
  if (arguments.size() < count || !arguments[1]->Is(Kind::kInt) ||
      (v3 && !arguments[6]->Is(Kind::kClass))) {
    return Invalid("a tensor without what makes one",
                   "a storage, an offset, a shape and strides");
  }
  if (arguments.size() > count && HasTrueFlag(*arguments[count])) {
    return Invalid("a conjugated or negated view", "a plain tensor");
  }
  std::optional<DType> dtype;
  if (v3) {
    dtype = ParseTorchDType(arguments[6]->text);
    if (!dtype.has_value()) {
      return Invalid(absl::StrCat("the dtype ", arguments[6]->text),
                     "one that safetensors has too");
    }
  }
  WINDLASS_ASSIGN_OR_RETURN(const Tensor storage,
                            GetStorage(*arguments[0], dtype));
  WINDLASS_ASSIGN_OR_RETURN(Shape shape, ReadShape(*arguments[2]));
  WINDLASS_ASSIGN_OR_RETURN(const Shape strides, ReadShape(*arguments[3]));
  return Strided(storage, std::move(shape), strides, arguments[1]->integer);
}

}  // namespace windlass
