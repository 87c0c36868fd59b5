#include "windlass/io/transfer/crc32.h"

#include <zlib.h>

#include <algorithm>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define WINDLASS_FOLD_CRC32 1
#endif

namespace windlass {
namespace {

// zlib counts in types that are 32 bits wide on some systems.
constexpr int64_t kStep = int64_t{1} << 30;

uint32_t ExtendByTable(uint32_t crc, absl::string_view bytes) {
  uLong extended = crc;
  while (!bytes.empty()) {
    const size_t size = std::min<size_t>(bytes.size(), kStep);
    extended = crc32(extended, reinterpret_cast<const Bytef*>(bytes.data()),
                     static_cast<uInt>(size));
    bytes.remove_prefix(size);
  }
  return static_cast<uint32_t>(extended);
}

#ifdef WINDLASS_FOLD_CRC32

// "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ Instruction"
// (Intel, 2009). A message is a polynomial; bits that stand n places before
// others can be replaced by x^n modulo the CRC's polynomial, multiplied with
// them, where the others stand. So 64 bytes at a time are folded onto the next
// 64, in four lanes of 16. The constants are x^n for the upper and the lower
// half of a lane, bits reversed as CRC-32 has them.
constexpr size_t kFoldBytes = 64;

#define WINDLASS_TARGET_FOLD __attribute__((target("pclmul,sse2")))

WINDLASS_TARGET_FOLD inline __m128i Load(const char* bytes) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes));
}

// Folds `lane` onto `next`, as far before it as `powers` say.
WINDLASS_TARGET_FOLD inline __m128i Fold(__m128i lane, __m128i powers,
                                         __m128i next) {
  return _mm_xor_si128(next,
                       _mm_xor_si128(_mm_clmulepi64_si128(lane, powers, 0x00),
                                     _mm_clmulepi64_si128(lane, powers, 0x11)));
}

// As ExtendCrc32; a multiple of 64 bytes, 64 at least.
WINDLASS_TARGET_FOLD uint32_t ExtendByFolding(uint32_t crc,
                                              absl::string_view bytes) {
  // x^(4 * 128 + 32) and x^(4 * 128 - 32); x^(128 + 32) and x^(128 - 32).
  const __m128i by_64_bytes = _mm_set_epi64x(0x1c6e41596, 0x154442bd4);
  const __m128i by_16_bytes = _mm_set_epi64x(0x0ccaa009e, 0x1751997d0);
  __m128i lanes[4];
  for (int i = 0; i < 4; ++i) lanes[i] = Load(bytes.data() + 16 * i);
  lanes[0] = _mm_xor_si128(lanes[0], _mm_cvtsi32_si128(static_cast<int>(~crc)));
  const char* const end = bytes.data() + bytes.size();
  for (const char* at = bytes.data() + kFoldBytes; at < end; at += kFoldBytes) {
    for (int i = 0; i < 4; ++i) {
      lanes[i] = Fold(lanes[i], by_64_bytes, Load(at + 16 * i));
    }
  }
  for (int i = 1; i < 4; ++i) {
    lanes[i] = Fold(lanes[i - 1], by_16_bytes, lanes[i]);
  }
  // These 16 bytes have the CRC of all, before which nothing stands.
  char last[16];
  _mm_storeu_si128(reinterpret_cast<__m128i*>(last), lanes[3]);
  return ExtendByTable(0xFFFFFFFF, absl::string_view(last, sizeof(last)));
}

bool CanFold() {
  static const bool can = __builtin_cpu_supports("pclmul");
  return can;
}

#endif  // WINDLASS_FOLD_CRC32

}  // namespace

uint32_t ExtendCrc32(uint32_t crc, absl::string_view bytes) {
#ifdef WINDLASS_FOLD_CRC32
  if (bytes.size() >= kFoldBytes && CanFold()) {
    const size_t folded = bytes.size() / kFoldBytes * kFoldBytes;
    crc = ExtendByFolding(crc, bytes.substr(0, folded));
    bytes.remove_prefix(folded);
  }
#endif
  return ExtendByTable(crc, bytes);
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
