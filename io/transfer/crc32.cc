#include "windlass/io/transfer/crc32.h"

#include <zlib.h>

#include <algorithm>

namespace windlass {
namespace {

// zlib counts in types that are 32 bits wide on some systems.
constexpr int64_t kStep = int64_t{1} << 30;

}  // namespace

uint32_t ExtendCrc32(uint32_t crc, absl::string_view bytes) {
  uLong extended = crc;
  while (!bytes.empty()) {
    const size_t size = std::min<size_t>(bytes.size(), kStep);
    extended = crc32(extended, reinterpret_cast<const Bytef*>(bytes.data()),
                     static_cast<uInt>(size));
    bytes.remove_prefix(size);
  }
  return static_cast<uint32_t>(extended);
}

uint32_t JoinCrc32(uint32_t first, uint32_t second, int64_t second_size) {
  // That of the first run followed by zeros, as many as the second is long,
  // needs the size alone; in steps, as CRCs of zeros join too.
  uLong joined = first;
  for (int64_t left = second_size; left > 0; left -= kStep) {
    joined = crc32_combine(joined, 0, std::min(left, kStep));
  }
  return static_cast<uint32_t>(joined) ^ second;
}

}  // namespace windlass
