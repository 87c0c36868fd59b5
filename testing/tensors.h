// Small tensors and state dicts for tests.

#ifndef WINDLASS_TESTING_TENSORS_H_
#define WINDLASS_TESTING_TENSORS_H_

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "windlass/core/byte_source.h"
#include "windlass/core/dtype.h"
#include "windlass/core/state_dict.h"
#include "windlass/core/tensor.h"

namespace windlass {

// A tensor of the values given, in the type's own dtype.
template <typename T>
Tensor MakeTensor(DType dtype, Shape shape, const std::vector<T>& values) {
  std::string bytes(values.size() * sizeof(T), '\0');
  // memcpy takes no null pointer, whatever the size.
  if (!values.empty()) {
    std::memcpy(&bytes[0], values.data(), bytes.size());
  }
  return Tensor::FromBytes(dtype, std::move(shape), std::move(bytes)).value();
}

// A tensor of random bytes; for float dtypes of random finite values of
// everyday size where the dtype has at least 16 bits.
Tensor RandomTensor(DType dtype, Shape shape, std::mt19937* random);

// The names in order.
std::vector<std::string> Names(const StateDict& dict);

// The same by name, for where the order does not matter.
StateDict Sorted(const StateDict& dict);

// "" where both hold the same names in the same order with the same dtypes,
// shapes and bytes; else what differs first.
std::string Difference(const StateDict& found, const StateDict& expected);

// Reads a tensor by random regions of whole elements, and expects of each the
// bytes that ReadAll gives. Dtypes of whole bytes.
void ExpectRegionsAgree(const Tensor& tensor, std::mt19937* random);

// Bytes in memory that know how often they are read.
class CountedSource : public ByteSource {
 public:
  explicit CountedSource(std::string bytes) : bytes_(std::move(bytes)) {}
  const std::string& name() const override { return name_; }
  int64_t size() const override { return bytes_.size(); }
  absl::Status ReadAt(int64_t offset, absl::Span<char> out) const override {
    ++reads_;
    std::copy_n(bytes_.data() + offset, out.size(), out.data());
    return absl::OkStatus();
  }
  int reads() const { return reads_; }

 private:
  const std::string bytes_;
  const std::string name_ = "memory";
  mutable int reads_ = 0;
};

}  // namespace windlass

#endif  // WINDLASS_TESTING_TENSORS_H_
