#include "windlass/io/torch/zip.h"

#include <algorithm>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

// The records of a zip archive (APPNOTE.TXT of PKWARE): their signatures and
// fixed sizes. All numbers are little-endian.
constexpr absl::string_view kLocalHeader = "PK\x03\x04";
constexpr int64_t kLocalHeaderBytes = 30;
constexpr absl::string_view kDirectoryEntry = "PK\x01\x02";
constexpr int64_t kDirectoryEntryBytes = 46;
constexpr absl::string_view kEnd = "PK\x05\x06";
constexpr int64_t kEndBytes = 22;
constexpr absl::string_view kEnd64 = "PK\x06\x06";
constexpr int64_t kEnd64Bytes = 56;
constexpr absl::string_view kLocator64 = "PK\x06\x07";
constexpr int64_t kLocator64Bytes = 20;

constexpr int64_t kMaxComment = 65535;

// Most archives end within this; others are looked at again.
constexpr int64_t kTailBytes = 4096;

// A directory of some million entries.
constexpr int64_t kMaxDirectory = int64_t{1} << 28;

uint64_t Number(absl::string_view bytes, size_t at, int size) {
  uint64_t number = 0;
  for (int i = size; i-- > 0;) {
    number = number << 8 | static_cast<uint8_t>(bytes[at + i]);
  }
  return number;
}

absl::Status Invalid(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("found ", what));
}

absl::StatusOr<std::string> Read(const Extent& bytes, int64_t begin,
                                 int64_t size) {
  if (begin < 0 || size < 0 || begin > bytes.size ||
      size > bytes.size - begin) {
    return Invalid("a zip record that points outside of the archive");
  }
  return ReadRange(*bytes.source, bytes.offset + begin, size);
}

// Where the directory lies.
struct Directory {
  uint64_t begin = 0;
  uint64_t size = 0;
  uint64_t entries = 0;
};

// The record at the end, found by its signature and the length of the comment
// behind it, and with it all that lies in front of it in `tail`.
absl::StatusOr<size_t> FindEnd(absl::string_view tail) {
  for (int64_t at = static_cast<int64_t>(tail.size()) - kEndBytes; at >= 0;
       --at) {
    if (absl::StartsWith(tail.substr(at), kEnd) &&
        at + kEndBytes + Number(tail, at + 20, 2) == tail.size()) {
      return at;
    }
  }
  return absl::DataLossError(
      "found no end of the zip archive; the file was truncated");
}

absl::StatusOr<Directory> FindDirectory(const Extent& bytes) {
  absl::StatusOr<size_t> end = absl::DataLossError("");
  std::string tail;
  for (const int64_t most : {kTailBytes, kEndBytes + kMaxComment}) {
    const int64_t size = std::min(bytes.size, most);
    WINDLASS_ASSIGN_OR_RETURN(tail, Read(bytes, bytes.size - size, size));
    end = FindEnd(tail);
    if (end.ok()) break;
  }
  if (!end.ok()) return end.status();
  const int64_t locator =
      bytes.size - static_cast<int64_t>(tail.size() - *end) - kLocator64Bytes;
  if (locator >= 0) {
    // Not moved out of their status: GCC 12 then warns of their bytes.
    const absl::StatusOr<std::string> found =
        Read(bytes, locator, kLocator64Bytes);
    if (!found.ok()) return found.status();
    if (absl::StartsWith(*found, kLocator64)) {
      const absl::StatusOr<std::string> end64 =
          Read(bytes, static_cast<int64_t>(Number(*found, 8, 8)), kEnd64Bytes);
      if (!end64.ok()) return end64.status();
      if (!absl::StartsWith(*end64, kEnd64)) {
        return Invalid("a zip64 locator that points at no zip64 record");
      }
      return Directory{Number(*end64, 48, 8), Number(*end64, 40, 8),
                       Number(*end64, 32, 8)};
    }
  }
  return Directory{Number(tail, *end + 16, 4), Number(tail, *end + 12, 4),
                   Number(tail, *end + 10, 2)};
}

// An entry of the directory with what its zip64 extra field says.
struct RawEntry {
  uint64_t size;
  uint64_t compressed;
  uint64_t header;
};

absl::Status ReadExtra(absl::string_view extra, RawEntry* entry) {
  constexpr uint64_t kZip64Field = 1;
  constexpr uint64_t kElsewhere = 0xFFFFFFFF;
  while (extra.size() >= 4) {
    const uint64_t id = Number(extra, 0, 2);
    const uint64_t size = Number(extra, 2, 2);
    extra.remove_prefix(4);
    if (size > extra.size()) return Invalid("a zip extra field that is cut");
    absl::string_view field = extra.substr(0, size);
    extra.remove_prefix(size);
    if (id != kZip64Field) continue;
    for (uint64_t* value : {&entry->size, &entry->compressed, &entry->header}) {
      if (*value != kElsewhere) continue;
      if (field.size() < 8) return Invalid("a zip64 field that is cut");
      *value = Number(field, 0, 8);
      field.remove_prefix(8);
    }
  }
  return absl::OkStatus();
}

}  // namespace

bool IsZip(absl::string_view leading) {
  return absl::StartsWith(leading, kLocalHeader) ||
         absl::StartsWith(leading, kEnd);
}

absl::StatusOr<ZipArchive> ZipArchive::Open(const Extent& bytes) {
  WINDLASS_ASSIGN_OR_RETURN(const Directory directory, FindDirectory(bytes));
  if (directory.size > kMaxDirectory ||
      directory.begin > static_cast<uint64_t>(bytes.size) ||
      directory.entries > directory.size / kDirectoryEntryBytes) {
    return Invalid("a zip directory that does not fit the archive");
  }
  ZipArchive archive;
  archive.bytes_ = bytes;
  archive.directory_ = static_cast<int64_t>(directory.begin);
  WINDLASS_ASSIGN_OR_RETURN(std::string text,
                            Read(bytes, archive.directory_, directory.size));
  archive.text_ = std::make_unique<const std::string>(std::move(text));
  absl::string_view rest = *archive.text_;
  archive.entries_.reserve(directory.entries);
  for (uint64_t i = 0; i < directory.entries; ++i) {
    if (rest.size() < kDirectoryEntryBytes ||
        !absl::StartsWith(rest, kDirectoryEntry)) {
      return Invalid("a zip directory that is cut");
    }
    const uint64_t name_size = Number(rest, 28, 2);
    const uint64_t extra_size = Number(rest, 30, 2);
    const uint64_t all_size =
        kDirectoryEntryBytes + name_size + extra_size + Number(rest, 32, 2);
    if (rest.size() < all_size) return Invalid("a zip directory that is cut");
    RawEntry raw{Number(rest, 24, 4), Number(rest, 20, 4), Number(rest, 42, 4)};
    const absl::string_view name = rest.substr(kDirectoryEntryBytes, name_size);
    WINDLASS_RETURN_IF_ERROR(ReadExtra(
        rest.substr(kDirectoryEntryBytes + name_size, extra_size), &raw));
    Entry entry;
    entry.encrypted = (Number(rest, 8, 2) & 1) != 0;
    entry.method = static_cast<int>(Number(rest, 10, 2));
    if (raw.header > directory.begin || raw.compressed > directory.begin ||
        (entry.method == 0 && raw.size != raw.compressed)) {
      return Invalid(absl::StrCat("the zip entry ", absl::CHexEscape(name),
                                  ", which does not fit the archive"));
    }
    entry.header = static_cast<int64_t>(raw.header);
    entry.size = static_cast<int64_t>(raw.compressed);
    archive.entries_.emplace_back(name, entry);
    rest.remove_prefix(all_size);
  }
  absl::c_sort(archive.entries_,
               [](const auto& a, const auto& b) { return a.first < b.first; });
  const auto twice = absl::c_adjacent_find(
      archive.entries_,
      [](const auto& a, const auto& b) { return a.first == b.first; });
  if (twice == archive.entries_.end()) return archive;
  return Invalid(
      absl::StrCat("the zip entry ", absl::CHexEscape(twice->first), " twice"));
}

const ZipArchive::Entry* ZipArchive::FindEntry(absl::string_view name) const {
  const auto it = std::lower_bound(
      entries_.begin(), entries_.end(), name,
      [](const auto& a, absl::string_view b) { return a.first < b; });
  return it == entries_.end() || it->first != name ? nullptr : &it->second;
}

absl::StatusOr<Extent> ZipArchive::Find(absl::string_view name) const {
  const Entry* const found = FindEntry(name);
  if (found == nullptr) {
    return absl::NotFoundError(
        absl::StrCat("found no ", absl::CHexEscape(name), " in the archive"));
  }
  const Entry& entry = *found;
  if (entry.method != 0 || entry.encrypted) {
    return absl::UnimplementedError(absl::StrCat(
        "found ", absl::CHexEscape(name), " ",
        entry.encrypted
            ? "encrypted"
            : absl::StrCat("compressed (method ", entry.method, ")"),
        ", expected it stored as torch.save does"));
  }
  WINDLASS_ASSIGN_OR_RETURN(const std::string header,
                            Read(bytes_, entry.header, kLocalHeaderBytes));
  const int64_t begin = entry.header + kLocalHeaderBytes +
                        static_cast<int64_t>(Number(header, 26, 2)) +
                        static_cast<int64_t>(Number(header, 28, 2));
  if (!absl::StartsWith(header, kLocalHeader) ||
      Number(header, 26, 2) != name.size() || begin > directory_ ||
      entry.size > directory_ - begin) {
    return Invalid(absl::StrCat("the zip entry ", absl::CHexEscape(name),
                                ", whose header does not fit the directory"));
  }
  return Extent{bytes_.source, bytes_.offset + begin, entry.size};
}

}  // namespace windlass
