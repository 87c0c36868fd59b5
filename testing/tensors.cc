#include "windlass/testing/tensors.h"

#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "windlass/testing/status_matchers.h"

namespace windlass {

Tensor RandomTensor(DType dtype, Shape shape, std::mt19937* random) {
  std::string bytes(ByteSize(dtype, shape).value(), '\0');
  const size_t element = DTypeBytes(dtype);
  for (size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<char>((*random)());
    // Little endian: the last byte holds sign and exponent. Keep the exponent
    // in the middle of its range.
    if (IsFloat(dtype) && element >= 2 && i % element == element - 1) {
      bytes[i] = static_cast<char>((bytes[i] & 0x80) | 0x3C);
    }
  }
  return Tensor::FromBytes(dtype, std::move(shape), std::move(bytes)).value();
}

std::vector<std::string> Names(const StateDict& dict) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : dict) names.push_back(name);
  return names;
}

StateDict Sorted(const StateDict& dict) {
  std::map<std::string, Tensor> by_name;
  for (const auto& [name, tensor] : dict) by_name.emplace(name, tensor);
  StateDict sorted;
  for (const auto& [name, tensor] : by_name) {
    sorted.Insert(name, tensor).IgnoreError();
  }
  return sorted;
}

std::string Difference(const StateDict& found, const StateDict& expected) {
  auto it = found.begin();
  for (const auto& [name, tensor] : expected) {
    if (it == found.end()) return absl::StrCat("missing from ", name, " on");
    if (it->name != name) {
      return absl::StrCat("found ", it->name, ", expected ", name);
    }
    if (it->tensor.dtype() != tensor.dtype() ||
        it->tensor.shape() != tensor.shape()) {
      return absl::StrCat(name, ": found ", it->tensor.ToString(),
                          ", expected ", tensor.ToString());
    }
    const auto a = ReadAll(it->tensor);
    const auto b = ReadAll(tensor);
    if (!a.ok()) return absl::StrCat(name, ": ", a.status().ToString());
    if (!b.ok()) return absl::StrCat(name, ": ", b.status().ToString());
    if (*a != *b) return absl::StrCat(name, ": the bytes differ");
    ++it;
  }
  if (it != found.end()) return absl::StrCat("too many from ", it->name, " on");
  return "";
}

void ExpectRegionsAgree(const Tensor& tensor, std::mt19937* random) {
  const std::string all = ReadAll(tensor).value();
  const int64_t element = DTypeBytes(tensor.dtype());
  const int64_t count = all.size() / element;
  for (int i = 0; i < 200; ++i) {
    Region region;
    const int64_t begin = (*random)() % count;
    const int64_t width =
        1 + (*random)() % std::min<int64_t>(count - begin, 40);
    const int64_t stride = width + (*random)() % 30;
    const int64_t rows =
        1 + (*random)() %
                std::min<int64_t>(20, (count - begin - width) / stride + 1);
    region.offset = begin * element;
    region.row_bytes = width * element;
    region.rows = rows;
    region.stride = stride * element;
    const int64_t to_stride = region.row_bytes + (*random)() % 3 * element;
    std::string out(rows * to_stride, '\xAA');
    ASSERT_OK(tensor.source()->Read(region, &out[0], to_stride));
    for (int64_t row = 0; row < rows; ++row) {
      ASSERT_EQ(
          out.substr(row * to_stride, region.row_bytes),
          all.substr(region.offset + row * region.stride, region.row_bytes))
          << tensor.ToString() << " row " << row << " of " << rows;
    }
  }
}

}  // namespace windlass
