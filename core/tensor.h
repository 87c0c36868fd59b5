// Tensor: a dtype, a shape, and where the bytes come from.
//
// A Tensor is a handle: immutable, cheap to copy, safe to use from any thread.
// Nothing is read until somebody asks for bytes, so a whole checkpoint's
// conversion can be planned from headers. Operations (tensor_ops.h) build
// sources on sources; whoever writes a custom one derives from TensorSource.
//
//   Tensor w = Tensor::FromBytes(DType::kF32, {2}, std::string(8, '\0'));
//   absl::StatusOr<std::string> bytes = ReadAll(w);

#ifndef WINDLASS_CORE_TENSOR_H_
#define WINDLASS_CORE_TENSOR_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "windlass/core/byte_source.h"
#include "windlass/core/dtype.h"

namespace windlass {

// Runs of equal length at equal distances in a tensor's row-major bytes: run i
// covers [offset + i * stride, offset + i * stride + row_bytes). Runs do not
// overlap. A single run is any byte range.
struct Region {
  int64_t offset = 0;
  int64_t row_bytes = 0;
  int64_t rows = 1;
  int64_t stride = 0;

  // True where the runs touch, so that the region is one byte range.
  bool contiguous() const { return rows == 1 || stride == row_bytes; }
  int64_t bytes() const { return row_bytes * rows; }
};

// Produces a tensor's row-major bytes. Implementations are immutable and
// thread-safe, and were checked when they were built: what Read returns is an
// I/O error of the ByteSource below, or OK.
class TensorSource {
 public:
  virtual ~TensorSource() = default;

  // Writes the runs of `region` to `to`, `to_stride` bytes apart. The region
  // lies within the tensor; regions of elements are asked for whole elements.
  virtual absl::Status Read(const Region& region, char* to,
                            int64_t to_stride) const = 0;

  // Where the bytes lie verbatim; nullopt where they must be computed.
  virtual std::optional<Extent> Verbatim() const { return std::nullopt; }

  // The extents that the bytes are, one after the other, where all of them lie
  // verbatim, in however many places; empty where they must be computed.
  virtual std::vector<Extent> VerbatimRuns() const {
    std::vector<Extent> runs;
    if (std::optional<Extent> whole = Verbatim()) runs.push_back(*whole);
    return runs;
  }

  // The end of the piece that is best computed at once and that holds byte
  // `offset` (one expert's matrix for a transpose, a few rows of a cast).
  // Pieces start where the one before ends and hold kMaxPieceBytes at most; the
  // last one's end may lie beyond the tensor's.
  virtual int64_t PieceEnd(int64_t offset) const;

  // Calls `visit` for each range that the bytes come from, in the order in
  // which they are needed, until it returns false; returns false then. A
  // constant has none.
  using Visitor = absl::FunctionRef<bool(const Extent&)>;
  virtual bool VisitInputs(Visitor visit) const = 0;
};

// The size that pieces of computed tensors aim at: large enough to amortise a
// system call, small enough that a few fit the cache.
inline constexpr int64_t kPieceBytes = int64_t{1} << 20;

// What no piece exceeds, whatever the shapes: a matrix up to this size is
// transposed at once, a larger one in bands.
inline constexpr int64_t kMaxPieceBytes = int64_t{8} << 20;

class Tensor {
 public:
  // A scalar-free placeholder; only assignment and destruction are meant.
  Tensor() = default;

  // `source` yields exactly the bytes that dtype and shape take; the caller
  // has checked that.
  Tensor(DType dtype, Shape shape, std::shared_ptr<const TensorSource> source);

  // A tensor whose bytes lie in `extent`. InvalidArgument where its size is not
  // what dtype and shape take.
  static absl::StatusOr<Tensor> FromExtent(DType dtype, Shape shape,
                                           Extent extent);

  // A tensor in memory, for tests and for callers that hold the bytes.
  static absl::StatusOr<Tensor> FromBytes(DType dtype, Shape shape,
                                          std::string bytes);

  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  int rank() const { return static_cast<int>(shape_.size()); }
  int64_t bytes() const { return bytes_; }
  const std::shared_ptr<const TensorSource>& source() const { return source_; }

  // "BF16 [4, 8]"
  std::string ToString() const;

 private:
  DType dtype_ = DType::kU8;
  int64_t bytes_ = 0;
  Shape shape_;
  std::shared_ptr<const TensorSource> source_;
};

// The whole contents. For small tensors and tests: nothing bounds the memory.
absl::StatusOr<std::string> ReadAll(const Tensor& tensor);

}  // namespace windlass

#endif  // WINDLASS_CORE_TENSOR_H_
