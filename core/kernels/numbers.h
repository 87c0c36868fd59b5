// Looking at elements of any dtype as numbers: what they are together, and how
// far two rows of them are apart.
//
// A number is an F64, which every element is exactly, but for integers beyond
// 2^53. A complex element is two numbers. F6 has none here: no standard says in
// which order its bits are packed.

#ifndef WINDLASS_CORE_KERNELS_NUMBERS_H_
#define WINDLASS_CORE_KERNELS_NUMBERS_H_

#include <cstdint>
#include <limits>

#include "windlass/core/dtype.h"

namespace windlass {

// True for all dtypes but F6.
bool HasNumbers(DType dtype);

// How many numbers lie in as many bytes.
int64_t NumbersIn(DType dtype, int64_t bytes);

// What some numbers are together.
struct NumberStatistics {
  int64_t count = 0;
  int64_t zeros = 0;
  int64_t nans = 0;
  int64_t infinities = 0;
  // Of all but NaN; the other way round where there is none.
  double min = std::numeric_limits<double>::infinity();
  double max = -std::numeric_limits<double>::infinity();
  // Of those that are finite: the mean, and the sum of the squared distances
  // from it.
  double mean = 0;
  double squares = 0;

  int64_t finite() const { return count - nans - infinities; }
  // Of the finite ones as a whole (numpy's std); 0 where there is none.
  double StandardDeviation() const;
  // Adds others. The order makes a difference of roundings.
  void Merge(const NumberStatistics& other);
};

NumberStatistics ComputeStatistics(DType dtype, const char* bytes,
                                   int64_t size);

// What is near enough: |a - b| <= absolute + relative * |b|.
struct Tolerance {
  double relative = 0;
  double absolute = 0;
};

// How far two rows of numbers are apart. NaN is equal to NaN, and infinitely
// far from all else; so is an infinity from what is not the same.
struct NumberDifference {
  int64_t count = 0;
  int64_t unequal = 0;
  int64_t too_far = 0;
  double max_absolute = 0;
  // |a - b| / |b|: infinite where b alone is zero.
  double max_relative = 0;

  void Merge(const NumberDifference& other);
};

// Of `count` numbers. Integers of 64 bits are compared exactly where both are
// of one dtype.
NumberDifference CompareNumbers(DType a_dtype, const char* a, DType b_dtype,
                                const char* b, int64_t count,
                                const Tolerance& tolerance);

}  // namespace windlass

#endif  // WINDLASS_CORE_KERNELS_NUMBERS_H_
