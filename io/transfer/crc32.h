// CRC-32 as zip archives have it, of parts that several threads see in any
// order. A door to zlib.

#ifndef WINDLASS_IO_TRANSFER_CRC32_H_
#define WINDLASS_IO_TRANSFER_CRC32_H_

#include <cstdint>

#include "absl/strings/string_view.h"

namespace windlass {

// Of the bytes that `crc` is of (0 for none) with `bytes` behind them.
uint32_t ExtendCrc32(uint32_t crc, absl::string_view bytes);

// Of two runs of bytes, one after the other, by the CRC of each and the second
// one's size.
uint32_t JoinCrc32(uint32_t first, uint32_t second, int64_t second_size);

}  // namespace windlass

#endif  // WINDLASS_IO_TRANSFER_CRC32_H_
