// Hosts set up floating point as they like: frameworks flush subnormal numbers
// to zero. What the kernels give does not depend on it.

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include <cfenv>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "windlass/core/dtype.h"
#include "windlass/core/kernels/float_convert.h"

namespace windlass {
namespace {

constexpr DType kConvertible[] = {
    DType::kF8E5M2,     DType::kF8E4M3,     DType::kF8E8M0,
    DType::kF8E4M3FNUZ, DType::kF8E5M2FNUZ, DType::kF16,
    DType::kBF16,       DType::kF32,        DType::kF64};

// Another mode while it lives; the destructor expects to find it as it was.
class OtherMode {
 public:
  explicit OtherMode(int rounding) : saved_(Get()) {
    std::fesetround(rounding);
#ifdef __SSE2__
    _mm_setcsr(_mm_getcsr() | 0x8040);  // flush to zero, subnormals are zero
#endif
    set_ = Get();
  }
  ~OtherMode() {
    EXPECT_EQ(Get(), set_);
    std::fesetround(FE_TONEAREST);
#ifdef __SSE2__
    _mm_setcsr(saved_);
#endif
  }

 private:
  static unsigned Get() {
#ifdef __SSE2__
    return _mm_getcsr() & ~0x3Fu;
#else
    return std::fegetround();
#endif
  }

  const unsigned saved_;
  unsigned set_;
};

// Every code of a dtype of 16 bits or less; of the others subnormal numbers,
// the smallest normal ones, and some between.
std::string Codes(DType dtype) {
  std::string bytes;
  const int size = DTypeBytes(dtype);
  const auto add = [&](uint64_t code) {
    bytes.append(reinterpret_cast<const char*>(&code), size);
  };
  if (size <= 2) {
    for (uint64_t code = 0; code < uint64_t{1} << 8 * size; ++code) add(code);
    return bytes;
  }
  const int mantissa = size == 4 ? 23 : 52;
  // Exponents that F32, F16 and FP8 reach, and the smallest of the dtype.
  const uint64_t bias = size == 4 ? 127 : 1023;
  for (uint64_t sign : {0, 1}) {
    for (uint64_t exponent = 0; exponent < 2 * bias; ++exponent) {
      if (size == 8 && exponent > 2 && (exponent < 860 || exponent > 1160)) {
        continue;
      }
      for (uint64_t top : {0x00, 0x01, 0x55, 0x80, 0xFF}) {
        for (uint64_t low : {0, 1}) {
          add(sign << (8 * size - 1) | exponent << mantissa |
              top << (mantissa - 8) | low);
        }
      }
    }
  }
  return bytes;
}

std::string Convert(DType from, const std::string& in, DType to) {
  const int64_t count = in.size() / DTypeBytes(from);
  std::string out(count * DTypeBytes(to), '\0');
  ConvertFloats(from, in.data(), count, to, &out[0]);
  return out;
}

std::string Scale(DType from, const std::string& in, float scale, DType to) {
  const int64_t count = in.size() / DTypeBytes(from);
  std::string out(count * DTypeBytes(to), '\0');
  ScaleFloats(from, in.data(), count, scale, to, &out[0]);
  return out;
}

std::string Decode(DType from, const std::string& in) {
  std::vector<float> out(in.size() / DTypeBytes(from));
  DecodeToF32(from, in.data(), out.size(), out.data());
  return std::string(reinterpret_cast<const char*>(out.data()),
                     out.size() * sizeof(float));
}

class FloatingPointModeTest : public ::testing::TestWithParam<int> {};

TEST_P(FloatingPointModeTest, MakesNoDifference) {
  // A subnormal scale, one whose products are subnormal, one in between.
  const float kScales[] = {1e-41f, 3e-38f, 1.0f / 3};
  for (DType from : kConvertible) {
    const std::string in = Codes(from);
    const std::string decoded = Decode(from, in);
    {
      const OtherMode mode(GetParam());
      ASSERT_TRUE(Decode(from, in) == decoded) << DTypeName(from);
    }
    for (DType to : kConvertible) {
      const std::string converted = Convert(from, in, to);
      {
        const OtherMode mode(GetParam());
        ASSERT_TRUE(Convert(from, in, to) == converted)
            << DTypeName(from) << " to " << DTypeName(to);
      }
      for (float scale : kScales) {
        const std::string scaled = Scale(from, in, scale, to);
        const OtherMode mode(GetParam());
        ASSERT_TRUE(Scale(from, in, scale, to) == scaled)
            << DTypeName(from) << " to " << DTypeName(to) << " by " << scale;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Rounding, FloatingPointModeTest,
                         ::testing::Values(FE_TONEAREST, FE_TOWARDZERO,
                                           FE_UPWARD, FE_DOWNWARD));

}  // namespace
}  // namespace windlass
