// Whatever a matrix's size, a thread needs a piece and some scratch: every
// operation, and what adapters build of them, for shapes of real models and for
// absurd ones.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/core/byte_source.h"
#include "windlass/core/dequantize.h"
#include "windlass/core/tensor.h"
#include "windlass/core/tensor_ops.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/tests/testing/work.h"

namespace windlass {
namespace {

using ::testing::Le;

// So many zeros, which nobody has to store.
class Zeros : public ByteSource {
 public:
  explicit Zeros(int64_t size) : size_(size) {}
  const std::string& name() const override { return name_; }
  int64_t size() const override { return size_; }
  absl::Status ReadAt(int64_t, absl::Span<char> out) const override {
    std::memset(out.data(), 0, out.size());
    return absl::OkStatus();
  }

 private:
  const int64_t size_;
  const std::string name_ = "zeros";
};

Tensor Sparse(DType dtype, Shape shape) {
  const int64_t bytes = ByteSize(dtype, shape).value();
  return Tensor::FromExtent(dtype, std::move(shape),
                            Extent{std::make_shared<Zeros>(bytes), 0, bytes})
      .value();
}

struct Named {
  std::string what;
  Tensor tensor;
};

// What adapters make of experts, both ways, and each operation alone.
std::vector<Named> Operations(int64_t m, int64_t n) {
  const Tensor bf16 = Sparse(DType::kBF16, {m, n});
  const Tensor f32 = Cast(bf16, DType::kF32).value();
  const Tensor turned = Transpose(bf16).value();
  const Tensor turned_f32 = Transpose(f32).value();
  const Tensor fp8 =
      DequantizeBlocks(Sparse(DType::kF8E4M3, {m, n}),
                       Sparse(DType::kF32, {(m + 127) / 128, (n + 127) / 128}),
                       128, DType::kBF16)
          .value();
  const Tensor gate_and_up[] = {turned, turned};
  const Tensor merged = Concat(gate_and_up, 1).value();
  const Tensor experts[] = {merged, merged};
  const Tensor quantised[] = {Transpose(fp8).value(), Transpose(fp8).value()};
  const Tensor grouped = Sparse(DType::kBF16, {2, n, 2 * m});
  const Tensor one = Select(grouped, 1).value();
  // Codes of four bits need an even number in a row, INT4 groups of 32.
  const int64_t even = std::max<int64_t>(n / 32 * 32, 32);
  const Tensor mxfp8 = Dequantize(Sparse(DType::kF8E4M3, {m, n}),
                                  Sparse(DType::kU8, {m, (n + 31) / 32}),
                                  MxFp8Format(), DType::kBF16)
                           .value();
  const Tensor fp4 = Dequantize(Sparse(DType::kU8, {m, even / 2}),
                                Sparse(DType::kU8, {m, even / 32}),
                                MxFp4Format(), DType::kBF16)
                         .value();
  const Tensor int4 = Dequantize(Sparse(DType::kI32, {m, even / 8}),
                                 Sparse(DType::kF16, {m, even / 32}),
                                 Int4Format(32), DType::kBF16)
                          .value();
  const Int4Tensors packed =
      QuantizeInt4(Transpose(Sparse(DType::kBF16, {even, m})).value()).value();
  const Tensor two[] = {Transpose(fp4).value(), Transpose(fp4).value()};
  return {{"MXFP8", mxfp8},
          {"MXFP8, transposed", Transpose(mxfp8).value()},
          {"MXFP4", fp4},
          {"merge of MXFP4", Stack({Concat(two, 1).value()}).value()},
          {"INT4", int4},
          {"INT4, transposed", Transpose(int4).value()},
          {"to INT4", packed.packed},
          {"scales of INT4", packed.scales},
          {"scale of each row",
           MulOuter(turned, Sparse(DType::kBF16, {n})).value()},
          {"interleave of rows", Interleave(bf16, 0).value()},
          {"deinterleave of rows", Deinterleave(turned, 1).value()},
          {"interleave of a transpose", Interleave(turned, 1).value()},
          {"pad", Pad(turned, 1, m + 100).value()},
          {"fill", Fill(DType::kBF16, {m, n}, 1).value()},
          {"cast", f32},
          {"FP8 of a transpose", CastToFp8(turned).value()},
          {"transpose", turned},
          {"transpose of a cast", turned_f32},
          {"cast of a transpose", Cast(turned, DType::kF32).value()},
          {"dequantise", fp8},
          {"concat along rows", Concat({bf16, bf16}, 1).value()},
          {"merge", Stack(experts).value()},
          {"merge of FP8", Concat(quantised, 1).value()},
          {"split", Transpose(Slice(one, 1, 0, m).value()).value()},
          {"slice of columns",
           Slice(bf16, 1, 0, std::max<int64_t>(n / 2, 1)).value()}};
}

class BoundedMemoryTest
    : public ::testing::TestWithParam<std::pair<int64_t, int64_t>> {};

TEST_P(BoundedMemoryTest, PiecesAndScratchAreBounded) {
  const auto [m, n] = GetParam();
  for (const Named& operation : Operations(m, n)) {
    SCOPED_TRACE(operation.what);
    const TensorSource& source = *operation.tensor.source();
    const int64_t bytes = operation.tensor.bytes();
    std::vector<int64_t> begins;
    for (int64_t begin = 0; begin < bytes;) {
      begins.push_back(begin);
      const int64_t end = std::min(source.PieceEnd(begin), bytes);
      ASSERT_GT(end, begin);
      ASSERT_THAT(end - begin, Le(kMaxPieceBytes)) << begin;
      begin = end;
    }
    // The first, one in the middle, and the last.
    for (const int64_t begin :
         {begins.front(), begins[begins.size() / 2], begins.back()}) {
      const int64_t size = std::min(source.PieceEnd(begin), bytes) - begin;
      const std::unique_ptr<char[]> piece(new char[size]);
      const WorkCounter counter;
      ASSERT_OK(source.Read(Region{begin, size}, piece.get(), size));
      EXPECT_THAT(counter.work().peak, Le(int64_t{3} << 20)) << begin;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, BoundedMemoryTest,
    ::testing::Values(std::make_pair(768, 2048), std::make_pair(2048, 7168),
                      std::make_pair(14336, 4096), std::make_pair(8192, 8192),
                      std::make_pair(4, 40'000'000),
                      std::make_pair(40'000'000, 4)),
    [](const auto& info) {
      return absl::StrCat(info.param.first, "x", info.param.second);
    });

}  // namespace
}  // namespace windlass
