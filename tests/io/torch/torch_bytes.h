// Archives as torch.save writes them, put together by hand for tests.

#ifndef WINDLASS_TESTS_IO_TORCH_TORCH_BYTES_H_
#define WINDLASS_TESTS_IO_TORCH_TORCH_BYTES_H_

#include <cstdint>
#include <string>
#include <vector>

namespace windlass {

// A little-endian number.
std::string Number(uint64_t value, int bytes);

struct ZipItem {
  std::string name;
  std::string contents;
  int method = 0;
  int flags = 0;
};

// A zip archive; with `zip64` sizes and places stand in the longer records.
std::string ZipBytes(const std::vector<ZipItem>& items, bool zip64 = false,
                     const std::string& comment = "");

// The instructions for pieces of a pickle.
std::string PickleText(const std::string& text);
std::string PickleInt(int64_t value);
std::string PickleInts(const std::vector<int64_t>& values);  // a tuple
std::string PickleStorage(const std::string& storage_class,
                          const std::string& key, int64_t size);
std::string PickleTensor(const std::string& storage, int64_t offset,
                         const std::vector<int64_t>& shape,
                         const std::vector<int64_t>& strides);

}  // namespace windlass

#endif  // WINDLASS_TESTS_IO_TORCH_TORCH_BYTES_H_
