#include "windlass/io/in_place.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "windlass/core/json.h"
#include "windlass/core/status_macros.h"
#include "windlass/io/digests.h"
#include "windlass/io/parallel.h"
#include "windlass/io/unfinished.h"

namespace windlass {
namespace {

constexpr int64_t kMaxJournalBytes = int64_t{1} << 32;

struct Journal {
  std::string tag;
  InPlacePlan plan;
};

std::string Serialize(const Journal& journal) {
  Json json;
  json["tag"] = journal.tag;
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
  for (const InPlaceFile& file : journal.plan.closing) {
    json["closing"].push_back({{"name", file.name},
                               {"before", absl::Base64Escape(file.before)},
                               {"after", absl::Base64Escape(file.after)}});
  }
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// A field that must be there.
template <typename T>
bool Get(const Json& json, const char* field, T* out) {
  if (!json.is_object() || !json.contains(field)) return false;
  const Json& value = json[field];
  if constexpr (std::is_same_v<T, std::string>) {
    if (!value.is_string()) return false;
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
  return Get(json, "name", name) && IsFileName(*name) && !IsOurs(*name);
}

// Whether an edit's parts fit each other: the new beginning takes the room of
// the old one, of what is moved, and of what is inserted.
bool IsWhole(const InPlaceEdit& edit) {
  const int64_t old_bytes = edit.old_start.size();
  const int64_t moved = edit.moved.size();
  return old_bytes + moved <= edit.size &&
         static_cast<int64_t>(edit.new_start.size()) ==
             old_bytes + moved + edit.insert;
}

std::optional<Journal> Parse(const Json& json) {
  Journal journal;
  absl::flat_hash_set<std::string> names;
  if (!Get(json, "tag", &journal.tag) || !json.contains("edits") ||
      !json.contains("closing")) {
    return std::nullopt;
  }
  for (const Json& item : json["edits"]) {
    InPlaceEdit edit;
    if (!GetName(item, &edit.name) || !GetSize(item, "size", &edit.size) ||
        !GetSize(item, "insert", &edit.insert) ||
        !GetBytes(item, "moved", &edit.moved) ||
        !GetBytes(item, "old_start", &edit.old_start) ||
        !GetBytes(item, "new_start", &edit.new_start) || !IsWhole(edit) ||
        !names.insert(edit.name).second) {
      return std::nullopt;
    }
    journal.plan.edits.push_back(std::move(edit));
  }
  for (const Json& item : json["closing"]) {
    InPlaceFile file;
    if (!GetName(item, &file.name) || !GetBytes(item, "before", &file.before) ||
        !GetBytes(item, "after", &file.after) ||
        !names.insert(file.name).second) {
      return std::nullopt;
    }
    journal.plan.closing.push_back(std::move(file));
  }
  return journal;
}

// The journal of that name; nullopt where there is none.
absl::StatusOr<std::optional<Journal>> ReadJournal(const Location& folder,
                                                   absl::string_view name) {
  const std::string path = JoinPath(folder.path, name);
  const absl::StatusOr<std::string> text =
      ReadFile(*folder.storage, path, kMaxJournalBytes);
  if (absl::IsNotFound(text.status())) return std::optional<Journal>();
  if (!text.ok()) return text.status();
  const absl::StatusOr<Json> json = ParseJson(*text);
  if (!json.ok()) return Annotate(json.status(), path);
  std::optional<Journal> journal = Parse(*json);
  if (journal.has_value()) return journal;
  return absl::InvalidArgumentError(
      absl::StrCat(path, ": expected a journal of Windlass"));
}

// The states of a file on its way, as its size and its beginning tell them.
enum class EditState {
  kNotBegun,  // as it was before
  kBegun,     // has all its room; its beginning is old, new, or part of each
  kChanged,   // none of these: it is not the file that the plan is for
};

// Whether each byte of `found` is that of one of the texts.
bool IsMix(absl::string_view found, absl::string_view a, absl::string_view b) {
  for (size_t i = 0; i < found.size(); ++i) {
    const bool known = (i < a.size() && found[i] == a[i]) ||
                       (i < b.size() && found[i] == b[i]);
    if (!known) return false;
  }
  return true;
}

absl::StatusOr<std::string> ReadPart(EditableFile& file, int64_t begin,
                                     int64_t size) {
  std::string part(size, '\0');
  WINDLASS_RETURN_IF_ERROR(
      file.ReadAt(begin, absl::MakeSpan(&part[0], part.size())));
  return part;
}

absl::StatusOr<EditState> FindState(const InPlaceEdit& edit,
                                    EditableFile& file) {
  // What the new beginning will cover.
  const std::string covered = edit.old_start + edit.moved;
  const int64_t covered_bytes = covered.size();
  if (file.size() == edit.size && edit.size >= covered_bytes) {
    WINDLASS_ASSIGN_OR_RETURN(const std::string found,
                              ReadPart(file, 0, covered_bytes));
    if (found == covered) return EditState::kNotBegun;
  }
  const int64_t room = edit.size + edit.insert;
  const int64_t new_bytes = edit.new_start.size();
  if (file.size() < room || file.size() > edit.size_after() ||
      file.size() < new_bytes || new_bytes < edit.insert) {
    return EditState::kChanged;
  }
  // Before they are written, inserted bytes may hold anything.
  const int64_t begin = edit.insert;
  WINDLASS_ASSIGN_OR_RETURN(const std::string found,
                            ReadPart(file, begin, new_bytes - begin));
  WINDLASS_ASSIGN_OR_RETURN(const std::string appended,
                            ReadPart(file, room, file.size() - room));
  const bool ours =
      IsMix(found, covered, absl::string_view(edit.new_start).substr(begin)) &&
      IsMix(appended, edit.moved, std::string(appended.size(), '\0'));
  return ours ? EditState::kBegun : EditState::kChanged;
}

absl::Status Changed(const std::string& path) {
  return absl::FailedPreconditionError(absl::StrCat(
      path,
      ": found another file than the conversion in place was planned for"));
}

absl::Status CannotInsert(const absl::Status& status) {
  return absl::FailedPreconditionError(
      absl::StrCat(status.message(), "; convert into another folder instead"));
}

// Whether a plan, begun or not, can be carried out on what stands there: all is
// looked at before a byte is written.
absl::Status CheckFiles(const InPlacePlan& plan, const Location& folder) {
  for (const InPlaceEdit& edit : plan.edits) {
    const std::string path = JoinPath(folder.path, edit.name);
    WINDLASS_ASSIGN_OR_RETURN(const auto file,
                              folder.storage->OpenForEdit(path));
    WINDLASS_ASSIGN_OR_RETURN(const EditState state, FindState(edit, *file));
    if (state == EditState::kChanged) return Changed(path);
    if (state == EditState::kBegun || edit.insert == 0) continue;
    const absl::Status can = file->CheckInsert(edit.insert);
    if (absl::IsUnimplemented(can)) return CannotInsert(can);
    WINDLASS_RETURN_IF_ERROR(can);
  }
  for (const InPlaceFile& file : plan.closing) {
    const std::string path = JoinPath(folder.path, file.name);
    const auto found = ReadFile(*folder.storage, path, kMaxJournalBytes);
    if (!found.ok()) return found.status();
    if (*found != file.before && *found != file.after) return Changed(path);
  }
  return absl::OkStatus();
}

// Brings one file to its new state from wherever it is.
absl::Status Apply(const InPlaceEdit& edit, const Location& folder, bool sync) {
  if (edit.old_start == edit.new_start) return absl::OkStatus();
  const std::string path = JoinPath(folder.path, edit.name);
  WINDLASS_ASSIGN_OR_RETURN(const auto file, folder.storage->OpenForEdit(path));
  WINDLASS_ASSIGN_OR_RETURN(const EditState state, FindState(edit, *file));
  if (state == EditState::kChanged) return Changed(path);
  if (state == EditState::kNotBegun && edit.insert > 0) {
    WINDLASS_RETURN_IF_ERROR(file->InsertAtFront(edit.insert));
  }
  WINDLASS_RETURN_IF_ERROR(file->WriteAt(edit.size + edit.insert, edit.moved));
  WINDLASS_RETURN_IF_ERROR(file->WriteAt(0, edit.new_start));
  return sync ? file->Sync() : absl::OkStatus();
}

// Carries out what the folder's journal says, and makes a record of it.
absl::Status Finish(const InPlacePlan& plan, const Location& folder,
                    bool sync) {
  const std::vector<InPlaceEdit>& edits = plan.edits;
  // One that inserts goes first, alone: should the file system refuse after
  // all, nothing has changed.
  if (!edits.empty()) {
    WINDLASS_RETURN_IF_ERROR(Apply(edits[0], folder, sync));
  }
  WINDLASS_RETURN_IF_ERROR(
      ParallelFor(static_cast<int>(edits.size()) - 1,
                  [&](int i) { return Apply(edits[i + 1], folder, sync); }));
  for (const InPlaceFile& file : plan.closing) {
    WINDLASS_RETURN_IF_ERROR(WriteFile(
        *folder.storage, JoinPath(folder.path, file.name), file.after, sync));
  }
  if (sync) {
    WINDLASS_RETURN_IF_ERROR(folder.storage->SyncDirectory(folder.path));
  }
  WINDLASS_RETURN_IF_ERROR(
      folder.storage->Rename(JoinPath(folder.path, kJournalName),
                             JoinPath(folder.path, kConvertedName)));
  return sync ? folder.storage->SyncDirectory(folder.path) : absl::OkStatus();
}

// Where a tensor's bytes lie: only names change, so this tells which it is.
using Place = std::pair<const ByteSource*, int64_t>;

Place PlaceOf(const Tensor& tensor) {
  const Extent extent = *tensor.source()->Verbatim();
  return {extent.source.get(), extent.offset};
}

// The digests of the tensors under their new names, where the folder has some.
absl::StatusOr<std::optional<InPlaceFile>> RenameDigests(
    const StateDict& tensors, const Checkpoint& input) {
  const std::string path = JoinPath(input.folder.path, kDigestsName);
  const auto text = ReadFile(*input.folder.storage, path, kMaxJournalBytes);
  if (absl::IsNotFound(text.status())) return std::optional<InPlaceFile>();
  if (!text.ok()) return text.status();
  const absl::StatusOr<Digests> old = ParseDigests(*text);
  if (!old.ok()) return Annotate(old.status(), path);
  absl::flat_hash_map<Place, std::string> names;
  for (const auto& [name, tensor] : input.tensors) {
    if (tensor.bytes() > 0) names[PlaceOf(tensor)] = name;
  }
  Digests renamed{old->kind, {}};
  for (const auto& [name, tensor] : tensors) {
    const auto known = names.find(PlaceOf(tensor));
    const auto digest = old->tensors.find(
        tensor.bytes() > 0 && known != names.end() ? known->second : name);
    if (digest == old->tensors.end()) continue;
    renamed.tensors[name] = {tensor.dtype(), tensor.shape(),
                             digest->second.digest};
  }
  return InPlaceFile{kDigestsName, *text, SerializeDigests(renamed)};
}

}  // namespace

absl::StatusOr<InPlacePlan> PlanInPlace(const StateDict& tensors,
                                        const Checkpoint& input) {
  WINDLASS_ASSIGN_OR_RETURN(InPlacePlan plan,
                            input.format->PlanInPlace(tensors, input));
  WINDLASS_ASSIGN_OR_RETURN(std::optional<InPlaceFile> digests,
                            RenameDigests(tensors, input));
  if (digests.has_value()) plan.closing.push_back(*std::move(digests));
  absl::c_stable_sort(plan.edits,
                      [](const InPlaceEdit& a, const InPlaceEdit& b) {
                        return a.insert > b.insert;
                      });
  WINDLASS_RETURN_IF_ERROR(CheckFiles(plan, input.folder));
  return plan;
}

absl::Status RenameInPlace(const InPlacePlan& plan, const Location& folder,
                           absl::string_view tag, bool sync) {
  WINDLASS_RETURN_IF_ERROR(CheckFiles(plan, folder));
  WINDLASS_RETURN_IF_ERROR(
      WriteFile(*folder.storage, JoinPath(folder.path, kJournalName),
                Serialize(Journal{std::string(tag), plan}), sync));
  if (sync) {
    WINDLASS_RETURN_IF_ERROR(folder.storage->SyncDirectory(folder.path));
  }
  absl::Status done = Finish(plan, folder, sync);
  if (!absl::IsUnimplemented(done)) return done;
  folder.storage->Remove(JoinPath(folder.path, kJournalName)).IgnoreError();
  return CannotInsert(done);
}

absl::StatusOr<bool> FinishInPlace(const Location& folder,
                                   absl::string_view tag, bool sync) {
  WINDLASS_ASSIGN_OR_RETURN(const std::optional<Journal> journal,
                            ReadJournal(folder, kJournalName));
  if (!journal.has_value()) return false;
  if (journal->tag != tag) {
    return absl::FailedPreconditionError(absl::StrCat(
        folder.path, ": found an unfinished conversion in place (",
        journal->tag, "), expected ", tag, "; run that one again first"));
  }
  WINDLASS_RETURN_IF_ERROR(CheckFiles(journal->plan, folder));
  WINDLASS_RETURN_IF_ERROR(Finish(journal->plan, folder, sync));
  return true;
}

absl::StatusOr<bool> IsConvertedInPlace(const Checkpoint& checkpoint,
                                        absl::string_view tag) {
  WINDLASS_ASSIGN_OR_RETURN(const std::optional<Journal> record,
                            ReadJournal(checkpoint.folder, kConvertedName));
  if (!record.has_value() || record->tag != tag) return false;
  absl::flat_hash_map<absl::string_view, const InPlaceEdit*> edits;
  for (const InPlaceEdit& edit : record->plan.edits) edits[edit.name] = &edit;
  if (edits.size() != checkpoint.shards.size()) return false;
  for (const Shard& shard : checkpoint.shards) {
    const auto it = edits.find(shard.name);
    if (it == edits.end() || shard.file->size() != it->second->size_after()) {
      return false;
    }
    const std::string& start = it->second->new_start;
    WINDLASS_ASSIGN_OR_RETURN(const std::string found,
                              ReadRange(*shard.file, 0, start.size()));
    if (found != start) return false;
  }
  return true;
}

}  // namespace windlass
