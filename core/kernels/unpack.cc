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

inline float FromBits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

inline uint32_t Bits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

// The value of a code of one byte or less, by arithmetic that compilers
// vectorise and that meets no subnormal F32, which processors are slow at. What
// a code's bits are as if it were normal, n, is right from the smallest normal
// number on; below it, 2 n less that number is, which is smaller there.
struct DecodeE4M3 {
  float operator()(uint32_t code) const {
    const float normal = FromBits(((code & 0x7F) << 20) + (120u << 23));
    const float value = std::min(normal, 2 * normal - FromBits(121u << 23));
    const uint32_t finite_or_nan = normal == 480.0f ? 0x7FC00000 : Bits(value);
    return FromBits((code & 0x80) << 24 | finite_or_nan);
  }
};

struct DecodeFp4 {
  float operator()(uint32_t code) const {
    const float normal = FromBits(((code & 7) << 22) + (126u << 23));
    const float value = std::min(normal, 2 * normal - 1.0f);
    return FromBits((code & 8) << 28 | Bits(value));
  }
};

struct DecodeInt4 {
  float operator()(uint32_t code) const {
    return static_cast<float>(static_cast<int32_t>(code) - 8);
  }
};

// Where results go: F32, and BF16 as EncodeFromF32 rounds. There is no NaN here
// whose low half is not zero, so that rounding one does not carry into its
// sign: the codes' have none, nor those that processors make, nor a scale's
// (ShortNaN).
struct ToF32 {
  using Type = float;
  Type operator()(float value) const { return value; }
};

struct ToBF16 {
  using Type = uint16_t;
  Type operator()(float value) const {
    const uint32_t bits = Bits(value);
    return static_cast<Type>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
  }
};

inline float ShortNaN(float value) {
  const uint32_t bits = Bits(value);
  const bool is_nan = (bits & 0x7FFFFFFF) > 0x7F800000;
  return is_nan ? FromBits((bits & 0xFFFF0000) | 0x400000) : value;
}

#define WINDLASS_INLINE inline __attribute__((always_inline))

template <typename Decode, typename Encode>
WINDLASS_INLINE void UnpackAll(const uint8_t* __restrict codes, int64_t count,
                               float scale, char* __restrict out) {
  using Type = typename Encode::Type;
  for (int64_t i = 0; i < count; ++i) {
    const Type value = Encode()(Decode()(codes[i]) * scale);
    std::memcpy(out + i * sizeof(Type), &value, sizeof(Type));
  }
}

// A block, a code to a byte.
template <typename Encode>
WINDLASS_INLINE void UnpackBlock(ElementCode code, const uint8_t* codes,
                                 int64_t count, float scale, char* out) {
  switch (code) {
    case ElementCode::kFloat:
      return UnpackAll<DecodeE4M3, Encode>(codes, count, scale, out);
    case ElementCode::kFp4:
    case ElementCode::kFp4PositiveZero:  // which has no code 8 any more
      return UnpackAll<DecodeFp4, Encode>(codes, count, scale, out);
    case ElementCode::kInt4:
      return UnpackAll<DecodeInt4, Encode>(codes, count, scale, out);
  }
}

// Blocks of one length are what compilers make the most of.
template <typename Encode>
WINDLASS_INLINE void UnpackBlocks(ElementCode code, const uint8_t* codes,
                                  int64_t count, const float* scales,
                                  int64_t in_block, int64_t block, char* out) {
  while (count > 0) {
    const int64_t n = std::min(count, block - in_block);
    const float scale = ShortNaN(*scales);
    if (n == 32) {
      UnpackBlock<Encode>(code, codes, 32, scale, out);
    } else {
      UnpackBlock<Encode>(code, codes, n, scale, out);
    }
    codes += n;
    count -= n;
    out += n * sizeof(typename Encode::Type);
    in_block = 0;
    ++scales;
  }
}

WINDLASS_DISPATCH void UnpackToF32(ElementCode code, const uint8_t* codes,
                                   int64_t count, const float* scales,
                                   int64_t in_block, int64_t block, char* out) {
  UnpackBlocks<ToF32>(code, codes, count, scales, in_block, block, out);
}

WINDLASS_DISPATCH void UnpackToBF16(ElementCode code, const uint8_t* codes,
                                    int64_t count, const float* scales,
                                    int64_t in_block, int64_t block,
                                    char* out) {
  UnpackBlocks<ToBF16>(code, codes, count, scales, in_block, block, out);
}

// `pairs` bytes to a byte for each of their nibbles.
WINDLASS_DISPATCH void SplitNibbles(const char* __restrict bytes, int64_t pairs,
                                    uint8_t* __restrict nibbles) {
  for (int64_t i = 0; i < pairs; ++i) {
    const uint8_t byte = static_cast<uint8_t>(bytes[i]);
    nibbles[2 * i] = byte & 15;
    nibbles[2 * i + 1] = byte >> 4;
  }
}

WINDLASS_DISPATCH void MakeZeroPositive(int64_t count, uint8_t* nibbles) {
  for (int64_t i = 0; i < count; ++i) {
    nibbles[i] = nibbles[i] == 8 ? 0 : nibbles[i];
  }
}

WINDLASS_DISPATCH void MultiplyBlocks(const float* scales, int64_t in_block,
                                      int64_t block, int64_t count,
                                      float* values) {
  while (count > 0) {
    const int64_t n = std::min(count, block - in_block);
    for (int64_t i = 0; i < n; ++i) values[i] *= *scales;
    values += n;
    count -= n;
    in_block = 0;
    ++scales;
  }
}

WINDLASS_DISPATCH bool PackGroup(const float* in, char* packed, float* scale) {
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

// As UnpackRow, kAtOnce elements at most. `values` is for as many.
void UnpackSome(ElementCode code, DType from, const char* codes, int64_t first,
                int64_t count, const float* scales, int64_t in_block,
                int64_t block, DType to, float* values, char* out) {
  const bool direct = to == DType::kBF16 || to == DType::kF32;
  const bool is_float = code == ElementCode::kFloat;
  if (is_float && (from != DType::kF8E4M3 || !direct)) {
    DecodeToF32(from, codes + first * DTypeBytes(from), count, values);
    MultiplyBlocks(scales, in_block, block, count, values);
    return EncodeFromF32(to, values, count, out);
  }
  uint8_t nibbles[kAtOnce + 2];
  const uint8_t* bytes = nibbles + first % 2;
  if (is_float) {
    bytes = reinterpret_cast<const uint8_t*>(codes + first);
  } else {
    const int64_t pairs = (first % 2 + count + 1) / 2;
    SplitNibbles(codes + first / 2, pairs, nibbles);
    if (code == ElementCode::kFp4PositiveZero) {
      MakeZeroPositive(2 * pairs, nibbles);
    }
  }
  if (to == DType::kBF16) {
    return UnpackToBF16(code, bytes, count, scales, in_block, block, out);
  }
  char* const floats = direct ? out : reinterpret_cast<char*>(values);
  UnpackToF32(code, bytes, count, scales, in_block, block, floats);
  if (!direct) EncodeFromF32(to, values, count, out);
}

}  // namespace

void UnpackRow(ElementCode code, DType from, const char* codes, int64_t first,
               int64_t count, const float* scales, int64_t in_block,
               int64_t block, DType to, char* out) {
  const DefaultFloatingPointMode mode;
  float values[kAtOnce];
  for (int64_t done = 0; done < count; done += kAtOnce) {
    const int64_t n = std::min(kAtOnce, count - done);
    const int64_t at = in_block + done;
    UnpackSome(code, from, codes, first + done, n, scales + at / block,
               at % block, block, to, values, out + done * DTypeBytes(to));
  }
}

WINDLASS_DISPATCH void DecodeExponents(const uint8_t* codes, int64_t count,
                                       bool zero_is_zero, float* out) {
  // 2^-127 is subnormal; 255 becomes infinity by itself.
  const uint32_t zero = zero_is_zero ? 0 : 0x00400000;
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t bits = codes[i] == 0 ? zero : uint32_t{codes[i]} << 23;
    std::memcpy(out + i, &bits, sizeof(bits));
  }
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
