#include "windlass/io/statistics.h"

#include <cstddef>
#include <cstdint>

#include "windlass/core/status_macros.h"

namespace windlass {

absl::StatusOr<std::vector<NumberStatistics>> ComputeStatistics(
    absl::Span<const Tensor* const> tensors, const ReadingOptions& options) {
  const std::vector<TensorPart> parts = CutIntoParts(tensors);
  // Sums depend on their order: parts are added up when all are done.
  std::vector<NumberStatistics> of_part(parts.size());
  WINDLASS_RETURN_IF_ERROR(ForEachPart(
      parts.size(), options.threads,
      [&](size_t i, ReadBuffer* buffer, ReadBuffer*) -> absl::Status {
        const TensorPart& part = parts[i];
        const Tensor& tensor = *tensors[part.tensor];
        if (!HasNumbers(tensor.dtype())) {
          options.Count(part.end - part.begin);
          return absl::OkStatus();
        }
        for (int64_t begin = part.begin; begin < part.end;) {
          const int64_t size = PieceOfPart(tensor, part, begin) - begin;
          WINDLASS_ASSIGN_OR_RETURN(const char* bytes,
                                    buffer->Read(tensor, begin, size));
          of_part[i].Merge(ComputeStatistics(tensor.dtype(), bytes, size));
          options.Count(size);
          begin += size;
        }
        return absl::OkStatus();
      }));
  std::vector<NumberStatistics> statistics(tensors.size());
  for (size_t i = 0; i < parts.size(); ++i) {
    statistics[parts[i].tensor].Merge(of_part[i]);
  }
  return statistics;
}

}  // namespace windlass
