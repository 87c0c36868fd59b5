#include "windlass/io/inspection.h"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <tuple>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "windlass/core/dtype.h"
#include "windlass/core/model_config.h"
#include "windlass/core/status_macros.h"
#include "windlass/io/model_config_file.h"
#include "windlass/io/safetensors/index.h"
#include "windlass/io/storage/storage.h"

namespace windlass {
namespace {

constexpr int64_t kMaxIndexBytes = int64_t{1} << 30;

// Which shards hold a tensor's bytes.
class ShardFinder {
 public:
  explicit ShardFinder(const std::vector<Shard>& shards) {
    for (size_t i = 0; i < shards.size(); ++i) {
      shard_of_.emplace(shards[i].file.get(), static_cast<int>(i));
    }
  }

  void Find(InspectedTensor* tensor) const {
    std::vector<int> found;
    tensor->tensor->source()->VisitInputs([&](const Extent& extent) {
      const auto it = shard_of_.find(extent.source.get());
      if (it != shard_of_.end() && !absl::c_linear_search(found, it->second)) {
        found.push_back(it->second);
      }
      return true;
    });
    tensor->shards = static_cast<int>(found.size());
    if (!found.empty()) tensor->shard = found[0];
  }

 private:
  absl::flat_hash_map<const ByteSource*, int> shard_of_;
};

// How codes and their scales are called: how a name ends, and what stands there
// instead.
struct ScaleName {
  const char* codes;
  const char* scales;
};
constexpr ScaleName kScaleNames[] = {
    {"", "_scale_inv"},  // DeepSeek, Qwen, Mistral
    {"", "_scale"},      // compressed-tensors, ModelOpt, FBGEMM
    {"weight_packed", "weight_scale"},
    {"_blocks", "_scales"},  // GPT-OSS
    {"qweight", "scales"},   // GPTQ, AWQ
    {"weight", "scale"},     // DeepSeek-V4
    {"", ".absmax"},         // bitsandbytes, 4 bits
    {"weight", "SCB"},       // bitsandbytes, 8 bits
};

std::string ScalesOf(absl::string_view name, const StateDict& tensors) {
  for (const ScaleName& row : kScaleNames) {
    if (!absl::EndsWith(name, row.codes)) continue;
    std::string scales = absl::StrCat(
        name.substr(0, name.size() - absl::string_view(row.codes).size()),
        row.scales);
    if (tensors.Contains(scales)) return scales;
  }
  return "";
}

// Whether elements may be codes: what is too narrow for weights, or packs
// several of them.
bool MayBeCodes(DType dtype) {
  return DTypeBits(dtype) <= 8 || dtype == DType::kI32;
}

// Narrow floats are codes also where nothing scales them.
bool AreCodes(DType dtype) {
  return IsFloat(dtype) && DTypeBits(dtype) <= 8 && dtype != DType::kF8E8M0;
}

void FindQuantised(const StateDict& tensors,
                   std::vector<InspectedTensor>* inspected) {
  absl::flat_hash_set<absl::string_view> scales;
  for (InspectedTensor& tensor : *inspected) {
    if (!MayBeCodes(tensor.tensor->dtype())) continue;
    tensor.scales = ScalesOf(tensor.name, tensors);
    if (!tensor.scales.empty()) scales.insert(tensor.scales);
  }
  for (InspectedTensor& tensor : *inspected) {
    if (!MayBeCodes(tensor.tensor->dtype())) continue;
    // Scales may have scales in their turn, and be floats as narrow.
    tensor.quantised =
        !scales.contains(tensor.name) &&
        (!tensor.scales.empty() || AreCodes(tensor.tensor->dtype()));
  }
}

std::vector<FileMetadata> CollectMetadata(const std::vector<Shard>& shards) {
  std::vector<FileMetadata> metadata;
  absl::flat_hash_map<std::pair<absl::string_view, absl::string_view>, size_t>
      known;
  for (const Shard& shard : shards) {
    for (const auto& [key, value] : shard.metadata) {
      const auto [it, is_new] = known.try_emplace(
          std::make_pair(absl::string_view(key), absl::string_view(value)),
          metadata.size());
      if (is_new) metadata.push_back({key, value, 0});
      ++metadata[it->second].files;
    }
  }
  return metadata;
}

// Names with the same bytes, as formats have them that know of views; and those
// that safetensors' save_model leaves out and names in the metadata.
std::vector<TiedTensor> FindTied(const Inspection& inspection) {
  const StateDict& tensors = inspection.checkpoint.tensors;
  std::vector<TiedTensor> tied;
  absl::flat_hash_map<std::tuple<const ByteSource*, int64_t, int64_t>,
                      absl::string_view>
      first;
  first.reserve(tensors.size());
  for (const auto& [name, tensor] : tensors) {
    const auto extent = tensor.source()->Verbatim();
    if (!extent.has_value() || extent->size == 0) continue;
    const auto [it, is_new] = first.try_emplace(
        std::make_tuple(extent->source.get(), extent->offset, extent->size),
        name);
    if (is_new) continue;
    tied.push_back({name, std::string(it->second), "the same bytes"});
  }
  for (const FileMetadata& item : inspection.metadata) {
    if (tensors.Contains(item.value) && !tensors.Contains(item.key)) {
      tied.push_back({item.key, item.value, "the files' metadata"});
    }
  }
  return tied;
}

// The embeddings that a head is tied to.
constexpr char kHead[] = "lm_head.weight";
constexpr char kEmbeddings[] = "embed_tokens.weight";

absl::Status ReadConfig(Inspection* inspection) {
  const Location& folder = inspection->checkpoint.folder;
  const Location location{folder.storage,
                          SideFilePath(inspection->checkpoint, kConfigName)};
  WINDLASS_ASSIGN_OR_RETURN(const Storage::Kind kind,
                            folder.storage->GetKind(location.path));
  if (kind == Storage::Kind::kMissing) return absl::OkStatus();
  WINDLASS_ASSIGN_OR_RETURN(const ModelConfig config,
                            ReadModelConfig(location));
  for (const char* field : {"quantization_config", "compression_config"}) {
    if (!config.Has(field)) continue;
    const auto method =
        config.FieldsWith(field).GetObject(field).GetString("quant_method");
    inspection->quantisation = method.ok() ? *method : field;
  }
  WINDLASS_ASSIGN_OR_RETURN(const bool is_tied,
                            config.GetBoolOr("tie_word_embeddings", false));
  const StateDict& tensors = inspection->checkpoint.tensors;
  if (!is_tied || tensors.Contains(kHead)) return absl::OkStatus();
  for (const auto& [name, tensor] : tensors) {
    if (!absl::EndsWith(name, kEmbeddings)) continue;
    const bool is_known = absl::c_any_of(
        inspection->tied,
        [](const TiedTensor& tied) { return tied.name == kHead; });
    if (!is_known) inspection->tied.push_back({kHead, name, kConfigName});
    break;
  }
  return absl::OkStatus();
}

// The index that was passed over, of "model.safetensors.index.json" and the
// like: one for files that are called as the shards are, the usual one or the
// only one.
absl::StatusOr<std::string> FindIndexName(const Checkpoint& checkpoint) {
  if (checkpoint.shards.empty()) return std::string();
  WINDLASS_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                            ListNames(checkpoint.folder));
  const std::string& shard = checkpoint.shards[0].name;
  const std::string end = absl::StrCat(
      shard.substr(std::min(shard.rfind('.'), shard.size())), ".index.json");
  std::vector<std::string> found;
  for (const std::string& name : names) {
    if (!absl::EndsWith(name, end)) continue;
    if (name == absl::StrCat("model", end)) return name;
    found.push_back(name);
  }
  return found.size() == 1 ? found[0] : std::string();
}

// Holds an index that could not be followed against the files.
absl::Status CompareIndex(Inspection* inspection) {
  const Checkpoint& checkpoint = inspection->checkpoint;
  WINDLASS_ASSIGN_OR_RETURN(const std::string name, FindIndexName(checkpoint));
  if (name.empty()) return absl::OkStatus();
  WINDLASS_ASSIGN_OR_RETURN(
      const std::string text,
      ReadFile(*checkpoint.folder.storage,
               JoinPath(checkpoint.folder.path, name), kMaxIndexBytes));
  WINDLASS_ASSIGN_OR_RETURN(const WeightMap map, ParseWeightMap(text));
  absl::flat_hash_map<absl::string_view, absl::string_view> file_of;
  for (const WeightMap::Entry& entry : map.entries) {
    file_of.emplace(map.NameOf(entry), map.files[entry.file]);
  }
  IndexFindings& findings = inspection->index;
  for (const InspectedTensor& tensor : inspection->tensors) {
    const auto it = file_of.find(tensor.name);
    if (it == file_of.end()) {
      findings.unlisted.emplace_back(tensor.name);
      continue;
    }
    if (tensor.shard >= 0 &&
        checkpoint.shards[tensor.shard].name != it->second) {
      findings.misplaced.emplace_back(tensor.name);
    }
    file_of.erase(it);
  }
  for (const WeightMap::Entry& entry : map.entries) {
    if (file_of.erase(map.NameOf(entry)) > 0) {
      findings.missing.emplace_back(map.NameOf(entry));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Inspection> Inspect(absl::string_view uri, OpenOptions options) {
  Inspection inspection;
  absl::StatusOr<Checkpoint> opened = OpenCheckpoint(uri, options);
  const absl::Status problem = opened.status();
  if (!problem.ok()) {
    options.ignore_index = true;
    opened = OpenCheckpoint(uri, options);
    if (!opened.ok()) return problem;
    inspection.problems.emplace_back(problem.message());
  }
  inspection.checkpoint = *std::move(opened);
  const Checkpoint& checkpoint = inspection.checkpoint;
  const ShardFinder finder(checkpoint.shards);
  inspection.tensors.reserve(checkpoint.tensors.size());
  for (const auto& [name, tensor] : checkpoint.tensors) {
    InspectedTensor& inspected = inspection.tensors.emplace_back();
    inspected.name = name;
    inspected.tensor = &tensor;
    finder.Find(&inspected);
  }
  FindQuantised(checkpoint.tensors, &inspection.tensors);
  inspection.metadata = CollectMetadata(checkpoint.shards);
  inspection.tied = FindTied(inspection);
  for (const absl::Status& status :
       {ReadConfig(&inspection),
        problem.ok() ? absl::OkStatus() : CompareIndex(&inspection)}) {
    if (status.ok()) continue;
    inspection.problems.emplace_back(status.message());
  }
  return inspection;
}

}  // namespace windlass
