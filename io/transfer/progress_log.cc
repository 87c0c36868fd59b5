#include "windlass/io/transfer/progress_log.h"

#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "windlass/core/json.h"
#include "windlass/core/status_macros.h"
#include "windlass/io/transfer/digest.h"

namespace windlass {
namespace {

constexpr int64_t kMaxLogBytes = 1 << 30;

std::string LogPath(const Location& directory) {
  return JoinPath(directory.path, kProgressLogName);
}

std::string Line(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string FileLine(const std::string& name, const FileRecord& record) {
  Json json;
  json["file"] = name;
  json["size"] = record.size;
  json["checksum"] = record.checksum;
  Json digests = Json::array();
  for (const auto& [tensor, digest] : record.digests) {
    digests.push_back({tensor, digest});
  }
  json["digests"] = digests;
  return Line(json);
}

// False where the line is none of ours.
bool ParseFileLine(const Json& json, FileRecords* files) {
  if (!json.is_object() || !json.contains("file") ||
      !json["file"].is_string() || !json.contains("size") ||
      !json["size"].is_number_integer() || !json.contains("checksum") ||
      !json["checksum"].is_string() || !json.contains("digests") ||
      !json["digests"].is_array()) {
    return false;
  }
  FileRecord record;
  record.size = json["size"].get<int64_t>();
  record.checksum = json["checksum"].get<std::string>();
  for (const Json& pair : json["digests"]) {
    if (!pair.is_array() || pair.size() != 2 || !pair[0].is_string() ||
        !pair[1].is_string()) {
      return false;
    }
    record.digests.emplace_back(pair[0].get<std::string>(),
                                pair[1].get<std::string>());
  }
  (*files)[json["file"].get<std::string>()] = std::move(record);
  return true;
}

}  // namespace

std::string PlanHash(const TransferPlan& plan, absl::string_view tag) {
  const auto digest = Digest::Create(DigestKind::kSha256);
  auto add = [&digest](absl::string_view text) {
    const std::string length = absl::StrCat(text.size(), ":");
    digest->Update(absl::MakeConstSpan(length.data(), length.size()));
    digest->Update(absl::MakeConstSpan(text.data(), text.size()));
  };
  // A source is described once, and by its number after that.
  absl::flat_hash_map<const ByteSource*, size_t> numbers;
  auto add_extent = [&](const Extent& extent) {
    auto [it, fresh] = numbers.emplace(extent.source.get(), numbers.size());
    add(absl::StrCat(it->second, " ", extent.offset, " ", extent.size));
    if (!fresh) return true;
    add(extent.source->name());
    const auto* file = dynamic_cast<const ReadableFile*>(extent.source.get());
    const FileIdentity identity =
        file != nullptr ? file->identity()
                        : FileIdentity{extent.source->size(), 0, 0};
    add(absl::StrCat(identity.size, " ", identity.modified_ns, " ",
                     identity.inode));
    return true;
  };
  add(tag);
  for (const PlannedFile& file : plan.files) {
    add(file.name);
    add(file.header);
    add(absl::StrCat(file.size));
    for (const PlannedTensor& tensor : file.tensors) {
      add(absl::StrCat(tensor.offset));
      tensor.tensor.source()->VisitInputs(add_extent);
    }
  }
  for (const ClosingFile& file : plan.closing) {
    add(file.name);
    add(file.contents);
  }
  return digest->Finish();
}

absl::StatusOr<LoggedProgress> ReadProgressLog(const Location& directory) {
  WINDLASS_ASSIGN_OR_RETURN(
      const std::string text,
      ReadFile(*directory.storage, LogPath(directory), kMaxLogBytes));
  LoggedProgress progress;
  bool first = true;
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const absl::StatusOr<Json> json = ParseJson(line);
    if (!json.ok()) break;
    if (!first) {
      if (!ParseFileLine(*json, &progress.files)) break;
      continue;
    }
    first = false;
    if (!json->is_object()) break;
    progress.plan_hash = json->value("plan", "");
    progress.overwrite = json->value("overwrite", false);
  }
  return progress;
}

absl::StatusOr<std::unique_ptr<ProgressLog>> ProgressLog::Create(
    const Location& directory, const LoggedProgress& start, bool sync) {
  WINDLASS_ASSIGN_OR_RETURN(auto file,
                            directory.storage->Create(LogPath(directory)));
  std::unique_ptr<ProgressLog> log(new ProgressLog(std::move(file), sync));
  Json json;
  json["plan"] = start.plan_hash;
  json["overwrite"] = start.overwrite;
  WINDLASS_RETURN_IF_ERROR(log->Write(Line(json)));
  for (const auto& [name, record] : start.files) {
    WINDLASS_RETURN_IF_ERROR(log->Append(name, record));
  }
  if (sync) {
    WINDLASS_RETURN_IF_ERROR(directory.storage->SyncDirectory(directory.path));
  }
  return log;
}

absl::Status ProgressLog::Append(const std::string& name,
                                 const FileRecord& record) {
  return Write(FileLine(name, record));
}

absl::Status ProgressLog::Write(const std::string& line) {
  const std::lock_guard<std::mutex> lock(mutex_);
  WINDLASS_RETURN_IF_ERROR(
      file_->WriteAt(size_, absl::MakeConstSpan(line.data(), line.size())));
  size_ += line.size();
  return sync_ ? file_->Sync() : absl::OkStatus();
}

}  // namespace windlass
