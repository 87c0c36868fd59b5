#include "windlass/io/side_files.h"

#include <algorithm>
#include <cstdint>

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "windlass/core/leading_bytes.h"
#include "windlass/core/status_macros.h"
#include "windlass/io/unfinished.h"

namespace windlass {
namespace {

// Settings, tokenizers, templates, code.
constexpr absl::string_view kEndings[] = {
    ".json",     ".jinja", ".jinja2", ".py",    ".txt",  ".model",
    ".tiktoken", ".bpe",   ".spm",    ".vocab", ".codes"};

// tokenizer.model.v3 and the like, as Mistral numbers them.
constexpr absl::string_view kVersionedModel = ".model.v";

constexpr absl::string_view kNames[] = {
    "spk_dict.pt",  // the voices of Qwen2.5-Omni
};

// What says whose the model is. Case does not matter: LICENSE, Notice.txt.
constexpr absl::string_view kPaperBeginnings[] = {
    "readme",  "license",   "licence",   "notice",
    "copying", "copyright", "use_policy"};

// JSON that describes weights, or that this project wrote about them.
constexpr absl::string_view kNotSideFiles[] = {"windlass_digests.json"};
constexpr absl::string_view kIndexMark = ".index.";  // NAME.index.fp16.json

constexpr absl::string_view kTemplates = "additional_chat_templates";

// Such folders hold the other modules of a sentence-transformers model, weights
// included ("2_Dense/model.safetensors"): "1_Pooling".
bool IsModuleFolder(absl::string_view name) {
  const size_t digits =
      absl::c_find_if_not(name, absl::ascii_isdigit) - name.begin();
  return digits > 0 && digits + 1 < name.size() && name[digits] == '_';
}

bool GoesAlongFrom(absl::string_view folder, absl::string_view name) {
  if (absl::StartsWith(name, ".")) return false;
  if (folder == kTemplates) return absl::EndsWith(name, ".jinja");
  return IsSideFileName(name) || absl::EndsWith(name, ".safetensors") ||
         absl::EndsWith(name, ".bin");
}

bool HasKnownEnding(absl::string_view name) {
  return absl::c_any_of(kEndings,
                        [name](absl::string_view ending) {
                          return absl::EndsWith(name, ending);
                        }) ||
         absl::StrContains(name, kVersionedModel) ||
         absl::c_linear_search(kNames, name);
}

bool IsPaper(absl::string_view name) {
  return absl::c_any_of(kPaperBeginnings, [name](absl::string_view beginning) {
    return absl::StartsWithIgnoreCase(name, beginning);
  });
}

// A page of text may begin like a web page; nothing that a program reads does.
bool MayBeWebPage(absl::string_view name) {
  return absl::EndsWith(name, ".txt") || absl::StrContains(name, ".jinja") ||
         IsPaper(name);
}

absl::Status CheckContents(const ReadableFile& file, absl::string_view name) {
  WINDLASS_ASSIGN_OR_RETURN(
      const std::string leading,
      ReadRange(file, 0, std::min<int64_t>(file.size(), kLeadingBytes)));
  if (!IsGitLfsPointer(leading) &&
      (MayBeWebPage(name) || !IsWebPage(leading))) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat(file.name(), ": found ", DescribeLeadingBytes(leading),
                   ", expected the model's own file"));
}

absl::Status AddSideFile(const Location& folder, const std::string& path,
                         SideFiles* found) {
  const absl::StatusOr<std::shared_ptr<const ReadableFile>> file =
      folder.storage->OpenForRead(JoinPath(folder.path, path));
  if (absl::IsNotFound(file.status())) {
    return absl::NotFoundError(absl::StrCat(
        JoinPath(folder.path, path),
        ": found a link that leads nowhere, expected a file (fetch the model "
        "again)"));
  }
  if (!file.ok()) return file.status();
  WINDLASS_RETURN_IF_ERROR(CheckContents(**file, BaseName(path)));
  found->files.push_back(path);
  return absl::OkStatus();
}

absl::Status AddFolder(const Location& folder, const std::string& name,
                       SideFiles* found) {
  if (name != kTemplates && !IsModuleFolder(name)) {
    found->left_behind.push_back(absl::StrCat(name, "/"));
    return absl::OkStatus();
  }
  WINDLASS_ASSIGN_OR_RETURN(
      const std::vector<std::string> names,
      ListNames({folder.storage, JoinPath(folder.path, name)}));
  for (const std::string& inner : names) {
    const std::string path = JoinPath(name, inner);
    if (GoesAlongFrom(name, inner)) {
      WINDLASS_RETURN_IF_ERROR(AddSideFile(folder, path, found));
    } else {
      found->left_behind.push_back(path);
    }
  }
  return absl::OkStatus();
}

}  // namespace

bool IsSideFileName(absl::string_view name) {
  if (absl::StartsWith(name, ".") || absl::StrContains(name, kIndexMark) ||
      absl::c_linear_search(kNotSideFiles, name)) {
    return false;
  }
  return HasKnownEnding(name) || IsPaper(name);
}

absl::StatusOr<SideFiles> FindSideFiles(
    const Location& folder, const std::vector<std::string>& names,
    const absl::flat_hash_set<absl::string_view>& weights) {
  SideFiles found;
  for (const std::string& name : names) {
    if (weights.contains(name) || IsOurs(name)) continue;
    WINDLASS_ASSIGN_OR_RETURN(
        const Storage::Kind kind,
        folder.storage->GetKind(JoinPath(folder.path, name)));
    // A folder of licences is one; a folder in a program's file's place is not.
    if (kind == Storage::Kind::kDirectory && !HasKnownEnding(name)) {
      WINDLASS_RETURN_IF_ERROR(AddFolder(folder, name, &found));
    } else if (IsSideFileName(name)) {
      WINDLASS_RETURN_IF_ERROR(AddSideFile(folder, name, &found));
    } else {
      found.left_behind.push_back(name);
    }
  }
  absl::c_sort(found.files);
  absl::c_sort(found.left_behind);
  return found;
}

}  // namespace windlass
