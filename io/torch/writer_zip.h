// Lays a zip archive out at the end of a planned file, as torch.save writes
// one: entries are stored as they are, and each one's data starts at a multiple
// of 64 bytes of the archive.
//
//   ZipWriter zip(&file);
//   zip.Add("archive/version", std::string("3\n"));
//   zip.Add("archive/data/0", PlannedTensor{"w", tensor, {}});
//   zip.Finish();
//
// Checksums of tensors are known late: headers of their entries and the central
// directory are late bytes. They stand in the headers, not behind the data, so
// that an archive can be read from its beginning, too.

#ifndef WINDLASS_IO_TORCH_WRITER_ZIP_H_
#define WINDLASS_IO_TORCH_WRITER_ZIP_H_

#include <cstdint>
#include <string>
#include <vector>

#include "windlass/io/transfer/plan.h"

namespace windlass {

class ZipWriter {
 public:
  static constexpr int64_t kAlignment = 64;

  // The archive begins where the file ends now.
  explicit ZipWriter(PlannedFile* file);

  void Add(const std::string& name, std::string bytes);
  void Add(const std::string& name, PlannedTensor tensor);

  // Ends the archive with its central directory. Nothing follows.
  void Finish();

  // An entry, as headers and the directory speak of it.
  struct Entry {
    std::string name;
    int64_t header = 0;  // where its header is, from the archive's start
    int64_t size = 0;
    uint32_t crc = 0;   // where it is known
    int checksum = -1;  // otherwise, which of the file's checksums it is
  };

 private:
  Entry MakeEntry(const std::string& name, int64_t size) const;

  PlannedFile* const file_;
  const int64_t begin_;
  std::vector<Entry> entries_;
};

}  // namespace windlass

#endif  // WINDLASS_IO_TORCH_WRITER_ZIP_H_
