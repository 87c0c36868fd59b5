#include "windlass/io/in_place.h"

#include <memory>
#include <optional>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "windlass/core/json.h"
#include "windlass/core/status_macros.h"
#include "windlass/io/parallel.h"

namespace windlass {
namespace {

constexpr int64_t kMaxJournalBytes = int64_t{1} << 32;

struct Journal {
  std::string tag;
  bool finished = false;
  InPlacePlan plan;
};

std::string Serialize(const Journal& journal) {
  Json json;
  json["tag"] = journal.tag;
  json["finished"] = journal.finished;
  json["edits"] = Json::array();
  for (const InPlaceEdit& edit : journal.plan.edits) {
    Json item;
    item["name"] = edit.name;
    item["size"] = edit.size;
    item["insert"] = edit.insert;
    item["moved"] = absl::Base64Escape(edit.moved);
    item["old_start"] = absl::Base64Escape(edit.old_start);
    item["new_start"] = absl::Base64Escape(edit.new_start);
    json["edits"].push_back(std::move(item));
  }
  json["closing"] = Json::array();
  for (const ClosingFile& file : journal.plan.closing) {
    json["closing"].push_back(
        {{"name", file.name}, {"contents", absl::Base64Escape(file.contents)}});
  }
  return json.dump();
}

// A field that must be there.
template <typename T>
bool Get(const Json& json, const char* field, T* out) {
  if (!json.is_object() || !json.contains(field)) return false;
  const Json& value = json[field];
  if constexpr (std::is_same_v<T, std::string>) {
    if (!value.is_string()) return false;
  } else if constexpr (std::is_same_v<T, bool>) {
    if (!value.is_boolean()) return false;
  } else {
    if (!value.is_number_integer()) return false;
  }
  *out = value.get<T>();
  return true;
}

bool GetBytes(const Json& json, const char* field, std::string* out) {
  std::string text;
  return Get(json, field, &text) && absl::Base64Unescape(text, out);
}

// Far beyond any file, and far from where a sum overflows.
constexpr int64_t kMaxBytes = int64_t{1} << 60;

bool GetSize(const Json& json, const char* field, int64_t* size) {
  return Get(json, field, size) && *size >= 0 && *size <= kMaxBytes;
}

bool GetName(const Json& json, std::string* name) {
  return Get(json, "name", name) && IsFileName(*name);
}

std::optional<Journal> Parse(const Json& json) {
  Journal journal;
  if (!Get(json, "tag", &journal.tag) ||
      !Get(json, "finished", &journal.finished) || !json.contains("edits") ||
      !json.contains("closing")) {
    return std::nullopt;
  }
  for (const Json& item : json["edits"]) {
    InPlaceEdit edit;
    if (!GetName(item, &edit.name) || !GetSize(item, "size", &edit.size) ||
        !GetSize(item, "insert", &edit.insert) ||
        !GetBytes(item, "moved", &edit.moved) ||
        !GetBytes(item, "old_start", &edit.old_start) ||
        !GetBytes(item, "new_start", &edit.new_start)) {
      return std::nullopt;
    }
    journal.plan.edits.push_back(std::move(edit));
  }
  for (const Json& item : json["closing"]) {
    ClosingFile file;
    if (!GetName(item, &file.name) ||
        !GetBytes(item, "contents", &file.contents)) {
      return std::nullopt;
    }
    journal.plan.closing.push_back(std::move(file));
  }
  return journal;
}

std::string JournalPath(const Location& folder) {
  return JoinPath(folder.path, kJournalName);
}

absl::Status WriteJournal(const Journal& journal, const Location& folder,
                          bool sync) {
  WINDLASS_RETURN_IF_ERROR(WriteFile(*folder.storage, JournalPath(folder),
                                     Serialize(journal), sync));
  if (!sync) return absl::OkStatus();
  return folder.storage->SyncDirectory(folder.path);
}

absl::StatusOr<bool> StartsWith(EditableFile& file, const std::string& start) {
  if (file.size() < static_cast<int64_t>(start.size())) return false;
  std::string found(start.size(), '\0');
  WINDLASS_RETURN_IF_ERROR(
      file.ReadAt(0, absl::MakeSpan(&found[0], found.size())));
  return found == start;
}

// Brings one file to its new state from wherever it is.
absl::Status Apply(const InPlaceEdit& edit, const Location& folder, bool sync) {
  const std::string path = JoinPath(folder.path, edit.name);
  WINDLASS_ASSIGN_OR_RETURN(const auto file, folder.storage->OpenForEdit(path));
  if (file->size() == edit.size && edit.insert > 0) {
    WINDLASS_RETURN_IF_ERROR(file->InsertAtFront(edit.insert));
  }
  // A run that was killed may have appended a part.
  if (file->size() < edit.size + edit.insert ||
      file->size() > edit.size_after()) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": found ", file->size(), " bytes, expected ",
                     edit.size, " or ", edit.size_after(),
                     "; the file was changed since the conversion began"));
  }
  WINDLASS_RETURN_IF_ERROR(file->WriteAt(edit.size + edit.insert, edit.moved));
  WINDLASS_RETURN_IF_ERROR(file->WriteAt(0, edit.new_start));
  return sync ? file->Sync() : absl::OkStatus();
}

// The first file alone, since it tells whether the file system can insert; the
// others side by side.
absl::Status ApplyAll(const std::vector<InPlaceEdit>& edits,
                      const Location& folder, bool sync) {
  if (edits.empty()) return absl::OkStatus();
  WINDLASS_RETURN_IF_ERROR(Apply(edits[0], folder, sync));
  std::vector<absl::Status> done(edits.size());
  ParallelFor(static_cast<int>(edits.size()) - 1,
              [&](int i) { done[i + 1] = Apply(edits[i + 1], folder, sync); });
  for (const absl::Status& status : done) {
    if (absl::IsUnimplemented(status)) {
      return absl::FailedPreconditionError(status.message());
    }
    WINDLASS_RETURN_IF_ERROR(status);
  }
  return absl::OkStatus();
}

absl::Status Finish(Journal journal, const Location& folder, bool sync) {
  WINDLASS_RETURN_IF_ERROR(ApplyAll(journal.plan.edits, folder, sync));
  for (const ClosingFile& file : journal.plan.closing) {
    WINDLASS_RETURN_IF_ERROR(WriteFile(*folder.storage,
                                       JoinPath(folder.path, file.name),
                                       file.contents, sync));
  }
  journal.finished = true;
  return WriteJournal(journal, folder, sync);
}

// Whether every file is as a finished journal left it.
bool StillFinished(const Journal& journal, const Location& folder) {
  for (const InPlaceEdit& edit : journal.plan.edits) {
    const auto file =
        folder.storage->OpenForEdit(JoinPath(folder.path, edit.name));
    if (!file.ok() || (*file)->size() != edit.size_after()) return false;
    const auto same = StartsWith(**file, edit.new_start);
    if (!same.ok() || !*same) return false;
  }
  return true;
}

}  // namespace

absl::Status StartInPlace(const InPlacePlan& plan, const Location& folder,
                          absl::string_view tag, bool sync) {
  // Whatever can be known to fail fails here, before anything is written.
  for (const InPlaceEdit& edit : plan.edits) {
    const std::string path = JoinPath(folder.path, edit.name);
    WINDLASS_ASSIGN_OR_RETURN(const auto file,
                              folder.storage->OpenForEdit(path));
    WINDLASS_ASSIGN_OR_RETURN(const bool same,
                              StartsWith(*file, edit.old_start));
    if (!same || file->size() != edit.size) {
      return absl::FailedPreconditionError(
          absl::StrCat(path, ": the file was changed while it was read"));
    }
  }
  Journal journal{std::string(tag), /*finished=*/false, plan};
  absl::c_stable_sort(journal.plan.edits,
                      [](const InPlaceEdit& a, const InPlaceEdit& b) {
                        return a.insert > b.insert;
                      });
  WINDLASS_RETURN_IF_ERROR(WriteJournal(journal, folder, sync));
  absl::Status status = Finish(journal, folder, sync);
  // The first insertion tells whether the file system can; nothing has changed
  // where it cannot.
  if (absl::IsUnimplemented(status)) {
    folder.storage->Remove(JournalPath(folder)).IgnoreError();
    return absl::FailedPreconditionError(absl::StrCat(
        status.message(), "; convert into another folder instead"));
  }
  return status;
}

absl::StatusOr<InPlaceState> ResumeInPlace(const Location& folder,
                                           absl::string_view tag, bool sync) {
  const std::string path = JournalPath(folder);
  const absl::StatusOr<std::string> text =
      ReadFile(*folder.storage, path, kMaxJournalBytes);
  if (absl::IsNotFound(text.status())) return InPlaceState::kNone;
  if (!text.ok()) return text.status();
  const absl::StatusOr<Json> json = ParseJson(*text);
  if (!json.ok()) return Annotate(json.status(), path);
  std::optional<Journal> journal = Parse(*json);
  if (!journal.has_value()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": not a journal"));
  }
  if (journal->finished) {
    return journal->tag == tag && StillFinished(*journal, folder)
               ? InPlaceState::kFinished
               : InPlaceState::kNone;
  }
  if (journal->tag != tag) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": found an unfinished conversion (", journal->tag,
                     "), expected ", tag, "; run that one again first"));
  }
  WINDLASS_RETURN_IF_ERROR(Finish(*std::move(journal), folder, sync));
  return InPlaceState::kFinished;
}

}  // namespace windlass
