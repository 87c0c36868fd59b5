// Against formulas that are written here once more, an element at a time.

#include "windlass/core/dequantize.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <ostream>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/core/tensor.h"
#include "windlass/core/tensor_ops.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/testing/tensors.h"

namespace windlass {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

template <typename T>
std::vector<T> Values(const Tensor& tensor) {
  const std::string bytes = ReadAll(tensor).value();
  std::vector<T> values(bytes.size() / sizeof(T));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

// Rounds to nearest even, NaN apart.
uint16_t Bf16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

float FromBf16(uint16_t code) {
  const uint32_t bits = uint32_t{code} << 16;
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

float E4M3(uint8_t code) {
  const int exponent = code >> 3 & 15, mantissa = code & 7;
  if ((code & 0x7F) == 0x7F) return std::nanf("");
  const float magnitude = exponent == 0
                              ? std::ldexp(float(mantissa), -9)
                              : std::ldexp(float(8 + mantissa), exponent - 10);
  return code & 0x80 ? -magnitude : magnitude;
}

constexpr float kFp4Values[] = {0.0f,  0.5f,  1.0f,  1.5f,  2.0f,  3.0f,
                                4.0f,  6.0f,  -0.0f, -0.5f, -1.0f, -1.5f,
                                -2.0f, -3.0f, -4.0f, -6.0f};

std::vector<uint8_t> Bytes(size_t count, std::mt19937* random) {
  std::vector<uint8_t> bytes(count);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>((*random)());
  return bytes;
}

bool SameFloat(float a, float b) {
  return std::isnan(a) ? std::isnan(b) : std::memcmp(&a, &b, sizeof(a)) == 0;
}

// BF16 and F32 results of `format` are `expected`, an element at a time.
void ExpectValues(const Tensor& codes, const Tensor& scales,
                  const PackedFormat& format,
                  const std::vector<float>& expected) {
  ASSERT_OK_AND_ASSIGN(const Tensor wide,
                       Dequantize(codes, scales, format, DType::kF32));
  ASSERT_OK_AND_ASSIGN(const Tensor narrow,
                       Dequantize(codes, scales, format, DType::kBF16));
  const std::vector<float> wides = Values<float>(wide);
  const std::vector<uint16_t> narrows = Values<uint16_t>(narrow);
  ASSERT_EQ(wides.size(), expected.size());
  ASSERT_EQ(narrows.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    ASSERT_TRUE(SameFloat(wides[i], expected[i]))
        << i << ": " << wides[i] << ", expected " << expected[i];
    if (std::isnan(expected[i])) {
      ASSERT_TRUE(std::isnan(FromBf16(narrows[i]))) << i;
    } else {
      ASSERT_EQ(narrows[i], Bf16(expected[i])) << i;
    }
  }
}

class DequantizeTest : public ::testing::Test {
 protected:
  std::mt19937 random_{11};
};

TEST_F(DequantizeTest, Fp8BlocksOfAnyRankAndScaleDType) {
  constexpr int64_t kE = 2, kM = 200, kN = 300;
  const std::vector<uint8_t> codes = Bytes(kE * kM * kN, &random_);
  const Tensor weight = MakeTensor(DType::kF8E4M3, {kE, kM, kN}, codes);
  for (DType dtype : {DType::kF32, DType::kBF16, DType::kF8E8M0}) {
    std::vector<float> scales(kE * 2 * 3);
    for (size_t i = 0; i < scales.size(); ++i) {
      // Powers of two for E8M0; few bits for BF16.
      scales[i] = std::ldexp(dtype == DType::kF8E8M0 ? 1.0f : 1.5f,
                             static_cast<int>(i) - 9);
    }
    ASSERT_OK_AND_ASSIGN(
        const Tensor scale,
        Cast(MakeTensor(DType::kF32, {kE, 2, 3}, scales), dtype));
    std::vector<float> expected;
    for (int64_t e = 0; e < kE; ++e) {
      for (int64_t i = 0; i < kM; ++i) {
        for (int64_t j = 0; j < kN; ++j) {
          expected.push_back(E4M3(codes[(e * kM + i) * kN + j]) *
                             scales[(e * 2 + i / 128) * 3 + j / 128]);
        }
      }
    }
    ExpectValues(weight, scale, BlockFormat(), expected);
  }
}

TEST_F(DequantizeTest, Fp8OfOneScaleAndOfOneForEachExpert) {
  const std::vector<uint8_t> codes = Bytes(3 * 4 * 5, &random_);
  std::vector<float> by_tensor, by_expert;
  const std::vector<float> scales = {0.3f, 7.0f, 1e-3f};
  for (size_t i = 0; i < codes.size(); ++i) {
    by_tensor.push_back(E4M3(codes[i]) * scales[0]);
    by_expert.push_back(E4M3(codes[i]) * scales[i / 20]);
  }
  const Tensor weight = MakeTensor(DType::kF8E4M3, {3, 4, 5}, codes);
  for (const Shape& shape : {Shape{}, Shape{1}, Shape{1, 1, 1}}) {
    ExpectValues(weight, MakeTensor<float>(DType::kF32, shape, {scales[0]}),
                 PerTensorFormat(3), by_tensor);
  }
  for (const Shape& shape : {Shape{3}, Shape{3, 1, 1}}) {
    ExpectValues(weight, MakeTensor(DType::kF32, shape, scales),
                 PerExpertFormat(3), by_expert);
  }
  ExpectValues(MakeTensor<uint8_t>(DType::kF8E4M3, {}, {0x38}),
               MakeTensor<float>(DType::kF32, {}, {2.5f}), PerTensorFormat(0),
               {2.5f});
}

TEST_F(DequantizeTest, MxFp8HasAnExponentFor32AndATail) {
  constexpr int64_t kRows = 256, kCols = 40;
  const std::vector<uint8_t> codes = Bytes(kRows * kCols, &random_);
  std::vector<uint8_t> scales(kRows * 2);
  std::vector<float> expected;
  for (int64_t i = 0; i < kRows; ++i) {
    scales[2 * i] = static_cast<uint8_t>(i);  // all of them
    scales[2 * i + 1] = static_cast<uint8_t>(255 - i);
    for (int64_t j = 0; j < kCols; ++j) {
      const double power = std::exp2(double{1} * scales[2 * i + j / 32] - 127);
      expected.push_back(E4M3(codes[i * kCols + j]) *
                         static_cast<float>(power));
    }
  }
  const Tensor weight = MakeTensor(DType::kF8E4M3, {kRows, kCols}, codes);
  for (DType dtype : {DType::kU8, DType::kF8E8M0}) {
    ExpectValues(weight, MakeTensor(dtype, {kRows, 2}, scales), MxFp8Format(),
                 expected);
  }
}

// Every code with every scale.
TEST_F(DequantizeTest, MxFp4TakesTheLowNibbleFirst) {
  std::vector<uint8_t> codes, scales;
  std::vector<float> expected;
  for (int scale = 0; scale < 256; ++scale) {
    scales.push_back(static_cast<uint8_t>(scale));
    const float power = scale == 255 ? kInf : std::ldexp(1.0f, scale - 127);
    for (int i = 0; i < 16; ++i) {
      codes.push_back(static_cast<uint8_t>(i | (15 - i) << 4));
      expected.push_back(kFp4Values[i] * power);
      expected.push_back(kFp4Values[15 - i] * power);
    }
  }
  ExpectValues(MakeTensor(DType::kU8, {256, 16}, codes),
               MakeTensor(DType::kU8, {256, 1}, scales), MxFp4Format(),
               expected);
  ExpectValues(MakeTensor(DType::kF4, {256, 32}, codes),
               MakeTensor(DType::kF8E8M0, {256, 1}, scales), MxFp4Format(),
               expected);
  // Codes in groups, as GPT-OSS has them.
  ASSERT_OK_AND_ASSIGN(
      const Tensor blocks,
      Reshape(MakeTensor(DType::kU8, {2, 32, 4, 16}, codes), {2, 32, 64}));
  ExpectValues(blocks, MakeTensor(DType::kU8, {2, 32, 4}, scales),
               MxFp4Format(), expected);
}

TEST_F(DequantizeTest, MxFp4FormsThePowerInTheTarget) {
  // 2^-25 is zero in F16, 2^16 infinity; 2^-24 and 2^15 are there.
  const std::vector<uint8_t> scales = {127 - 25, 127 - 24, 127 + 15, 127 + 16};
  const std::vector<uint8_t> codes(4 * 16, 0x62);  // 1 and 4
  ASSERT_OK_AND_ASSIGN(const Tensor out,
                       Dequantize(MakeTensor(DType::kU8, {4, 16}, codes),
                                  MakeTensor(DType::kU8, {4, 1}, scales),
                                  MxFp4Format(), DType::kF16));
  const std::vector<uint16_t> values = Values<uint16_t>(out);
  const uint16_t expected[4][2] = {
      {0, 0}, {1, 4}, {0x7800, 0x7C00}, {0x7C00, 0x7C00}};
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(values[32 * i], expected[i][0]) << i;
    EXPECT_EQ(values[32 * i + 1], expected[i][1]) << i;
  }
}

TEST_F(DequantizeTest, DeepSeekFp4HasAPositiveZeroAndAScaleOfZero) {
  std::vector<uint8_t> codes, scales;
  std::vector<float> expected;
  for (int scale = 0; scale < 256; ++scale) {
    scales.push_back(static_cast<uint8_t>(scale));
    const float power = scale == 0     ? 0.0f
                        : scale == 255 ? kInf
                                       : std::ldexp(1.0f, scale - 127);
    for (int i = 0; i < 16; ++i) {
      codes.push_back(static_cast<uint8_t>(i | (15 - i) << 4));
      for (int nibble : {i, 15 - i}) {
        expected.push_back((nibble == 8 ? 0.0f : kFp4Values[nibble]) * power);
      }
    }
  }
  for (DType dtype : {DType::kI8, DType::kU8}) {
    ExpectValues(MakeTensor(dtype, {256, 16}, codes),
                 MakeTensor(DType::kF8E8M0, {256, 1}, scales),
                 DeepSeekFp4Format(), expected);
  }
}

TEST_F(DequantizeTest, Int4HasEightInAWordAndAZeroOfEight) {
  constexpr int64_t kRows = 5, kCols = 96;
  std::vector<uint32_t> words(kRows * kCols / 8);
  for (uint32_t& word : words) word = random_();
  for (int64_t group : {32, 48, 96}) {
    const int64_t groups = kCols / group;
    std::vector<float> scales(kRows * groups);
    for (size_t i = 0; i < scales.size(); ++i) {
      scales[i] = static_cast<float>(i + 1) / 64;
    }
    std::vector<float> expected;
    for (int64_t i = 0; i < kRows; ++i) {
      for (int64_t j = 0; j < kCols; ++j) {
        const int64_t at = i * kCols + j;
        const int nibble = words[at / 8] >> at % 8 * 4 & 15;
        expected.push_back(static_cast<float>(nibble - 8) *
                           scales[i * groups + j / group]);
      }
    }
    const Shape shape = groups == 1 ? Shape{kRows} : Shape{kRows, groups};
    ASSERT_OK_AND_ASSIGN(
        const Tensor scale,
        Cast(MakeTensor(DType::kF32, shape, scales), DType::kF16));
    ExpectValues(MakeTensor(DType::kI32, {kRows, kCols / 8}, words), scale,
                 Int4Format(group), expected);
  }
}

// The reference's formula, in its order of operations.
TEST_F(DequantizeTest, QuantizesInt4InEqualGroupsOf32OrLess) {
  constexpr int64_t kRows = 7;
  const struct {
    int64_t cols;
    size_t group;
  } kCases[] = {{160, 32}, {32, 32}, {40, 20}, {16, 16}, {104, 26}};
  for (const auto& c : kCases) {
    SCOPED_TRACE(c.cols);
    std::vector<float> weights(kRows * c.cols);
    for (size_t i = 0; i < weights.size(); ++i) {
      weights[i] = (static_cast<float>(random_() % 20001) - 10000) / 3000;
      if (i / c.group == 3) weights[i] = 0;      // a group of zeros
      if (i / c.group == 4) weights[i] = i % 8;  // ties
    }
    ASSERT_OK_AND_ASSIGN(
        const Int4Tensors out,
        QuantizeInt4(MakeTensor(DType::kF32, {kRows, c.cols}, weights)));
    const int64_t groups = c.cols / static_cast<int64_t>(c.group);
    EXPECT_EQ(out.packed.shape(), (Shape{kRows, c.cols / 8}));
    EXPECT_EQ(out.scales.shape(), (Shape{kRows, groups}));
    std::vector<float> scales;
    std::vector<uint32_t> words(weights.size() / 8);
    for (size_t begin = 0; begin < weights.size(); begin += c.group) {
      float largest = 0;
      for (size_t i = begin; i < begin + c.group; ++i) {
        largest = std::max(largest, std::fabs(weights[i]));
      }
      scales.push_back(std::max(largest / 7, 1e-10f));
      for (size_t i = begin; i < begin + c.group; ++i) {
        const float code = std::nearbyint(weights[i] / scales.back());
        const int clamped = static_cast<int>(std::clamp(code, -8.0f, 7.0f)) + 8;
        words[i / 8] |= static_cast<uint32_t>(clamped) << i % 8 * 4;
      }
    }
    EXPECT_EQ(Values<uint32_t>(out.packed), words);
    ASSERT_OK_AND_ASSIGN(
        const Tensor rounded,
        Cast(MakeTensor(DType::kF32, out.scales.shape(), scales), DType::kF16));
    EXPECT_EQ(ReadAll(out.scales).value(), ReadAll(rounded).value());
    ExpectRegionsAgree(out.packed, &random_);
    ExpectRegionsAgree(out.scales, &random_);
  }
}

// Experts lie transposed in the native layout: a few output rows at a time
// would read the matrix anew for each of them.
TEST_F(DequantizeTest, Int4ReadsEachRowOfATransposeOnce) {
  constexpr int64_t kRows = 1024, kCols = 512;
  const auto source = std::make_shared<CountedSource>(
      ReadAll(RandomTensor(DType::kBF16, {kRows, kCols}, &random_)).value());
  ASSERT_OK_AND_ASSIGN(const Tensor stored,
                       Tensor::FromExtent(DType::kBF16, {kRows, kCols},
                                          Extent{source, 0, source->size()}));
  ASSERT_OK_AND_ASSIGN(const Tensor turned, Transpose(stored));
  ASSERT_OK_AND_ASSIGN(const Int4Tensors out, QuantizeInt4(turned));
  ASSERT_OK(ReadAll(out.packed));
  EXPECT_LE(source->reads(), kRows);
  ASSERT_OK(ReadAll(out.scales));
  EXPECT_LE(source->reads(), 2 * kRows);
}

TEST_F(DequantizeTest, Int4RefusesWhatItCannotScale) {
  for (float bad : {std::nanf(""), kInf, -kInf, 1e6f}) {
    std::vector<float> weights(64, 1.0f);
    weights[40] = bad;
    ASSERT_OK_AND_ASSIGN(
        const Int4Tensors out,
        QuantizeInt4(MakeTensor(DType::kF32, {1, 64}, weights)));
    EXPECT_THAT(ReadAll(out.packed), StatusIs(kInvalid, HasSubstr("NaN")));
    EXPECT_THAT(ReadAll(out.scales), StatusIs(kInvalid, HasSubstr("NaN")));
  }
}

TEST_F(DequantizeTest, AShapeThatIsAnotherFailsTheReading) {
  const Tensor tensor = RandomTensor(DType::kBF16, {2, 3}, &random_);
  for (const Tensor& shape : {MakeTensor<int64_t>(DType::kI64, {2}, {2, 3}),
                              MakeTensor<int32_t>(DType::kI32, {2}, {2, 3})}) {
    ASSERT_OK_AND_ASSIGN(const Tensor same, ExpectShape(tensor, shape));
    EXPECT_EQ(ReadAll(same).value(), ReadAll(tensor).value());
  }
  for (const Tensor& shape : {MakeTensor<int64_t>(DType::kI64, {2}, {2, 2}),
                              MakeTensor<int32_t>(DType::kI32, {2}, {3, 2})}) {
    ASSERT_OK_AND_ASSIGN(const Tensor other, ExpectShape(tensor, shape));
    EXPECT_THAT(ReadAll(other), StatusIs(kInvalid, HasSubstr("[2, 3]")));
  }
  for (const Tensor& none : {MakeTensor<int64_t>(DType::kI64, {1}, {6}),
                             MakeTensor<float>(DType::kF32, {2}, {2, 3})}) {
    EXPECT_THAT(ExpectShape(tensor, none),
                StatusIs(kInvalid, HasSubstr(none.ToString())));
  }
}

TEST_F(DequantizeTest, MulOuterRoundsToThePromotedDType) {
  const std::vector<uint16_t> values = {0x3FC1, 0x4049, 0xBEAB, 0x0001};
  const std::vector<uint16_t> scales = {0x3F9D, 0x4111};
  const Tensor tensor = MakeTensor(DType::kBF16, {2, 2}, values);
  const Tensor scale = MakeTensor(DType::kBF16, {2}, scales);
  ASSERT_OK_AND_ASSIGN(const Tensor same, MulOuter(tensor, scale));
  EXPECT_EQ(same.dtype(), DType::kBF16);
  ASSERT_OK_AND_ASSIGN(const Tensor wide_scale, Cast(scale, DType::kF32));
  ASSERT_OK_AND_ASSIGN(const Tensor wide, MulOuter(tensor, wide_scale));
  EXPECT_EQ(wide.dtype(), DType::kF32);
  for (int i = 0; i < 4; ++i) {
    const float product = FromBf16(values[i]) * FromBf16(scales[i / 2]);
    EXPECT_EQ(Values<uint16_t>(same)[i], Bf16(product));
    EXPECT_EQ(Values<float>(wide)[i], product);
  }
  EXPECT_THAT(MulOuter(tensor, MakeTensor<uint8_t>(DType::kU8, {2}, {1, 2})),
              StatusIs(kInvalid, HasSubstr("U8 [2]")));
}

// Any region gives the same as all of it; blocks in all dimensions' order.
TEST_F(DequantizeTest, RegionsAgree) {
  const Tensor bytes =
      MakeTensor(DType::kU8, {6, 10, 48}, Bytes(6 * 10 * 48, &random_));
  const struct {
    Shape block;
    Shape scales;
  } kCases[] = {
      {{32}, {6, 10, 3}},
      {{4, 32}, {6, 3, 3}},
      {{4, 3, 7}, {2, 4, 14}},
      {{kWholeDimension, 1, 32}, {1, 10, 3}},
      {{kWholeDimension, kWholeDimension, 5}, {20}},
      {{1, kWholeDimension, 1000}, {6}},
  };
  for (const auto& c : kCases) {
    const PackedFormat format{ElementCode::kFp4, ScaleCode::kExponent, c.block};
    std::vector<uint8_t> exponents(ElementCount(c.scales).value());
    for (uint8_t& exponent : exponents) exponent = 100 + random_() % 50;
    ASSERT_OK_AND_ASSIGN(
        const Tensor out,
        Dequantize(bytes, MakeTensor(DType::kU8, c.scales, exponents), format,
                   DType::kBF16));
    ExpectRegionsAgree(out, &random_);
    ASSERT_OK_AND_ASSIGN(const Tensor turned, Transpose(out));
    ExpectRegionsAgree(turned, &random_);
    // And what the regions are held against, by index.
    Shape block = c.block;
    while (block.size() < 3) block.insert(block.begin(), 1);
    const Shape shape = {6, 10, 96};
    Shape blocks;
    for (int dim = 0; dim < 3; ++dim) {
      if (block[dim] == kWholeDimension) block[dim] = shape[dim];
      blocks.push_back((shape[dim] + block[dim] - 1) / block[dim]);
    }
    const std::vector<uint16_t> values = Values<uint16_t>(out);
    const std::vector<uint8_t> codes = Values<uint8_t>(bytes);
    for (size_t at = 0; at < values.size(); ++at) {
      const int64_t i = at / 960, j = at / 96 % 10, k = at % 96;
      const int64_t scale =
          (i / block[0] * blocks[1] + j / block[1]) * blocks[2] + k / block[2];
      const int nibble = codes[at / 2] >> at % 2 * 4 & 15;
      ASSERT_EQ(values[at],
                Bf16(std::ldexp(kFp4Values[nibble], exponents[scale] - 127)))
          << at;
    }
  }
}

TEST_F(DequantizeTest, RefusesWhatDoesNotFit) {
  const Tensor bytes = MakeTensor(DType::kU8, {4, 16}, Bytes(64, &random_));
  const Tensor scales = MakeTensor(DType::kU8, {4, 1}, Bytes(4, &random_));
  const Tensor fp8 = MakeTensor(DType::kF8E4M3, {4, 16}, Bytes(64, &random_));
  const Tensor floats = MakeTensor<float>(DType::kF32, {4}, {1, 2, 3, 4});
  EXPECT_OK(Dequantize(bytes, scales, MxFp4Format(), DType::kBF16));
  EXPECT_THAT(Dequantize(fp8, scales, MxFp4Format(), DType::kBF16),
              StatusIs(kInvalid, HasSubstr("F8_E4M3 [4, 16]")));
  EXPECT_THAT(Dequantize(bytes, floats, MxFp4Format(), DType::kBF16),
              StatusIs(kInvalid, HasSubstr("F32 [4]")));
  EXPECT_THAT(Dequantize(bytes, scales, BlockFormat(), DType::kBF16),
              StatusIs(kInvalid, HasSubstr("U8 [4, 16]")));
  EXPECT_THAT(Dequantize(bytes, scales, MxFp4Format(), DType::kI32),
              StatusIs(kInvalid, HasSubstr("I32")));
  EXPECT_THAT(Dequantize(fp8, floats, BlockFormat(), DType::kBF16),
              StatusIs(kInvalid, AllOf(HasSubstr("expected scales [1, 1]"),
                                       HasSubstr("F8_E4M3 [4, 16]"))));
  EXPECT_THAT(Dequantize(fp8, floats, PerTensorFormat(3), DType::kBF16),
              StatusIs(kInvalid, HasSubstr("3 dimensions")));
  const Tensor odd = MakeTensor<uint8_t>(DType::kF4, {2, 3}, {1, 2, 3});
  EXPECT_THAT(Dequantize(odd, scales, MxFp4Format(), DType::kBF16),
              StatusIs(kInvalid, HasSubstr("whole bytes")));
  EXPECT_THAT(QuantizeInt4(bytes), StatusIs(kInvalid, HasSubstr("U8")));
  EXPECT_THAT(QuantizeInt4(floats), StatusIs(kInvalid, HasSubstr("32")));
}

TEST_F(DequantizeTest, EmptyTensorsStayEmpty) {
  const Tensor codes = RandomTensor(DType::kF8E4M3, {0, 64}, &random_);
  ASSERT_OK_AND_ASSIGN(
      const Tensor out,
      Dequantize(codes, MakeTensor<float>(DType::kF32, {}, {1}),
                 PerTensorFormat(2), DType::kBF16));
  EXPECT_EQ(out.shape(), (Shape{0, 64}));
  EXPECT_EQ(ReadAll(out).value(), "");
}

}  // namespace
}  // namespace windlass
