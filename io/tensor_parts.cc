#include "windlass/io/tensor_parts.h"

#include <algorithm>
#include <mutex>
#include <utility>

#include "windlass/core/status_macros.h"
#include "windlass/core/without_exceptions.h"
#include "windlass/io/parallel.h"

namespace windlass {
namespace {

// Large enough that handing them out costs nothing, small enough that threads
// end together.
constexpr int64_t kPartBytes = 16 << 20;

constexpr int64_t kVerbatimPiece = 256 << 10;

}  // namespace

std::vector<TensorPart> CutIntoParts(absl::Span<const Tensor* const> tensors) {
  std::vector<TensorPart> parts;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const Tensor& tensor = *tensors[i];
    for (int64_t begin = 0; begin < tensor.bytes();) {
      int64_t end = begin;
      while (end < tensor.bytes() && end - begin < kPartBytes) {
        end = tensor.source()->PieceEnd(end);
      }
      end = std::min(end, tensor.bytes());
      parts.push_back({i, begin, end});
      begin = end;
    }
  }
  return parts;
}

int64_t PieceOfPart(const Tensor& tensor, const TensorPart& part,
                    int64_t begin) {
  const int64_t end = tensor.source()->Verbatim().has_value()
                          ? begin + kVerbatimPiece
                          : tensor.source()->PieceEnd(begin);
  return std::min(end, part.end);
}

absl::StatusOr<const char*> ReadBuffer::Read(const Tensor& tensor,
                                             int64_t begin, int64_t size) {
  if (size > capacity_) {
    bytes_.reset();
    capacity_ = 0;
    bytes_.reset(new char[size]);
    capacity_ = size;
  }
  WINDLASS_RETURN_IF_ERROR(
      tensor.source()->Read(Region{begin, size}, bytes_.get(), size));
  return bytes_.get();
}

absl::Status ForEachPart(size_t count, int threads, PartWork work) {
  std::atomic<size_t> next{0};
  std::mutex mutex;
  absl::Status first;
  RunOnThreads(threads, [&] {
    ReadBuffer a, b;
    for (size_t part = next++; part < count; part = next++) {
      absl::Status status =
          WithoutExceptions([&] { return work(part, &a, &b); });
      if (status.ok()) continue;
      const std::lock_guard<std::mutex> lock(mutex);
      if (first.ok()) first = std::move(status);
      next = count;
    }
  });
  return first;
}

}  // namespace windlass
