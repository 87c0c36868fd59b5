#include "windlass/io/torch/writer_zip.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "windlass/io/transfer/crc32.h"

namespace windlass {
namespace {

// What does not fit a field of 32 or 16 bits stands in a zip64 field beside it,
// and the field is full.
constexpr int64_t kFull32 = 0xFFFFFFFF;
constexpr int64_t kFull16 = 0xFFFF;

constexpr int64_t kHeaderBytes = 30;  // without name and extra fields
constexpr int64_t kExtraHeaderBytes = 4;
constexpr uint16_t kZip64Field = 0x0001;
constexpr uint16_t kPaddingField = 0x4246;  // "FB", as torch calls it
constexpr uint16_t kVersion = 20;           // that can store entries
constexpr uint16_t kZip64Version = 45;
constexpr uint16_t kDate = 0x0021;  // the first of January of 1980

// Numbers, little endian.
class Bytes {
 public:
  Bytes& U16(uint64_t value) { return Number(value, 2); }
  Bytes& U32(uint64_t value) { return Number(value, 4); }
  Bytes& U64(uint64_t value) { return Number(value, 8); }
  Bytes& Text(absl::string_view text) {
    absl::StrAppend(&bytes_, text);
    return *this;
  }
  // As much as fits, or a full field.
  Bytes& Clamped32(int64_t value) { return U32(std::min(value, kFull32)); }
  Bytes& Clamped16(int64_t value) { return U16(std::min(value, kFull16)); }

  int64_t size() const { return bytes_.size(); }
  std::string Take() { return std::move(bytes_); }

 private:
  Bytes& Number(uint64_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) {
      bytes_ += static_cast<char>(value >> (8 * i));
    }
    return *this;
  }

  std::string bytes_;
};

// What headers and the directory say alike: from the version to the sizes.
void AppendCommon(const ZipWriter::Entry& entry, uint16_t version, uint32_t crc,
                  Bytes* bytes) {
  bytes->U16(version)
      .U16(0)  // flags
      .U16(0)  // stored
      .U16(0)  // midnight
      .U16(kDate)
      .U32(crc)
      .Clamped32(entry.size)
      .Clamped32(entry.size)
      .U16(entry.name.size());
}

uint16_t VersionOf(bool has_zip64) {
  return has_zip64 ? kZip64Version : kVersion;
}

// With padding, so that data follows at a multiple of the alignment.
std::string Header(const ZipWriter::Entry& entry, uint32_t crc) {
  Bytes extra;
  const bool is_large = entry.size >= kFull32;
  if (is_large) {
    extra.U16(kZip64Field).U16(16).U64(entry.size).U64(entry.size);
  }
  const int64_t end = entry.header + kHeaderBytes + entry.name.size() +
                      extra.size() + kExtraHeaderBytes;
  const int64_t padding =
      (ZipWriter::kAlignment - end % ZipWriter::kAlignment) %
      ZipWriter::kAlignment;
  extra.U16(kPaddingField).U16(padding).Text(std::string(padding, 'Z'));
  Bytes header;
  header.Text("PK\x03\x04");
  AppendCommon(entry, VersionOf(is_large), crc, &header);
  header.U16(extra.size()).Text(entry.name).Text(extra.Take());
  return header.Take();
}

std::string DirectoryEntry(const ZipWriter::Entry& entry, uint32_t crc) {
  Bytes zip64;
  if (entry.size >= kFull32) zip64.U64(entry.size).U64(entry.size);
  if (entry.header >= kFull32) zip64.U64(entry.header);
  const bool has_zip64 = zip64.size() > 0;
  Bytes extra;
  if (has_zip64) {
    extra.U16(kZip64Field).U16(zip64.size()).Text(zip64.Take());
  }
  Bytes bytes;
  bytes.Text("PK\x01\x02").U16(VersionOf(has_zip64));
  AppendCommon(entry, VersionOf(has_zip64), crc, &bytes);
  bytes.U16(extra.size())
      .U16(0)  // comment
      .U16(0)  // disk
      .U16(0)  // internal attributes
      .U32(0)  // external attributes
      .Clamped32(entry.header)
      .Text(entry.name)
      .Text(extra.Take());
  return bytes.Take();
}

// 0 where the checksums are not known yet, and sizes alone are asked for.
uint32_t CrcOf(const ZipWriter::Entry& entry,
               absl::Span<const uint32_t> checksums) {
  if (entry.checksum < 0) return entry.crc;
  return checksums.empty() ? 0 : checksums[entry.checksum];
}

// The central directory and what says where it is. `begin` is where it begins.
std::string Directory(const std::vector<ZipWriter::Entry>& entries,
                      int64_t begin, absl::Span<const uint32_t> checksums) {
  Bytes bytes;
  for (const ZipWriter::Entry& entry : entries) {
    bytes.Text(DirectoryEntry(entry, CrcOf(entry, checksums)));
  }
  const int64_t count = entries.size();
  const int64_t size = bytes.size();
  if (count >= kFull16 || size >= kFull32 || begin >= kFull32) {
    bytes.Text("PK\x06\x06")
        .U64(44)  // bytes that follow
        .U16(kZip64Version)
        .U16(kZip64Version)
        .U32(0)
        .U32(0)
        .U64(count)
        .U64(count)
        .U64(size)
        .U64(begin);
    bytes.Text("PK\x06\x07").U32(0).U64(begin + size).U32(1);
  }
  bytes.Text("PK\x05\x06")
      .U16(0)
      .U16(0)
      .Clamped16(count)
      .Clamped16(count)
      .Clamped32(size)
      .Clamped32(begin)
      .U16(0);  // comment
  return bytes.Take();
}

}  // namespace

ZipWriter::ZipWriter(PlannedFile* file) : file_(file), begin_(file->size) {}

ZipWriter::Entry ZipWriter::MakeEntry(const std::string& name,
                                      int64_t size) const {
  Entry entry;
  entry.name = name;
  entry.header = file_->size - begin_;
  entry.size = size;
  return entry;
}

void ZipWriter::Add(const std::string& name, std::string bytes) {
  Entry entry = MakeEntry(name, bytes.size());
  entry.crc = ExtendCrc32(0, bytes);
  file_->Append(Header(entry, entry.crc) + bytes);
  entries_.push_back(std::move(entry));
}

void ZipWriter::Add(const std::string& name, PlannedTensor tensor) {
  Entry entry = MakeEntry(name, tensor.tensor.bytes());
  entry.checksum = file_->tensors;
  const int64_t size = Header(entry, 0).size();
  file_->Append(LateBytes{size, [entry](absl::Span<const uint32_t> checksums) {
                            return Header(entry, CrcOf(entry, checksums));
                          }});
  file_->Append(std::move(tensor));
  entries_.push_back(std::move(entry));
}

void ZipWriter::Finish() {
  const int64_t begin = file_->size - begin_;
  const int64_t size = Directory(entries_, begin, {}).size();
  file_->Append(LateBytes{size, [entries = std::move(entries_),
                                 begin](absl::Span<const uint32_t> checksums) {
                            return Directory(entries, begin, checksums);
                          }});
}

}  // namespace windlass
