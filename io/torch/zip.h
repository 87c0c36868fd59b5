// Zip archives, as far as torch.save writes them: stored entries, whose bytes
// lie in the file as they are and can be copied without looking at them. That
// is why no library for zip files is used: they give contents, not places.

#ifndef WINDLASS_IO_TORCH_ZIP_H_
#define WINDLASS_IO_TORCH_ZIP_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "windlass/core/byte_source.h"

namespace windlass {

// A zip archive's directory. Const after Open; thread-safe.
class ZipArchive {
 public:
  struct Entry {
    int64_t header = 0;  // where its local header lies
    int64_t size = 0;    // in the archive
    int method = 0;      // 0: stored
    bool encrypted = false;
  };
  // Sorted by name.
  using Entries = std::vector<std::pair<absl::string_view, Entry>>;

  // Reads the directory of the archive that fills `bytes`, which may be a part
  // of a file. DataLoss where it has no end; InvalidArgument where what is
  // there does not fit, or a name comes twice. Messages do not name the file.
  static absl::StatusOr<ZipArchive> Open(const Extent& bytes);

  const Entries& entries() const { return entries_; }

  // The entry of that name; null for none.
  const Entry* FindEntry(absl::string_view name) const;

  // Where the bytes of an entry lie. NotFound where there is none;
  // Unimplemented where it is compressed or encrypted. Reads its local header.
  absl::StatusOr<Extent> Find(absl::string_view name) const;

 private:
  Extent bytes_;
  int64_t directory_ = 0;  // where it begins; entries end before
  std::unique_ptr<const std::string> text_;  // of the directory, with names
  Entries entries_;
};

// Whether a file that starts so may be a zip archive.
bool IsZip(absl::string_view leading);

}  // namespace windlass

#endif  // WINDLASS_IO_TORCH_ZIP_H_
