#include "windlass/core/byte_source.h"

#include <cstring>

#include "absl/strings/str_cat.h"

namespace windlass {

absl::Status MemorySource::ReadAt(int64_t offset, absl::Span<char> out) const {
  if (offset < 0 || offset > size() ||
      static_cast<int64_t>(out.size()) > size() - offset) {
    return absl::OutOfRangeError(absl::StrCat(name_, ": wanted ", out.size(),
                                              " bytes at ", offset, ", it has ",
                                              size()));
  }
  if (!out.empty()) std::memcpy(out.data(), bytes_.data() + offset, out.size());
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadRange(const ByteSource& source, int64_t begin,
                                      int64_t size) {
  std::string bytes(size, '\0');
  const absl::Status read =
      source.ReadAt(begin, absl::MakeSpan(&bytes[0], bytes.size()));
  if (!read.ok()) return read;
  return bytes;
}

}  // namespace windlass
