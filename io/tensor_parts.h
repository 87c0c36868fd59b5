// Reading all bytes of many tensors on several threads in bounded memory: the
// tensors are cut into parts, a thread takes a part at a time.

#ifndef WINDLASS_IO_TENSOR_PARTS_H_
#define WINDLASS_IO_TENSOR_PARTS_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "windlass/core/tensor.h"

namespace windlass {

struct ReadingOptions {
  int threads = 2;
  // Counts the bytes that were read while the work goes on; may be null.
  std::atomic<int64_t>* bytes_done = nullptr;

  void Count(int64_t bytes) const {
    if (bytes_done == nullptr) return;
    bytes_done->fetch_add(bytes, std::memory_order_relaxed);
  }
};

// Bytes [begin, end) of one of several tensors.
struct TensorPart {
  size_t tensor = 0;
  int64_t begin = 0;
  int64_t end = 0;
};

// All bytes of the tensors in their order, in parts that begin where a piece
// does (core/tensor.h). An empty tensor has none.
std::vector<TensorPart> CutIntoParts(absl::Span<const Tensor* const> tensors);

// Where the piece of a part that starts at `begin` ends: a few hundred KiB of
// what lies verbatim, which stay in a core's cache; else what the tensor says.
int64_t PieceOfPart(const Tensor& tensor, const TensorPart& part,
                    int64_t begin);

// Working memory of a thread, which grows to what is asked for.
class ReadBuffer {
 public:
  // `size` bytes of the tensor, from `begin` on; valid until the next call.
  absl::StatusOr<const char*> Read(const Tensor& tensor, int64_t begin,
                                   int64_t size);

 private:
  std::unique_ptr<char[]> bytes_;
  int64_t capacity_ = 0;
};

// Calls `work` for each of `count` parts, in their order as far as threads go,
// with buffers of the calling thread's own. The first error ends it all and is
// returned; what `work` throws is one.
using PartWork =
    absl::FunctionRef<absl::Status(size_t part, ReadBuffer* a, ReadBuffer* b)>;
absl::Status ForEachPart(size_t count, int threads, PartWork work);

}  // namespace windlass

#endif  // WINDLASS_IO_TENSOR_PARTS_H_
