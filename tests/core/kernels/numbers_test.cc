#include "windlass/core/kernels/numbers.h"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "windlass/core/dtype.h"
#include "windlass/core/kernels/float_convert.h"

namespace windlass {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

template <typename T>
std::string Bytes(const std::vector<T>& values) {
  std::string bytes(values.size() * sizeof(T), '\0');
  if (!values.empty()) std::memcpy(&bytes[0], values.data(), bytes.size());
  return bytes;
}

template <typename T>
NumberStatistics Statistics(DType dtype, const std::vector<T>& values) {
  const std::string bytes = Bytes(values);
  return ComputeStatistics(dtype, bytes.data(), bytes.size());
}

// As one writes it down, in long double.
struct Expected {
  long double mean = 0, deviation = 0;
};
Expected ByTheFormula(const std::vector<double>& values) {
  Expected expected;
  for (double value : values) expected.mean += value / values.size();
  for (double value : values) {
    expected.deviation +=
        (value - expected.mean) * (value - expected.mean) / values.size();
  }
  expected.deviation = std::sqrt(expected.deviation);
  return expected;
}

TEST(NumbersTest, ReadsEveryDTypeThatHasNumbers) {
  struct Row {
    DType dtype;
    std::string bytes;
    double min, max;
    int64_t count;
  };
  const Row rows[] = {
      {DType::kBool, {"\0\1\1", 3}, 0, 1, 3},
      {DType::kF4, "\x4f\xf7", -6, 6, 4},
      {DType::kU8, "\x03\xfe", 3, 254, 2},
      {DType::kI8, "\x03\xfe", -2, 3, 2},
      {DType::kF8E5M2, "\x3c\xbc", -1, 1, 2},
      {DType::kF8E4M3, "\x38\xb8", -1, 1, 2},
      {DType::kF8E8M0, "\x7e\x80", 0.5, 2, 2},
      {DType::kF8E4M3FNUZ, "\x40\xc0", -1, 1, 2},
      {DType::kF8E5M2FNUZ, "\x40\xc0", -1, 1, 2},
      {DType::kI16, Bytes<int16_t>({-32768, 7}), -32768, 7, 2},
      {DType::kU16, Bytes<uint16_t>({65535, 7}), 7, 65535, 2},
      {DType::kF16, Bytes<uint16_t>({0x3c00, 0xc000}), -2, 1, 2},
      {DType::kBF16, Bytes<uint16_t>({0x3f80, 0xc000}), -2, 1, 2},
      {DType::kI32, Bytes<int32_t>({INT32_MIN, 7}), INT32_MIN, 7, 2},
      {DType::kU32, Bytes<uint32_t>({UINT32_MAX, 7}), 7, UINT32_MAX, 2},
      {DType::kF32, Bytes<float>({1e-45f, -3}), -3, 1e-45f, 2},
      {DType::kC64, Bytes<float>({1, -3, 5, 7}), -3, 7, 4},
      {DType::kF64, Bytes<double>({1e300, -1e-300}), -1e-300, 1e300, 2},
      {DType::kI64, Bytes<int64_t>({INT64_MIN, 7}), -0x1p63, 7, 2},
      {DType::kU64, Bytes<uint64_t>({UINT64_MAX, 7}), 7, 0x1p64, 2},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(std::string(DTypeName(row.dtype)));
    EXPECT_TRUE(HasNumbers(row.dtype));
    const int64_t size = row.bytes.size();
    EXPECT_EQ(NumbersIn(row.dtype, size), row.count);
    const NumberStatistics found =
        ComputeStatistics(row.dtype, row.bytes.data(), size);
    EXPECT_EQ(found.count, row.count);
    EXPECT_EQ(found.finite(), row.count);
    EXPECT_EQ(found.min, row.min);
    EXPECT_EQ(found.max, row.max);
  }
  EXPECT_FALSE(HasNumbers(DType::kF6E2M3));
  EXPECT_FALSE(HasNumbers(DType::kF6E3M2));
}

TEST(NumbersTest, F4IsTheTableOfE2M1) {
  const double values[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
  for (int code = 0; code < 16; ++code) {
    // The low half is the first number; the high one is zero.
    const char byte = static_cast<char>(code);
    const NumberStatistics found = ComputeStatistics(DType::kF4, &byte, 1);
    const double value = values[code & 7] * (code < 8 ? 1 : -1);
    EXPECT_EQ(found.mean, value / 2) << code;
  }
}

TEST(NumbersTest, CountsWhatIsNoNumberApart) {
  const float infinity = std::numeric_limits<float>::infinity();
  const NumberStatistics found = Statistics<float>(
      DType::kF32, {kNan, 1, -infinity, 0, -0.0f, 5, -kNan, infinity, 2});
  EXPECT_EQ(found.count, 9);
  EXPECT_EQ(found.nans, 2);
  EXPECT_EQ(found.infinities, 2);
  EXPECT_EQ(found.zeros, 2);
  EXPECT_EQ(found.min, -kInfinity);
  EXPECT_EQ(found.max, kInfinity);
  EXPECT_DOUBLE_EQ(found.mean, 1.6);
  EXPECT_DOUBLE_EQ(found.StandardDeviation(), std::sqrt(17.2 / 5));
}

TEST(NumbersTest, NothingHasNeitherOrderNorMean) {
  for (const std::vector<float>& values :
       {std::vector<float>(), std::vector<float>(3, kNan)}) {
    const NumberStatistics found = Statistics(DType::kF32, values);
    EXPECT_EQ(found.count, static_cast<int64_t>(values.size()));
    EXPECT_EQ(found.finite(), 0);
    EXPECT_EQ(found.min, kInfinity);
    EXPECT_EQ(found.max, -kInfinity);
    EXPECT_EQ(found.StandardDeviation(), 0);
  }
}

TEST(NumbersTest, LosesNoPlacesFarFromZero) {
  std::mt19937 random(1);
  std::normal_distribution<double> normal(1e9, 1);
  std::vector<double> values(100'003);
  for (double& value : values) value = normal(random);
  const NumberStatistics found = Statistics(DType::kF64, values);
  const Expected expected = ByTheFormula(values);
  EXPECT_NEAR(found.mean, expected.mean, 1e-6);
  EXPECT_NEAR(found.StandardDeviation(), expected.deviation, 1e-6);
}

TEST(NumbersTest, MergingIsTheSameAsAll) {
  std::mt19937 random(2);
  std::normal_distribution<float> normal(3, 2);
  std::vector<float> values(5000);
  for (float& value : values) value = normal(random);
  values[70] = kNan;
  values[4000] = 0;
  const NumberStatistics all = Statistics(DType::kF32, values);
  for (const size_t cut : {0, 1, 70, 71, 2500, 5000}) {
    NumberStatistics merged;
    merged.Merge(
        Statistics<float>(DType::kF32, {values.begin(), values.begin() + cut}));
    merged.Merge(
        Statistics<float>(DType::kF32, {values.begin() + cut, values.end()}));
    EXPECT_EQ(merged.count, all.count);
    EXPECT_EQ(merged.nans, 1);
    EXPECT_EQ(merged.zeros, 1);
    EXPECT_EQ(merged.min, all.min);
    EXPECT_EQ(merged.max, all.max);
    EXPECT_NEAR(merged.mean, all.mean, 1e-12);
    EXPECT_NEAR(merged.StandardDeviation(), all.StandardDeviation(), 1e-12);
  }
}

template <typename T>
NumberDifference Compare(DType dtype, const std::vector<T>& a,
                         const std::vector<T>& b, Tolerance tolerance = {}) {
  const std::string a_bytes = Bytes(a), b_bytes = Bytes(b);
  return CompareNumbers(dtype, a_bytes.data(), dtype, b_bytes.data(),
                        NumbersIn(dtype, a_bytes.size()), tolerance);
}

TEST(NumbersTest, MeasuresHowFarNumbersAreApart) {
  const float infinity = std::numeric_limits<float>::infinity();
  struct Row {
    float a, b;
    int64_t unequal;
    double absolute, relative;
  };
  const Row rows[] = {
      {1, 1, 0, 0, 0},
      {0.0f, -0.0f, 0, 0, 0},
      {kNan, -kNan, 0, 0, 0},
      {infinity, infinity, 0, 0, 0},
      {3, 2, 1, 1, 0.5},
      {3, -2, 1, 5, 2.5},
      {0, 4, 1, 4, 1},
      {4, 0, 1, 4, kInfinity},
      {kNan, 1, 1, kInfinity, kInfinity},
      {1, kNan, 1, kInfinity, kInfinity},
      {infinity, -infinity, 1, kInfinity, kInfinity},
      {1, infinity, 1, kInfinity, kInfinity},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(testing::Message() << row.a << " and " << row.b);
    const NumberDifference found =
        Compare<float>(DType::kF32, {row.a}, {row.b}, {1e-3, 1e-3});
    EXPECT_EQ(found.count, 1);
    EXPECT_EQ(found.unequal, row.unequal);
    EXPECT_EQ(found.too_far, row.unequal);
    EXPECT_EQ(found.max_absolute, row.absolute);
    EXPECT_EQ(found.max_relative, row.relative);
  }
}

TEST(NumbersTest, WhatIsNearEnoughIsNotTooFar) {
  struct Row {
    double a, b;
    Tolerance tolerance;
    int64_t too_far;
  };
  const Row rows[] = {
      {1.5, 1, {0, 0.5}, 0},     {1.5, 1, {0, 0.49}, 1},
      {1.5, 1, {0.5, 0}, 0},     {1.5, 1, {0.49, 0}, 1},
      {1, 2, {0.5, 0}, 0},       {2, 1, {0.5, 0}, 1},  // of b
      {1.5, 1, {0.25, 0.25}, 0}, {kInfinity, 1, {kInfinity, kInfinity}, 1},
      {1, kInfinity, {1, 1}, 1},
  };
  for (const Row& row : rows) {
    EXPECT_EQ(
        Compare<double>(DType::kF64, {row.a}, {row.b}, row.tolerance).too_far,
        row.too_far)
        << row.a << " " << row.b;
  }
}

TEST(NumbersTest, LargeIntegersAreComparedExactly) {
  const int64_t large = (int64_t{1} << 60) + 1;
  const NumberDifference found = Compare<int64_t>(
      DType::kI64, {large, INT64_MIN, 5}, {large - 1, INT64_MAX, 5});
  EXPECT_EQ(found.unequal, 2);
  EXPECT_EQ(found.max_absolute, 0x1p64);
  EXPECT_EQ(found.too_far, 2);
  const NumberDifference zero =
      Compare<int64_t>(DType::kI64, {3, 2}, {0, 1}, {0, 1});
  EXPECT_EQ(zero.too_far, 1);
  EXPECT_EQ(zero.max_relative, kInfinity);
  EXPECT_EQ(Compare<int64_t>(DType::kI64, {large}, {large - 1}).max_absolute,
            1);
  EXPECT_EQ(Compare<uint64_t>(DType::kU64, {UINT64_MAX}, {UINT64_MAX - 2})
                .max_absolute,
            2);
}

TEST(NumbersTest, EachElementCountsWhereverItStands) {
  for (size_t count : {1, 7, 8, 9, 1023, 1024, 1025, 3000}) {
    const std::vector<float> b(count, 2);
    for (size_t at : {size_t{0}, count / 2, count - 1}) {
      std::vector<float> a = b;
      a[at] = 3;
      const NumberDifference found = Compare(DType::kF32, a, b);
      EXPECT_EQ(found.unequal, 1);
      EXPECT_EQ(found.too_far, 1);
      EXPECT_EQ(found.max_absolute, 1);
      EXPECT_EQ(found.max_relative, 0.5);
      const NumberStatistics statistics = Statistics(DType::kF32, a);
      EXPECT_EQ(statistics.max, 3);
      EXPECT_EQ(statistics.count, static_cast<int64_t>(count));
    }
  }
}

TEST(NumbersTest, ComparesAcrossDTypes) {
  std::vector<float> values(3000);
  for (size_t i = 0; i < values.size(); ++i) values[i] = i - 1500.0f;
  std::string rounded(values.size() * 2, '\0');
  EncodeFromF32(DType::kBF16, values.data(), values.size(), &rounded[0]);
  const std::string bytes = Bytes(values);
  const NumberDifference found =
      CompareNumbers(DType::kF32, bytes.data(), DType::kBF16, rounded.data(),
                     values.size(), {1e-2, 0});
  EXPECT_EQ(found.count, 3000);
  EXPECT_GT(found.unequal, 1000);
  EXPECT_EQ(found.too_far, 0);
  EXPECT_EQ(found.max_absolute, 4);
  EXPECT_LE(found.max_relative, 1.0 / 256);
}

TEST(NumbersTest, MergesDifferences) {
  NumberDifference all = Compare<float>(DType::kF32, {1, 2}, {1, 4});
  all.Merge(Compare<float>(DType::kF32, {1, 9, 0}, {2, 9, 1}));
  EXPECT_EQ(all.count, 5);
  EXPECT_EQ(all.unequal, 3);
  EXPECT_EQ(all.too_far, 3);
  EXPECT_EQ(all.max_absolute, 2);
  EXPECT_EQ(all.max_relative, 1);
}

}  // namespace
}  // namespace windlass
