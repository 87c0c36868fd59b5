#include "windlass/core/kernels/numbers.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "windlass/core/kernels/dispatch.h"
#include "windlass/core/kernels/float_convert.h"
#include "windlass/core/kernels/floating_point_mode.h"

namespace windlass {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Numbers that are looked at together: they stay in the first-level cache.
// Even, as F4 has two a byte.
constexpr int64_t kBlock = 1024;

// Sums are kept in as many places, so that compilers may vectorise them.
constexpr int kLanes = 8;

template <typename T>
void DecodeAs(const char* in, int64_t count, double* out) {
  for (int64_t i = 0; i < count; ++i) {
    T value;
    std::memcpy(&value, in + i * sizeof(T), sizeof(T));
    out[i] = static_cast<double>(value);
  }
}

void DecodeFloats(DType dtype, const char* in, int64_t count, double* out) {
  float values[kBlock];
  DecodeToF32(dtype, in, count, values);
  for (int64_t i = 0; i < count; ++i) out[i] = values[i];
}

void DecodeF4(const char* in, int64_t count, double* out) {
  constexpr double kValues[] = {0,    0.5,  1,  1.5,  2,  3,  4,  6,
                                -0.0, -0.5, -1, -1.5, -2, -3, -4, -6};
  for (int64_t i = 0; i < count; ++i) {
    out[i] = kValues[in[i / 2] >> (i % 2 * 4) & 0xF];
  }
}

void DecodeBools(const char* in, int64_t count, double* out) {
  for (int64_t i = 0; i < count; ++i) out[i] = in[i] != 0;
}

// `count` numbers, kBlock at most.
WINDLASS_DISPATCH void Decode(DType dtype, const char* in, int64_t count,
                              double* out) {
  switch (dtype) {
    case DType::kBool:
      return DecodeBools(in, count, out);
    case DType::kF4:
      return DecodeF4(in, count, out);
    case DType::kU8:
      return DecodeAs<uint8_t>(in, count, out);
    case DType::kI8:
      return DecodeAs<int8_t>(in, count, out);
    case DType::kI16:
      return DecodeAs<int16_t>(in, count, out);
    case DType::kU16:
      return DecodeAs<uint16_t>(in, count, out);
    case DType::kI32:
      return DecodeAs<int32_t>(in, count, out);
    case DType::kU32:
      return DecodeAs<uint32_t>(in, count, out);
    case DType::kI64:
      return DecodeAs<int64_t>(in, count, out);
    case DType::kU64:
      return DecodeAs<uint64_t>(in, count, out);
    case DType::kF32:
    case DType::kC64:
      return DecodeAs<float>(in, count, out);
    case DType::kF64:
      return DecodeAs<double>(in, count, out);
    default:
      return DecodeFloats(dtype, in, count, out);
  }
}

// Where number `i` lies; `i` is even where two share a byte.
int64_t OffsetOf(DType dtype, int64_t i) {
  return dtype == DType::kC64 ? i * 4 : i * DTypeBits(dtype) / 8;
}

bool IsFinite(double value) {
  return std::fabs(value) <= std::numeric_limits<double>::max();
}

struct Lanes {
  double sum[kLanes] = {};
  double finite[kLanes] = {};
  double zeros[kLanes] = {};
  double nans[kLanes] = {};
  double min[kLanes];
  double max[kLanes];

  Lanes() {
    std::fill_n(min, kLanes, kInfinity);
    std::fill_n(max, kLanes, -kInfinity);
  }

  void Add(int lane, double value) {
    const bool is_finite = IsFinite(value);
    sum[lane] += is_finite ? value : 0.0;
    finite[lane] += is_finite ? 1.0 : 0.0;
    zeros[lane] += value == 0 ? 1.0 : 0.0;
    nans[lane] += value != value ? 1.0 : 0.0;
    min[lane] = value < min[lane] ? value : min[lane];
    max[lane] = value > max[lane] ? value : max[lane];
  }
};

// Calls add(lane, i) for each i below `count`. Inlined, so that it is compiled
// for what its caller is (dispatch.h).
template <typename Add>
__attribute__((always_inline)) inline void ForEachInLanes(int64_t count,
                                                          const Add& add) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) add(lane, i + lane);
  }
  for (int lane = 0; i + lane < count; ++lane) add(lane, i + lane);
}

double Max(const double (&lanes)[kLanes]) {
  return *std::max_element(lanes, lanes + kLanes);
}

double Sum(const double (&lanes)[kLanes]) {
  double sum = 0;
  for (double lane : lanes) sum += lane;
  return sum;
}

// A block at a time: its mean first, then the distances from it, which loses no
// places as the difference of two large sums would.
WINDLASS_DISPATCH void SummariseBlock(const double* values, int64_t count,
                                      NumberStatistics* out) {
  Lanes lanes;
  ForEachInLanes(count,
                 [&](int lane, int64_t i) { lanes.Add(lane, values[i]); });
  const double finite = Sum(lanes.finite);
  out->count = count;
  out->zeros = static_cast<int64_t>(Sum(lanes.zeros));
  out->nans = static_cast<int64_t>(Sum(lanes.nans));
  out->infinities = count - out->nans - static_cast<int64_t>(finite);
  out->min = *std::min_element(lanes.min, lanes.min + kLanes);
  out->max = Max(lanes.max);
  if (finite == 0) return;
  const double mean = Sum(lanes.sum) / finite;
  double squares[kLanes] = {};
  ForEachInLanes(count, [&](int lane, int64_t i) {
    const double distance = IsFinite(values[i]) ? values[i] - mean : 0.0;
    squares[lane] += distance * distance;
  });
  out->mean = mean;
  out->squares = Sum(squares);
}

struct DifferenceLanes {
  double unequal[kLanes] = {};
  double too_far[kLanes] = {};
  double max_absolute[kLanes] = {};
  double max_relative[kLanes] = {};

  // One choice between two numbers at a time, which is what compilers turn into
  // vectors.
  void Add(int lane, double a, double b, const Tolerance& tolerance) {
    const double size = std::fabs(b);
    double apart = std::fabs(a - b);
    apart = IsFinite(apart) ? apart : kInfinity;
    apart = a == b ? 0.0 : apart;
    const double if_a_is_nan = b != b ? 0.0 : apart;
    apart = a != a ? if_a_is_nan : apart;
    // 0 / 0 is equal, infinity / infinity is not.
    const double if_undefined = apart > 0 ? kInfinity : 0.0;
    double relative = apart / size;
    relative = relative != relative ? if_undefined : relative;
    const double is_unequal = apart > 0 ? 1.0 : 0.0;
    const double is_infinite = IsFinite(apart) ? 0.0 : 1.0;
    const double limit = tolerance.absolute + tolerance.relative * size;
    unequal[lane] += is_unequal;
    too_far[lane] += apart <= limit ? is_infinite : is_unequal;
    max_absolute[lane] =
        apart > max_absolute[lane] ? apart : max_absolute[lane];
    max_relative[lane] =
        relative > max_relative[lane] ? relative : max_relative[lane];
  }
};

WINDLASS_DISPATCH void CompareBlock(const double* a, const double* b,
                                    int64_t count, const Tolerance& tolerance,
                                    NumberDifference* out) {
  // A copy, as lanes are written to meanwhile.
  const Tolerance near = tolerance;
  DifferenceLanes lanes;
  ForEachInLanes(
      count, [&](int lane, int64_t i) { lanes.Add(lane, a[i], b[i], near); });
  out->unequal += static_cast<int64_t>(Sum(lanes.unequal));
  out->too_far += static_cast<int64_t>(Sum(lanes.too_far));
  out->max_absolute = std::max(out->max_absolute, Max(lanes.max_absolute));
  out->max_relative = std::max(out->max_relative, Max(lanes.max_relative));
}

template <typename T>
__attribute__((noinline)) void CompareIntegers(const char* a, const char* b,
                                               int64_t count,
                                               const Tolerance& tolerance,
                                               NumberDifference* out) {
  for (int64_t i = 0; i < count; ++i) {
    T x, y;
    std::memcpy(&x, a + i * sizeof(T), sizeof(T));
    std::memcpy(&y, b + i * sizeof(T), sizeof(T));
    if (x == y) continue;
    const uint64_t apart = x > y ? static_cast<uint64_t>(x) - uint64_t(y)
                                 : static_cast<uint64_t>(y) - uint64_t(x);
    const double distance = static_cast<double>(apart);
    const double size = std::fabs(static_cast<double>(y));
    ++out->unequal;
    if (distance > tolerance.absolute + tolerance.relative * size) {
      ++out->too_far;
    }
    out->max_absolute = std::max(out->max_absolute, distance);
    out->max_relative = std::max(out->max_relative, distance / size);
  }
}

}  // namespace

bool HasNumbers(DType dtype) {
  return dtype != DType::kF6E2M3 && dtype != DType::kF6E3M2;
}

int64_t NumbersIn(DType dtype, int64_t bytes) {
  return dtype == DType::kC64 ? bytes / 4 : bytes * 8 / DTypeBits(dtype);
}

double NumberStatistics::StandardDeviation() const {
  return finite() > 0 ? std::sqrt(squares / finite()) : 0;
}

void NumberStatistics::Merge(const NumberStatistics& other) {
  const double mine = finite();
  const double theirs = other.finite();
  if (theirs > 0) {
    const double distance = other.mean - mean;
    const double share = theirs / (mine + theirs);
    mean = mine > 0 ? mean + distance * share : other.mean;
    squares +=
        other.squares + (mine > 0 ? distance * distance * mine * share : 0);
  }
  count += other.count;
  zeros += other.zeros;
  nans += other.nans;
  infinities += other.infinities;
  min = std::min(min, other.min);
  max = std::max(max, other.max);
}

NumberStatistics ComputeStatistics(DType dtype, const char* bytes,
                                   int64_t size) {
  const DefaultFloatingPointMode mode;
  NumberStatistics all;
  const int64_t count = NumbersIn(dtype, size);
  double values[kBlock];
  for (int64_t i = 0; i < count; i += kBlock) {
    const int64_t block = std::min(kBlock, count - i);
    Decode(dtype, bytes + OffsetOf(dtype, i), block, values);
    NumberStatistics part;
    SummariseBlock(values, block, &part);
    all.Merge(part);
  }
  return all;
}

void NumberDifference::Merge(const NumberDifference& other) {
  count += other.count;
  unequal += other.unequal;
  too_far += other.too_far;
  max_absolute = std::max(max_absolute, other.max_absolute);
  max_relative = std::max(max_relative, other.max_relative);
}

NumberDifference CompareNumbers(DType a_dtype, const char* a, DType b_dtype,
                                const char* b, int64_t count,
                                const Tolerance& tolerance) {
  const DefaultFloatingPointMode mode;
  NumberDifference all;
  all.count = count;
  if (a_dtype == b_dtype && a_dtype == DType::kI64) {
    CompareIntegers<int64_t>(a, b, count, tolerance, &all);
    return all;
  }
  if (a_dtype == b_dtype && a_dtype == DType::kU64) {
    CompareIntegers<uint64_t>(a, b, count, tolerance, &all);
    return all;
  }
  double a_values[kBlock], b_values[kBlock];
  for (int64_t i = 0; i < count; i += kBlock) {
    const int64_t block = std::min(kBlock, count - i);
    Decode(a_dtype, a + OffsetOf(a_dtype, i), block, a_values);
    Decode(b_dtype, b + OffsetOf(b_dtype, i), block, b_values);
    CompareBlock(a_values, b_values, block, tolerance, &all);
  }
  return all;
}

}  // namespace windlass
