#include "windlass/core/kernels/float_convert.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "windlass/core/kernels/dispatch.h"
#include "windlass/core/kernels/floating_point_mode.h"

namespace windlass {
namespace {

uint32_t Bits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

float FromBits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

// An unaligned element of a row of bytes.
template <typename T>
T Load(const char* in, int64_t i) {
  T value;
  std::memcpy(&value, in + i * sizeof(T), sizeof(T));
  return value;
}

template <typename T>
void Store(char* out, int64_t i, T value) {
  std::memcpy(out + i * sizeof(T), &value, sizeof(T));
}

// How a sign-exponent-mantissa dtype narrower than F32 is laid out.
struct Format {
  int exponent_bits;
  int mantissa_bits;
  int bias;
  uint32_t overflow;  // code of what is too large, without its sign
  uint32_t nan;       // code of NaN, without its sign
  // FNUZ: neither negative zero nor infinity; NaN is the code of -0.
  bool unsigned_zero;

  constexpr int bits() const { return 1 + exponent_bits + mantissa_bits; }
};

constexpr Format kF16 = {5, 10, 15, 0x7C00, 0x7E00, false};
constexpr Format kE4M3 = {4, 3, 7, 0x7F, 0x7F, false};
constexpr Format kE5M2 = {5, 2, 15, 0x7C, 0x7F, false};
constexpr Format kE4M3FNUZ = {4, 3, 8, 0x80, 0x80, true};
constexpr Format kE5M2FNUZ = {5, 2, 16, 0x80, 0x80, true};

// The code of `value`, rounded to nearest even.
template <const Format& F>
uint32_t Encode(float value) {
  const uint32_t bits = Bits(value);
  const uint32_t magnitude = bits & 0x7FFFFFFF;
  const uint32_t sign = bits >> 31 << (F.bits() - 1);
  if (magnitude > 0x7F800000) return F.unsigned_zero ? F.nan : F.nan | sign;
  uint32_t code;
  constexpr uint32_t kMinNormal = static_cast<uint32_t>(128 - F.bias) << 23;
  if (magnitude < kMinNormal) {
    // Adding a power of two whose last place is the smallest subnormal rounds.
    constexpr uint32_t kMagic =
        static_cast<uint32_t>(128 - F.bias + 23 - F.mantissa_bits) << 23;
    code = Bits(FromBits(magnitude) + FromBits(kMagic)) - kMagic;
  } else {
    constexpr int kShift = 23 - F.mantissa_bits;
    const uint32_t odd = magnitude >> kShift & 1;
    code = (magnitude - (static_cast<uint32_t>(127 - F.bias) << 23) +
            (1u << (kShift - 1)) - 1 + odd) >>
           kShift;
    code = std::min(code, F.overflow);
  }
  if (F.unsigned_zero) return code == 0 || code == F.nan ? code : code | sign;
  return code | sign;
}

template <const Format& F>
float Decode(uint32_t code) {
  const bool negative = code >> (F.bits() - 1) & 1;
  const uint32_t magnitude = code & ((1u << (F.bits() - 1)) - 1);
  const uint32_t exponent = magnitude >> F.mantissa_bits;
  const uint32_t mantissa = magnitude & ((1u << F.mantissa_bits) - 1);
  float value;
  if (F.unsigned_zero ? code == F.nan
                      : magnitude > F.overflow ||
                            (F.overflow == F.nan && magnitude == F.nan)) {
    return FromBits(0x7FC00000 | (negative ? 0x80000000 : 0));
  } else if (!F.unsigned_zero && magnitude == F.overflow) {
    value = std::numeric_limits<float>::infinity();
  } else if (exponent == 0) {
    value =
        std::ldexp(static_cast<float>(mantissa), 1 - F.bias - F.mantissa_bits);
  } else {
    value = std::ldexp(static_cast<float>(mantissa | 1u << F.mantissa_bits),
                       static_cast<int>(exponent) - F.bias - F.mantissa_bits);
  }
  return negative ? -value : value;
}

uint32_t EncodeE8M0(float value) {
  const uint32_t bits = Bits(value);
  const uint32_t exponent = bits >> 23 & 0xFF;
  if (exponent == 0xFF) return 0xFF;
  // A tie goes up from a normal number, down from a subnormal one: the implied
  // leading bit is what "even" looks at.
  const uint32_t fraction = bits & 0x7FFFFF;
  const bool up = fraction > 0x400000 || (fraction == 0x400000 && exponent > 0);
  return exponent + (up ? 1 : 0);
}

float DecodeE8M0(uint32_t code) {
  if (code == 0xFF) return FromBits(0x7FC00000);
  return code == 0 ? FromBits(0x00400000) : FromBits(code << 23);
}

uint16_t EncodeBF16(float value) {
  const uint32_t bits = Bits(value);
  const uint32_t rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
  const uint32_t nan = bits >> 16 | 0x40;
  return (bits & 0x7FFFFFFF) > 0x7F800000 ? nan : rounded;
}

using Table = std::array<float, 256>;

template <typename DecodeFn>
Table MakeTable(DecodeFn decode) {
  Table table;
  for (uint32_t code = 0; code < 256; ++code) table[code] = decode(code);
  return table;
}

// The value of every code of an eight-bit dtype.
const Table& ByteTable(DType dtype) {
  static const Table* const e5m2 = new Table(MakeTable(Decode<kE5M2>));
  static const Table* const e4m3fnuz = new Table(MakeTable(Decode<kE4M3FNUZ>));
  static const Table* const e5m2fnuz = new Table(MakeTable(Decode<kE5M2FNUZ>));
  static const Table* const e8m0 = new Table(MakeTable(DecodeE8M0));
  switch (dtype) {
    case DType::kF8E5M2:
      return *e5m2;
    case DType::kF8E4M3FNUZ:
      return *e4m3fnuz;
    case DType::kF8E5M2FNUZ:
      return *e5m2fnuz;
    default:
      return *e8m0;
  }
}

// F16 by arithmetic that a compiler can vectorise: the exponent is moved by an
// exact multiplication, which also normalises subnormal numbers.
float DecodeF16(uint16_t code) {
  const uint32_t magnitude = code & 0x7FFF;
  const uint32_t sign = static_cast<uint32_t>(code & 0x8000) << 16;
  const float finite = FromBits(magnitude << 13) * FromBits(0x77800000);
  const uint32_t special = 0x7F800000 | (magnitude & 0x3FF) << 13 |
                           (magnitude > 0x7C00 ? 0x400000 : 0);
  return FromBits(sign | (magnitude < 0x7C00 ? Bits(finite) : special));
}

// F8_E4M3, whose one code for NaN (but for its sign) has all bits set. What a
// code's bits are as if it were normal, n, is right from 2^-6 on; below it,
// 2 n - 2^-6 is, which is smaller there: without a subnormal F32, which
// processors are slow at.
float DecodeE4M3(uint8_t code) {
  const uint32_t sign = static_cast<uint32_t>(code & 0x80) << 24;
  const float normal = FromBits(((uint32_t{code} & 0x7F) << 20) + (120u << 23));
  const float value = std::min(normal, 2 * normal - FromBits(121u << 23));
  return FromBits(sign | (normal == 480.0f ? 0x7FC00000 : Bits(value)));
}

template <typename T, typename EncodeFn>
void EncodeAll(const float* in, int64_t count, char* out, EncodeFn encode) {
  for (int64_t i = 0; i < count; ++i) {
    Store<T>(out, i, static_cast<T>(encode(in[i])));
  }
}

WINDLASS_DISPATCH void Decode(DType dtype, const char* in, int64_t count,
                              float* out) {
  switch (dtype) {
    case DType::kF32:
      std::memcpy(out, in, count * sizeof(float));
      return;
    case DType::kBF16:
      for (int64_t i = 0; i < count; ++i) {
        out[i] = FromBits(static_cast<uint32_t>(Load<uint16_t>(in, i)) << 16);
      }
      return;
    case DType::kF16:
      for (int64_t i = 0; i < count; ++i) {
        out[i] = DecodeF16(Load<uint16_t>(in, i));
      }
      return;
    case DType::kF8E4M3:
      for (int64_t i = 0; i < count; ++i) {
        out[i] = DecodeE4M3(Load<uint8_t>(in, i));
      }
      return;
    case DType::kF64:
      for (int64_t i = 0; i < count; ++i) {
        out[i] = static_cast<float>(Load<double>(in, i));
      }
      return;
    default: {
      const Table& table = ByteTable(dtype);
      for (int64_t i = 0; i < count; ++i) {
        out[i] = table[static_cast<uint8_t>(in[i])];
      }
    }
  }
}

WINDLASS_DISPATCH void Encode(DType dtype, const float* in, int64_t count,
                              char* out) {
  switch (dtype) {
    case DType::kF32:
      std::memcpy(out, in, count * sizeof(float));
      return;
    case DType::kBF16:
      return EncodeAll<uint16_t>(in, count, out, EncodeBF16);
    case DType::kF16:
      return EncodeAll<uint16_t>(in, count, out, Encode<kF16>);
    case DType::kF64:
      return EncodeAll<double>(in, count, out,
                               [](float value) { return value; });
    case DType::kF8E4M3:
      return EncodeAll<uint8_t>(in, count, out, Encode<kE4M3>);
    case DType::kF8E5M2:
      return EncodeAll<uint8_t>(in, count, out, Encode<kE5M2>);
    case DType::kF8E4M3FNUZ:
      return EncodeAll<uint8_t>(in, count, out, Encode<kE4M3FNUZ>);
    case DType::kF8E5M2FNUZ:
      return EncodeAll<uint8_t>(in, count, out, Encode<kE5M2FNUZ>);
    default:
      return EncodeAll<uint8_t>(in, count, out, EncodeE8M0);
  }
}

WINDLASS_DISPATCH void Multiply(float factor, int64_t count, float* values) {
  for (int64_t i = 0; i < count; ++i) values[i] *= factor;
}

// Elements that are converted at a time, on the stack.
constexpr int64_t kBlock = 1024;

}  // namespace

bool IsConvertible(DType dtype) {
  return IsFloat(dtype) && DTypeBytes(dtype) > 0 && DTypeBits(dtype) % 8 == 0;
}

void DecodeToF32(DType dtype, const char* in, int64_t count, float* out) {
  const DefaultFloatingPointMode mode;
  Decode(dtype, in, count, out);
}

void EncodeFromF32(DType dtype, const float* in, int64_t count, char* out) {
  const DefaultFloatingPointMode mode;
  Encode(dtype, in, count, out);
}

void ConvertFloats(DType from, const char* in, int64_t count, DType to,
                   char* out) {
  if (from == to) {
    std::memcpy(out, in, count * DTypeBytes(to));
    return;
  }
  const DefaultFloatingPointMode mode;
  float block[kBlock];
  for (int64_t done = 0; done < count; done += kBlock) {
    const int64_t n = std::min(kBlock, count - done);
    Decode(from, in + done * DTypeBytes(from), n, block);
    Encode(to, block, n, out + done * DTypeBytes(to));
  }
}

void ScaleFloats(DType from, const char* in, int64_t count, float scale,
                 DType to, char* out) {
  const DefaultFloatingPointMode mode;
  float block[kBlock];
  for (int64_t done = 0; done < count; done += kBlock) {
    const int64_t n = std::min(kBlock, count - done);
    Decode(from, in + done * DTypeBytes(from), n, block);
    Multiply(scale, n, block);
    Encode(to, block, n, out + done * DTypeBytes(to));
  }
}

}  // namespace windlass
