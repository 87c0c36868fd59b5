#include "windlass/tests/fuzz/targets.h"

#include <stdlib.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "windlass/adapters/rules/rules.h"
#include "windlass/adapters/rules/write_rules.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/assemble.h"
#include "windlass/core/byte_source.h"
#include "windlass/core/dtype.h"
#include "windlass/core/json.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/model_config.h"
#include "windlass/core/tensor.h"
#include "windlass/core/tensor_ops.h"
#include "windlass/io/checkpoint.h"
#include "windlass/io/dcp/metadata.h"
#include "windlass/io/digests.h"
#include "windlass/io/in_place.h"
#include "windlass/io/pickle/pickle.h"
#include "windlass/io/published.h"
#include "windlass/io/safetensors/header.h"
#include "windlass/io/safetensors/index.h"
#include "windlass/io/safetensors/sharding_info.h"
#include "windlass/io/storage/storage.h"
#include "windlass/io/torch/archive.h"
#include "windlass/io/torch/find_state_dict.h"
#include "windlass/io/torch/zip.h"

namespace windlass {
namespace {

// Ends the program, so that whoever watches keeps what led here.
void Expect(bool holds, absl::string_view what) {
  if (holds) return;
  std::fprintf(stderr, "expected %s\n", std::string(what).c_str());
  std::abort();
}

Extent Whole(std::string bytes) {
  const int64_t size = static_cast<int64_t>(bytes.size());
  return {std::make_shared<MemorySource>(std::move(bytes)), 0, size};
}

// The parts that the first bytes of value 0 end; the last one has the rest.
std::vector<std::string> Split(const std::string& bytes, int parts) {
  std::vector<std::string> found;
  size_t begin = 0;
  for (; parts > 1; --parts) {
    const size_t end = std::min(bytes.find('\0', begin), bytes.size());
    found.push_back(bytes.substr(begin, end - begin));
    begin = std::min(end + 1, bytes.size());
  }
  found.push_back(bytes.substr(begin));
  return found;
}

// The first piece; a view may be of any size.
void ReadSome(const Tensor& tensor) {
  const absl::StatusOr<int64_t> bytes =
      ByteSize(tensor.dtype(), tensor.shape());
  Expect(bytes.ok() && *bytes == tensor.bytes(), "a tensor of its shape");
  const int64_t size = std::min<int64_t>(tensor.bytes(), 1 << 16);
  std::string out(size, '\0');
  if (size == 0) return;
  tensor.source()->Read(Region{0, size}, &out[0], size).IgnoreError();
}

// A tensor that lies verbatim lies within its file.
void CheckWithin(const Tensor& tensor, int64_t size) {
  const auto extent = tensor.source()->Verbatim();
  if (!extent.has_value()) return;
  Expect(extent->offset >= 0 && extent->offset <= size &&
             extent->size == tensor.bytes() &&
             extent->size <= size - extent->offset,
         "a tensor within its file");
}

void RunPickle(std::string bytes) {
  const size_t size = bytes.size();
  const absl::StatusOr<Pickle> pickle =
      Pickle::Parse(std::move(bytes), [](absl::string_view) { return true; });
  if (!pickle.ok()) return;
  Expect(pickle->size() <= size, "a pickle within its bytes");
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

void RunZip(std::string bytes) {
  const int64_t size = static_cast<int64_t>(bytes.size());
  const absl::StatusOr<ZipArchive> archive =
      ZipArchive::Open(Whole(std::move(bytes)));
  if (!archive.ok()) return;
  for (const auto& [name, entry] : archive->entries()) {
    const absl::StatusOr<Extent> extent = archive->Find(name);
    if (!extent.ok()) continue;
    Expect(extent->size == entry.size && extent->offset >= 0 &&
               extent->size <= size - extent->offset,
           "an entry within its archive");
  }
}

void RunTorch(std::string bytes) {
  const int64_t size = static_cast<int64_t>(bytes.size());
  const absl::StatusOr<TorchArchive> archive =
      TorchArchive::Open(Whole(std::move(bytes)));
  if (!archive.ok()) return;
  const absl::StatusOr<FoundStateDict> found =
      FindStateDict(archive->root(), "");
  if (!found.ok()) return;
  for (const auto& [name, node] : found->tensors) {
    const absl::StatusOr<Tensor> tensor = archive->GetTensor(*node);
    if (!tensor.ok()) continue;
    CheckWithin(*tensor, size);
    ReadSome(*tensor);
  }
}

// Files of before PyTorch 1.6 alone, which RunTorch rarely comes to.
void RunLegacyTorch(std::string bytes) {
  if (!bytes.empty() && bytes[0] == '\x80') RunTorch(std::move(bytes));
}

void RunDcpMetadata(std::string bytes) {
  const absl::StatusOr<DcpMetadata> metadata =
      ParseDcpMetadata(std::move(bytes));
  if (!metadata.ok()) return;
  absl::flat_hash_set<absl::string_view> names;
  for (const DcpTensor& tensor : metadata->tensors) {
    Expect(names.insert(tensor.name).second, "each name once");
    std::vector<Box> boxes;
    for (const DcpChunk& chunk : tensor.chunks) {
      Expect(IsFileName(chunk.blob.file) && chunk.blob.offset >= 0 &&
                 chunk.blob.size >= 0,
             "a range of a file of the folder");
      const absl::StatusOr<Tensor> box = Fill(tensor.dtype, chunk.shape, 0);
      if (box.ok()) boxes.push_back({chunk.offsets, *box});
    }
    const absl::StatusOr<Tensor> whole =
        Assemble(tensor.dtype, tensor.shape, boxes);
    if (whole.ok()) ReadSome(*whole);
  }
}

bool IsSame(const SafetensorsHeader& a, const SafetensorsHeader& b) {
  return a.metadata == b.metadata &&
         std::equal(a.tensors.begin(), a.tensors.end(), b.tensors.begin(),
                    b.tensors.end(),
                    [](const SafetensorsEntry& x, const SafetensorsEntry& y) {
                      return x.name == y.name && x.dtype == y.dtype &&
                             x.shape == y.shape && x.begin == y.begin &&
                             x.end == y.end;
                    });
}

void RunSafetensors(std::string bytes) {
  const MemorySource file(std::move(bytes));
  const absl::StatusOr<SafetensorsHeader> header = ReadSafetensorsHeader(file);
  if (!header.ok()) return;
  int64_t end = 0;
  absl::flat_hash_set<absl::string_view> names;
  for (const SafetensorsEntry& entry : header->tensors) {
    const absl::StatusOr<int64_t> size = ByteSize(entry.dtype, entry.shape);
    Expect(entry.begin == end && size.ok() && entry.end - entry.begin == *size,
           "data without hole or overlap");
    Expect(names.insert(entry.name).second, "each name once");
    end = entry.end;
  }
  Expect(header->data_begin + end == file.size(), "data that fill the file");
  const std::string again =
      SerializeSafetensorsHeader(header->metadata, header->tensors);
  const absl::StatusOr<SafetensorsHeader> reread =
      ParseSafetensorsHeader(absl::string_view(again).substr(8), end);
  Expect(reread.ok() && IsSame(*header, *reread), "the same header again");
}

// Two parsers of JSON have to agree.
void RunIndex(std::string bytes) {
  const absl::StatusOr<WeightMap> index = ParseWeightMap(bytes);
  if (!index.ok()) return;
  for (const std::string& file : index->files) {
    Expect(IsFileName(file), "the name of a file in this folder");
  }
  const absl::StatusOr<Json> json = ParseJson(bytes);
  Expect(json.ok() && json->is_object(), "JSON for both parsers");
  // Of names that come twice, the other one keeps the last.
  std::map<std::string, std::string> files;
  for (const WeightMap::Entry& entry : index->entries) {
    files[std::string(index->NameOf(entry))] = index->files.at(entry.file);
  }
  const Json& map = (*json)["weight_map"];
  Expect(files.size() == map.size(), "as many tensors for both parsers");
  for (const auto& [name, file] : files) {
    const std::string found = map.at(name).get<std::string>();
    Expect(found == file || (absl::StartsWith(found, "./") &&
                             absl::EndsWith(found, absl::StrCat("/", file))),
           "the same file for both parsers");
  }
  for (const auto& [name, text] : index->metadata) {
    Expect(ParseJson(text).ok(), "metadata that are JSON");
  }
}

void RunShardingInfo(std::string bytes) {
  const absl::StatusOr<ShardingInfo> info = ParseShardingInfo(bytes);
  if (!info.ok()) return;
  for (const auto& [name, offsets] : *info) {
    for (const int64_t offset : offsets) {
      Expect(offset >= 0, "offsets that are not negative");
    }
  }
  const absl::StatusOr<ShardingInfo> again =
      ParseShardingInfo(WriteShardingInfo(*info));
  Expect(again.ok() && *again == *info, "the same info again");
}

void RunDigests(std::string bytes) {
  const absl::StatusOr<Digests> digests = ParseDigests(bytes);
  if (!digests.ok()) return;
  for (const auto& [name, tensor] : digests->tensors) {
    Expect(ByteSize(tensor.dtype, tensor.shape).ok(), "tensors that can be");
  }
  const std::string written = SerializeDigests(*digests);
  const absl::StatusOr<Digests> again = ParseDigests(written);
  Expect(again.ok() && SerializeDigests(*again) == written &&
             again->tensors.size() == digests->tensors.size(),
         "the same digests again");
}

void RemoveMembers(const char* name, Json* json) {
  if (json->is_object()) json->erase(name);
  for (Json& item : *json) {
    if (item.is_structured()) RemoveMembers(name, &item);
  }
}

void RunConfig(std::string bytes) {
  const absl::StatusOr<ModelConfig> config = ModelConfig::Parse(bytes);
  if (!config.ok()) return;
  config->Architectures().IgnoreError();
  config->ModelType().IgnoreError();
  config->FindDType().IgnoreError();
  config->AnnouncesExperts();
  config->Section("text_config.linear_attn_config").GetDType().IgnoreError();
  constexpr char kRemoved[] = "quantization_config";
  Json expected = ParseJson(bytes).value();
  RemoveMembers(kRemoved, &expected);
  const absl::StatusOr<Json> edited =
      ParseJson(WithoutMembers(bytes, kRemoved));
  Expect(edited.ok() && *edited == expected, "the same text less a member");
}

void RunRules(std::string bytes) {
  const absl::StatusOr<AdapterInfo> info = ParseRules(bytes, "rules");
  if (!info.ok()) return;
  const absl::StatusOr<ModelConfig> config =
      ModelConfig::Parse(info->example_config);
  Expect(config.ok(), "an example config");
  const auto adapter = AdapterRegistry::Create(*info, *config, JsonFields());
  if (!adapter.ok()) return;
  const WrittenRules written = WriteRules("fuzz", "", **adapter);
  Expect(written.left_out.empty(), "rules that can be written");
  const absl::StatusOr<AdapterInfo> again = ParseRules(written.text, "again");
  Expect(again.ok(), "rules that are read again");
  const auto other = AdapterRegistry::Create(*again, *config, JsonFields());
  Expect(other.ok() && WriteRules("fuzz", "", **other).text == written.text,
         "the same rules again");
}

// The two mappings of .hf_metadata, one behind the other.
void RunPublished(std::string bytes) {
  const std::vector<std::string> names = {"fqn_to_file_index_mapping.json",
                                          "fqn_to_dtype_mapping.json"};
  const Location folder = *ResolveLocation("mem://fuzz/.hf_metadata");
  const std::vector<std::string> texts = Split(bytes, 2);
  for (size_t i = 0; i < names.size(); ++i) {
    const std::string path = JoinPath(folder.path, names[i]);
    Expect(WriteFile(*folder.storage, path, texts[i], false).ok(), "room");
  }
  const absl::StatusOr<Published> published = ReadPublished(folder, names);
  if (!published.ok()) return;
  absl::flat_hash_set<absl::string_view> seen;
  for (const auto& [name, number] : published->files) {
    Expect(number >= 1 && number <= published->file_count(),
           "the number of a file");
    Expect(seen.insert(name).second, "each name once");
  }
  const Json files = ParseJson(texts[0]).value();
  const Json dtypes = ParseJson(texts[1]).value();
  Expect(files.size() == published->files.size() &&
             dtypes.size() == published->dtypes.size(),
         "every tensor of the mappings");
}

// A folder on disk: in memory nothing is edited in place.
class JournalFolder {
 public:
  JournalFolder() {
    std::string path =
        (std::filesystem::temp_directory_path() / "windlass-XXXXXX").string();
    Expect(::mkdtemp(&path[0]) != nullptr, "a folder");
    folder_ = *ResolveLocation(path);
  }
  ~JournalFolder() { std::filesystem::remove_all(folder_.path); }

  const Location& folder() const { return folder_; }

  void Write(const char* name, const std::string& contents) const {
    const std::string path = JoinPath(folder_.path, name);
    Expect(WriteFile(*folder_.storage, path, contents, false).ok(), "room");
  }

  std::string Read(const char* name) const {
    return ReadFile(*folder_.storage, JoinPath(folder_.path, name), 1 << 24)
        .value();
  }

 private:
  Location folder_;
};

// A journal, the one shard "f", and the index "i".
void RunJournal(std::string bytes) {
  static const JournalFolder on_disk;
  const char* const names[] = {".windlass-journal", "i", "f"};
  const std::vector<std::string> files = Split(bytes, 3);
  for (int i = 0; i < 3; ++i) on_disk.Write(names[i], files[i]);
  const absl::StatusOr<bool> done =
      FinishInPlace(on_disk.folder(), "tag", false);
  if (!done.ok()) {
    // What is refused is refused before a byte is written.
    Expect(on_disk.Read("i") == files[1] && on_disk.Read("f") == files[2],
           "nothing written");
    return;
  }
  Expect(*done, "a journal to be found");
  Expect(!*FinishInPlace(on_disk.folder(), "tag", false), "no journal now");
  // Carried out again, it changes nothing.
  const std::string index = on_disk.Read("i");
  const std::string shard = on_disk.Read("f");
  on_disk.Write(names[0], files[0]);
  Expect(FinishInPlace(on_disk.folder(), "tag", false).ok() &&
             on_disk.Read("i") == index && on_disk.Read("f") == shard,
         "the same again");
}

// Whole folders: files one behind the other, each with its name's number, two
// bytes of size, and its contents.
constexpr const char* kFileNames[] = {
    ".metadata",
    "__0_0.distcp",
    "__1_0.distcp",
    "shard-00001-model-00001-of-00001.safetensors",
    "shard-00002-model-00001-of-00001.safetensors",
    "shard-00003-model-00001-of-00001.safetensors",
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
    "model.safetensors.index.json",
    "pytorch_model-00001-of-00002.bin",
    "pytorch_model-00002-of-00002.bin",
    "pytorch_model.bin.index.json",
    "model.bin",
    "adapter_model.safetensors",
    "config.json",
    ".hf_metadata/config.json",
    ".hf_metadata/fqn_to_file_index_mapping.json",
    ".hf_metadata/fqn_to_dtype_mapping.json"};

void RunCheckpoint(std::string bytes) {
  const Location folder = *ResolveLocation("mem://fuzz/checkpoint");
  absl::flat_hash_set<std::string> written;
  for (size_t at = 0; at + 3 <= bytes.size();) {
    const auto byte = [&](size_t i) { return static_cast<uint8_t>(bytes[i]); };
    const size_t size = std::min<size_t>(byte(at + 1) | byte(at + 2) << 8,
                                         bytes.size() - at - 3);
    const std::string path =
        JoinPath(folder.path, kFileNames[byte(at) % std::size(kFileNames)]);
    Expect(WriteFile(*folder.storage, path, bytes.substr(at + 3, size), false)
               .ok(),
           "room");
    written.insert(path);
    at += 3 + size;
  }
  {
    const absl::StatusOr<Checkpoint> found =
        OpenCheckpoint("mem://fuzz/checkpoint");
    if (found.ok()) {
      for (const auto& [name, tensor] : found->tensors) ReadSome(tensor);
      for (const std::string& name : found->side_files) {
        const std::string path = SideFilePath(*found, name);
        Expect(written.contains(path), "a side file that is there");
      }
    }
  }
  for (const std::string& path : written) {
    Expect(folder.storage->Remove(path).ok(), "a file to remove");
  }
}

constexpr FuzzTarget kTargets[] = {
    {"checkpoint", RunCheckpoint},
    {"config", RunConfig},
    {"dcp_metadata", RunDcpMetadata},
    {"digests", RunDigests},
    {"index", RunIndex},
    {"journal", RunJournal},
    {"legacy_torch", RunLegacyTorch},
    {"pickle", RunPickle},
    {"published", RunPublished},
    {"rules", RunRules},
    {"safetensors", RunSafetensors},
    {"sharding_info", RunShardingInfo},
    {"torch", RunTorch},
    {"zip", RunZip},
};

}  // namespace

absl::Span<const FuzzTarget> FuzzTargets() { return kTargets; }

}  // namespace windlass
