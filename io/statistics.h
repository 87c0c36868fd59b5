// Statistics of tensors' values.
//
//   absl::StatusOr<std::vector<NumberStatistics>> statistics =
//       ComputeStatistics({&tensor}, {});

#ifndef WINDLASS_IO_STATISTICS_H_
#define WINDLASS_IO_STATISTICS_H_

#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "windlass/core/kernels/numbers.h"
#include "windlass/core/tensor.h"
#include "windlass/io/tensor_parts.h"

namespace windlass {

// Of each tensor. A dtype without numbers (HasNumbers) is not read, its count
// stays 0. Nothing depends on the number of threads. Memory: a piece a thread.
// Errors are those of reading.
absl::StatusOr<std::vector<NumberStatistics>> ComputeStatistics(
    absl::Span<const Tensor* const> tensors, const ReadingOptions& options);

}  // namespace windlass

#endif  // WINDLASS_IO_STATISTICS_H_
