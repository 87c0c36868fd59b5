#include "windlass/core/kernels/unpack.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "windlass/core/kernels/dispatch.h"
#include "windlass/core/kernels/float_convert.h"
#include "windlass/core/kernels/floating_point_mode.h"

namespace windlass {
namespace {

constexpr int64_t kGroup = 32;

// The low bits of a code's magnitude, as a whole number of the smallest
// subnormal: no branch, and no subnormal F32 on the way.
inline int32_t Fp4Halves(uint32_t code) {
  const uint32_t exponent = code >> 1 & 3;
  const uint32_t mantissa = code & 1;
  const uint32_t normal = (2 | mantissa) << (exponent - (exponent > 0));
  return static_cast<int32_t>(exponent == 0 ? mantissa : normal);
}

inline float WithSign(float magnitude, uint32_t sign) {
  uint32_t bits;
  std::memcpy(&bits, &magnitude, sizeof(bits));
  bits |= sign << 31;
  std::memcpy(&magnitude, &bits, sizeof(bits));
  return magnitude;
}

inline float DecodeNibble(ElementCode code, uint32_t nibble) {
  if (code == ElementCode::kInt4) {
    return static_cast<float>(static_cast<int32_t>(nibble) - 8);
  }
  const uint32_t sign =
      code == ElementCode::kFp4PositiveZero && nibble == 8 ? 0 : nibble >> 3;
  return WithSign(static_cast<float>(Fp4Halves(nibble)) * 0.5f, sign);
}

WINDLASS_DISPATCH WINDLASS_NOINLINE void DecodeNibbles(ElementCode code,
                                                       const char* codes,
                                                       int64_t first,
                                                       int64_t count,
                                                       float* out) {
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t byte = static_cast<uint8_t>(codes[(first + i) / 2]);
    out[i] = DecodeNibble(code, byte >> (first + i) % 2 * 4 & 0xF);
  }
}

WINDLASS_DISPATCH WINDLASS_NOINLINE void Multiply(float factor, int64_t count,
                                                  float* values) {
  for (int64_t i = 0; i < count; ++i) values[i] *= factor;
}

WINDLASS_DISPATCH WINDLASS_NOINLINE bool PackGroup(const float* in,
                                                   char* packed, float* scale) {
  float largest = 0;
  bool numbers = true;
  for (int64_t i = 0; i < kGroup; ++i) {
    const float magnitude = std::fabs(in[i]);
    numbers &= magnitude <= std::numeric_limits<float>::infinity();
    largest = std::max(largest, magnitude);
  }
  const float s = std::max(largest / 7.0f, 1e-10f);
  *scale = s;
  // From 65520 on F16 is infinity.
  if (!numbers || s >= 65520.0f) return false;
  int32_t codes[kGroup];
  for (int64_t i = 0; i < kGroup; ++i) {
    // Adding 1.5 * 2^23 rounds to a whole number.
    const float rounded = (in[i] / s + 12582912.0f) - 12582912.0f;
    codes[i] =
        static_cast<int32_t>(std::min(std::max(rounded, -8.0f), 7.0f)) + 8;
  }
  for (int64_t i = 0; i < kGroup / 2; ++i) {
    packed[i] = static_cast<char>(codes[2 * i] | codes[2 * i + 1] << 4);
  }
  return true;
}

// Elements that are unpacked at a time, on the stack.
constexpr int64_t kAtOnce = 1024;

}  // namespace

void UnpackRow(ElementCode code, DType from, const char* codes, int64_t first,
               int64_t count, const float* scales, int64_t in_block,
               int64_t block, DType to, char* out) {
  const DefaultFloatingPointMode mode;
  float values[kAtOnce];
  for (int64_t at = first; at < first + count;) {
    const int64_t n = std::min({kAtOnce, first + count - at, block - in_block});
    if (code == ElementCode::kFloat) {
      DecodeToF32(from, codes + at * DTypeBytes(from), n, values);
    } else {
      DecodeNibbles(code, codes, at, n, values);
    }
    Multiply(*scales, n, values);
    EncodeFromF32(to, values, n, out);
    at += n;
    out += n * DTypeBytes(to);
    in_block += n;
    if (in_block == block) {
      in_block = 0;
      ++scales;
    }
  }
}

float ExponentValue(uint8_t code) {
  if (code == 255) return std::numeric_limits<float>::infinity();
  const uint32_t bits = code == 0 ? 0x00400000u : uint32_t{code} << 23;
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

bool PackInt4(const float* in, int64_t groups, char* packed, float* scales) {
  const DefaultFloatingPointMode mode;
  for (int64_t i = 0; i < groups; ++i) {
    if (!PackGroup(in + i * kGroup, packed + i * kGroup / 2, scales + i)) {
      return false;
    }
  }
  return true;
}

}  // namespace windlass
