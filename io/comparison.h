// Comparing two state dicts: names, dtypes, shapes, bytes and values.
//
//   absl::StatusOr<Comparison> comparison = CompareTensors(a, b, {});
//   if (comparison->same()) ...

#ifndef WINDLASS_IO_COMPARISON_H_
#define WINDLASS_IO_COMPARISON_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "windlass/core/kernels/numbers.h"
#include "windlass/core/state_dict.h"
#include "windlass/core/tensor.h"
#include "windlass/io/tensor_parts.h"

namespace windlass {

struct ComparisonOptions {
  ReadingOptions reading;
  // Values that are near enough will do; without it each byte counts.
  std::optional<Tolerance> tolerance;
  // With a tolerance: values alone count, whatever dtypes they are stored in.
  bool any_dtype = false;
};

// What is to be said of a tensor; all but the first two are differences.
enum class Verdict {
  kSame,
  kClose,
  kOnlyInA,
  kOnlyInB,
  kShape,
  kDType,
  kValues
};

// "same", "close", "only in A", ...
absl::string_view VerdictName(Verdict verdict);

struct ComparedTensor {
  absl::string_view name;
  // Null where it has no such tensor.
  const Tensor* a = nullptr;
  const Tensor* b = nullptr;
  Verdict verdict = Verdict::kSame;
  // Of values that are not the same, where both have as many and they are
  // numbers (HasNumbers). `unequal` may be 0 where bytes differ: -0 is 0.
  std::optional<NumberDifference> numbers;
};

struct Comparison {
  // In A's order; then what B alone has, in B's.
  std::vector<ComparedTensor> tensors;

  int64_t Count(Verdict verdict) const;
  // Whether nothing differs.
  bool same() const;
};

// The bytes of both that CompareTensors is going to read.
int64_t BytesToCompare(const StateDict& a, const StateDict& b);

// Reads both, as far as their tensors have the same names and shapes, each byte
// once. The result refers to both. Memory: a piece of each a thread. Errors are
// those of reading.
absl::StatusOr<Comparison> CompareTensors(const StateDict& a,
                                          const StateDict& b,
                                          const ComparisonOptions& options);

}  // namespace windlass

#endif  // WINDLASS_IO_COMPARISON_H_
