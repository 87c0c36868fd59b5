#include "windlass/core/kernels/float_convert.h"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace windlass {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

constexpr DType kConvertible[] = {
    DType::kF8E5M2,     DType::kF8E4M3,     DType::kF8E8M0,
    DType::kF8E4M3FNUZ, DType::kF8E5M2FNUZ, DType::kF16,
    DType::kBF16,       DType::kF32,        DType::kF64};

float Decode(DType dtype, uint64_t code) {
  float value;
  DecodeToF32(dtype, reinterpret_cast<const char*>(&code), 1, &value);
  return value;
}

uint64_t Encode(DType dtype, float value) {
  uint64_t code = 0;
  EncodeFromF32(dtype, &value, 1, reinterpret_cast<char*>(&code));
  return code;
}

TEST(FloatConvertTest, DecodesKnownCodes) {
  const struct {
    DType dtype;
    uint64_t code;
    float value;
  } kCases[] = {
      {DType::kF8E4M3, 0x01, std::ldexp(1.0f, -9)},
      {DType::kF8E4M3, 0x07, 0.013671875f},
      {DType::kF8E4M3, 0x08, std::ldexp(1.0f, -6)},
      {DType::kF8E4M3, 0x38, 1.0f},
      {DType::kF8E4M3, 0x7E, 448.0f},
      {DType::kF8E4M3, 0xFE, -448.0f},
      {DType::kF8E5M2, 0x7B, 57344.0f},
      {DType::kF8E5M2, 0x7C, kInf},
      {DType::kF8E5M2, 0xFC, -kInf},
      {DType::kF8E4M3FNUZ, 0x7F, 240.0f},
      {DType::kF8E4M3FNUZ, 0x40, 1.0f},
      {DType::kF8E5M2FNUZ, 0x7F, 57344.0f},
      {DType::kF8E5M2FNUZ, 0x40, 1.0f},
      {DType::kF8E8M0, 0x7F, 1.0f},
      {DType::kF8E8M0, 0x80, 2.0f},
      {DType::kF8E8M0, 0x00, std::ldexp(1.0f, -127)},
      {DType::kF16, 0x3C00, 1.0f},
      {DType::kF16, 0x0001, std::ldexp(1.0f, -24)},
      {DType::kF16, 0x7BFF, 65504.0f},
      {DType::kF16, 0xFC00, -kInf},
      {DType::kBF16, 0x3F80, 1.0f},
  };
  for (const auto& c : kCases) {
    EXPECT_EQ(Decode(c.dtype, c.code), c.value)
        << DTypeName(c.dtype) << " " << c.code;
  }
}

TEST(FloatConvertTest, EncodesWithRoundingToNearestEven) {
  const struct {
    DType dtype;
    float value;
    uint64_t code;
  } kCases[] = {
      {DType::kBF16, 0.1f, 0x3DCD},
      {DType::kBF16, 1.0f / 3, 0x3EAB},
      {DType::kBF16, 3.14159f, 0x4049},
      {DType::kBF16, 3.4e38f, 0x7F80},
      {DType::kF8E4M3, 448.0f, 0x7E},
      {DType::kF8E4M3, 464.0f, 0x7E},  // a tie, to even
      {DType::kF8E4M3, 464.1f, 0x7F},  // too large: NaN
      {DType::kF8E4M3, -1000.0f, 0xFF},
      {DType::kF8E4M3, -kInf, 0xFF},
      {DType::kF8E4M3, -0.0f, 0x80},
      {DType::kF8E4M3, 17.0f, 0x58},  // between 16 and 18, to even
      {DType::kF8E4M3, 19.0f, 0x5A},  // between 18 and 20, to even
      {DType::kF8E4M3, std::ldexp(1.0f, -10), 0x00},
      {DType::kF8E4M3, std::ldexp(3.0f, -10), 0x02},
      {DType::kF8E5M2, 61440.0f, 0x7C},
      {DType::kF8E5M2, 61439.0f, 0x7B},
      {DType::kF8E5M2, kInf, 0x7C},
      {DType::kF8E4M3FNUZ, 240.0f, 0x7F},
      {DType::kF8E4M3FNUZ, 248.0f, 0x80},
      {DType::kF8E4M3FNUZ, -0.0f, 0x00},
      {DType::kF8E4M3FNUZ, kInf, 0x80},
      {DType::kF8E5M2FNUZ, -1e9f, 0x80},
      {DType::kF8E8M0, 1.0f, 0x7F},
      {DType::kF8E8M0, 1.49f, 0x7F},
      {DType::kF8E8M0, 1.5f, 0x80},
      {DType::kF8E8M0, kInf, 0xFF},
      {DType::kF16, 65519.0f, 0x7BFF},
      {DType::kF16, 65520.0f, 0x7C00},
      {DType::kF16, std::ldexp(1.0f, -25), 0x0000},
      {DType::kF16, std::ldexp(3.0f, -26), 0x0001},
  };
  for (const auto& c : kCases) {
    EXPECT_EQ(Encode(c.dtype, c.value), c.code)
        << DTypeName(c.dtype) << " " << c.value;
  }
}

TEST(FloatConvertTest, KeepsNaN) {
  for (DType dtype : kConvertible) {
    EXPECT_TRUE(std::isnan(Decode(dtype, Encode(dtype, kNaN))) ||
                dtype == DType::kF64)
        << DTypeName(dtype);
  }
}

TEST(FloatConvertTest, EveryCodeSurvivesTheWayThroughF32) {
  for (DType dtype : kConvertible) {
    if (DTypeBits(dtype) > 16) continue;
    for (uint64_t code = 0; code < uint64_t{1} << DTypeBits(dtype); ++code) {
      const float value = Decode(dtype, code);
      if (std::isnan(value)) continue;
      ASSERT_EQ(Encode(dtype, value), code) << DTypeName(dtype);
    }
  }
}

// Of all codes, the nearest value; of two, the even code.
TEST(FloatConvertTest, RoundsToTheNearestOfAllValues) {
  std::mt19937 random(1);
  for (DType dtype : {DType::kF8E4M3, DType::kF8E5M2, DType::kF8E4M3FNUZ,
                      DType::kF8E5M2FNUZ}) {
    for (int i = 0; i < 2000; ++i) {
      const int exponent = static_cast<int>(random() % 16) - 10;
      const float value = std::ldexp(
          static_cast<float>(random() % 100000) / 65536.0f, exponent);
      uint64_t nearest = 0;
      for (uint64_t code = 0; code < 0x80; ++code) {
        const float candidate = Decode(dtype, code);
        if (std::isnan(candidate) || std::isinf(candidate)) continue;
        const double better = std::fabs(double{candidate} - value) -
                              std::fabs(double{Decode(dtype, nearest)} - value);
        if (better < 0 || (better == 0 && code % 2 == 0)) nearest = code;
      }
      ASSERT_EQ(Encode(dtype, value), nearest)
          << DTypeName(dtype) << " " << value;
    }
  }
}

TEST(FloatConvertTest, F64IsRoundedOnceToF32) {
  const double value = 1.0 + std::ldexp(1.0, -24) + std::ldexp(1.0, -50);
  float out;
  ConvertFloats(DType::kF64, reinterpret_cast<const char*>(&value), 1,
                DType::kF32, reinterpret_cast<char*>(&out));
  EXPECT_EQ(out, 1.0f + std::ldexp(1.0f, -23));
}

TEST(FloatConvertTest, ConvertsLongUnalignedRows) {
  const int64_t count = 5001;
  std::mt19937 random(2);
  for (DType from : kConvertible) {
    std::string in(1 + count * DTypeBytes(from), '\0');
    for (char& c : in) c = static_cast<char>(random());
    for (DType to : kConvertible) {
      std::string out(1 + count * DTypeBytes(to), '\0');
      ConvertFloats(from, in.data() + 1, count, to, &out[1]);
      for (int64_t i : {int64_t{0}, int64_t{1023}, int64_t{1024}, count - 1}) {
        std::string one(DTypeBytes(to), '\0');
        ConvertFloats(from, in.data() + 1 + i * DTypeBytes(from), 1, to,
                      &one[0]);
        ASSERT_EQ(out.substr(1 + i * DTypeBytes(to), DTypeBytes(to)), one);
      }
    }
  }
}

// Every code of 16 bits and less, and subnormal numbers of the longer ones.
std::string AllCodes(DType dtype) {
  std::string codes;
  const int bytes = DTypeBytes(dtype);
  for (uint32_t code = 0; code < (bytes == 1 ? 256u : 65536u); ++code) {
    uint64_t value = code;
    // Both ends of the mantissa, and the exponents around zero.
    if (bytes == 4) value = code << 16 | (code & 7);
    if (bytes == 8) value = uint64_t{code} << 48 | (code & 7);
    codes.append(reinterpret_cast<const char*>(&value), bytes);
  }
  return codes;
}

TEST(FloatConvertTest, ScalesInF32) {
  for (DType from : {DType::kF8E4M3, DType::kBF16, DType::kF32}) {
    const std::string in = AllCodes(from);
    const int64_t count = in.size() / DTypeBytes(from);
    std::vector<float> values(count);
    DecodeToF32(from, in.data(), count, values.data());
    for (float& value : values) value *= 3.7f;
    std::string expected(count * 2, '\0');
    EncodeFromF32(DType::kBF16, values.data(), count, &expected[0]);
    std::string found = expected;
    ScaleFloats(from, in.data(), count, 3.7f, DType::kBF16, &found[0]);
    EXPECT_TRUE(found == expected) << DTypeName(from);
  }
}

TEST(FloatConvertTest, KnowsWhatItConverts) {
  EXPECT_FALSE(IsConvertible(DType::kF4));
  EXPECT_FALSE(IsConvertible(DType::kF6E3M2));
  EXPECT_FALSE(IsConvertible(DType::kI32));
  EXPECT_FALSE(IsConvertible(DType::kC64));
  for (DType dtype : kConvertible) EXPECT_TRUE(IsConvertible(dtype));
}

}  // namespace
}  // namespace windlass
