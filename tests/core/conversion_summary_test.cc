#include "windlass/core/conversion_summary.h"

#include <memory>
#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/core/tensor_ops.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/testing/tensors.h"

namespace windlass {
namespace {

using ::testing::ElementsAre;

TEST(ConversionSummaryTest, CountsWhatBecameOfEachTensor) {
  // All inputs lie in one source, as in a file.
  const auto file = std::make_shared<MemorySource>(std::string(64, 'x'));
  StateDict in;
  for (int i = 0; i < 4; ++i) {
    ASSERT_OK_AND_ASSIGN(
        Tensor tensor,
        Tensor::FromExtent(DType::kBF16, {8}, Extent{file, i * 16, 16}));
    ASSERT_OK(in.Insert(std::string(1, 'a' + i), tensor));
  }
  StateDict out;
  ASSERT_OK(out.Insert("a", *in.Find("a")));
  ASSERT_OK(out.Insert("renamed", *in.Find("b")));
  ASSERT_OK_AND_ASSIGN(Tensor cast, Cast(*in.Find("c"), DType::kF32));
  ASSERT_OK(out.Insert("c", cast));
  const ConversionSummary summary = Summarize(in, out);
  EXPECT_EQ(summary.tensors_in, 4);
  EXPECT_EQ(summary.tensors_out, 3);
  EXPECT_EQ(summary.renamed, 1);
  EXPECT_EQ(summary.computed, 1);
  EXPECT_THAT(summary.dropped, ElementsAre("d"));
  EXPECT_EQ(summary.bytes_in, 64);
  EXPECT_EQ(summary.bytes_out, 64);
}

TEST(ConversionSummaryTest, TensorsThatShareBytesAreEachTheirOwn) {
  const auto file = std::make_shared<MemorySource>(std::string(64, 'x'));
  const auto at = [&file](int64_t begin, int64_t size) {
    return Tensor::FromExtent(DType::kU8, {size}, Extent{file, begin, size})
        .value();
  };
  StateDict in;
  ASSERT_OK(in.Insert("whole", at(0, 16)));
  ASSERT_OK(in.Insert("tied", at(0, 16)));
  ASSERT_OK(in.Insert("rows", at(0, 8)));
  ASSERT_OK(in.Insert("gone", at(16, 16)));
  StateDict out;
  ASSERT_OK(out.Insert("rows", at(0, 8)));
  ASSERT_OK(out.Insert("tied", at(0, 16)));
  ASSERT_OK(out.Insert("whole", at(0, 16)));
  const ConversionSummary summary = Summarize(in, out);
  EXPECT_EQ(summary.renamed, 0);
  EXPECT_THAT(summary.dropped, ElementsAre("gone"));
  StateDict renamed;
  ASSERT_OK(renamed.Insert("a", at(0, 16)));
  ASSERT_OK(renamed.Insert("b", at(0, 16)));
  ASSERT_OK(renamed.Insert("rows", at(0, 8)));
  EXPECT_EQ(Summarize(in, renamed).renamed, 2);
  EXPECT_THAT(Summarize(in, renamed).dropped, ElementsAre("gone"));
}

TEST(ConversionSummaryTest, SeesWhatIsPutTogetherOfSeveralPlaces) {
  const auto file = std::make_shared<MemorySource>(std::string(64, 'x'));
  const auto in_two = [&file](int64_t first, int64_t second) {
    std::vector<Tensor> parts;
    for (const int64_t begin : {first, second}) {
      parts.push_back(
          Tensor::FromExtent(DType::kBF16, {4}, Extent{file, begin, 8})
              .value());
    }
    return Concat(parts, 0).value();
  };
  StateDict in;
  ASSERT_OK(in.Insert("kept", in_two(0, 16)));
  ASSERT_OK(in.Insert("gone", in_two(8, 24)));
  StateDict out;
  ASSERT_OK(out.Insert("kept", Cast(*in.Find("kept"), DType::kF32).value()));
  const ConversionSummary summary = Summarize(in, out);
  EXPECT_THAT(summary.dropped, ElementsAre("gone"));
  ASSERT_EQ(summary.casts.size(), 1u);
  EXPECT_EQ(summary.casts[0].count, 1);
}

TEST(FindLossesTest, SaysWhatTheWayBackDoesNotGive) {
  const auto file = std::make_shared<MemorySource>(std::string(256, 'x'));
  int64_t offset = 0;
  const auto tensor = [&](DType dtype, Shape shape) {
    const int64_t size = *ByteSize(dtype, shape);
    offset += size;
    return *Tensor::FromExtent(dtype, std::move(shape),
                               Extent{file, offset - size, size});
  };
  StateDict in;
  for (const char* name : {"kept", "rounded", "embed", "e.0", "e.1"}) {
    ASSERT_OK(in.Insert(name, tensor(DType::kBF16, {4, 2})));
  }
  ASSERT_OK(in.Insert("w", tensor(DType::kF8E4M3, {4, 2})));
  ASSERT_OK(in.Insert("w_scale_inv", tensor(DType::kF32, {1, 1})));
  for (const char* name : {"p", "q", "r", "s", "t", "u"}) {
    ASSERT_OK(in.Insert(name, tensor(DType::kBF16, {2})));
  }
  StateDict back;
  ASSERT_OK(back.Insert("kept", *in.Find("kept")));
  ASSERT_OK_AND_ASSIGN(Tensor cast, Cast(*in.Find("rounded"), DType::kF32));
  ASSERT_OK(back.Insert("rounded", cast));
  ASSERT_OK(back.Insert("embed", *in.Find("embed")));
  ASSERT_OK(back.Insert("lm_head", *in.Find("embed")));
  const Tensor experts[] = {*in.Find("e.0"), *in.Find("e.1")};
  ASSERT_OK_AND_ASSIGN(const Tensor stacked, Stack(experts));
  ASSERT_OK(back.Insert("e", stacked));
  ASSERT_OK(back.Insert("w", *Cast(*in.Find("w"), DType::kBF16)));
  ConversionSummary summary;
  summary.dropped = {"p", "q", "r", "s", "t", "u"};
  const std::vector<Loss> losses = FindLosses(in, back, summary, back);
  EXPECT_EQ(DescribeLosses(losses),
            "not reversible: 1 tensor cast (\"rounded\"), "
            "2 tensors stored otherwise (\"e.0\", \"e.1\"), "
            "2 tensors dequantised (\"w\", \"w_scale_inv\"), "
            "6 tensors dropped (\"p\", \"q\", \"r\", \"s\", \"t\", ...), "
            "1 tensor synthesised (\"lm_head\")");
  EXPECT_EQ(DescribeLosses(FindLosses(in, in, {}, in)), "reversible");
}

TEST(FindLossesTest, SeesWhatIsRoundedOnTheWayThoughNothingElseChanges) {
  const auto file = std::make_shared<MemorySource>(std::string(64, 'x'));
  const auto tensor = [&](DType dtype, int64_t offset) {
    const int64_t size = *ByteSize(dtype, {4});
    return *Tensor::FromExtent(dtype, {4}, Extent{file, offset, size});
  };
  StateDict native, hf;
  ASSERT_OK(native.Insert("w", tensor(DType::kBF16, 0)));
  ASSERT_OK(native.Insert("kept", tensor(DType::kBF16, 8)));
  ASSERT_OK(hf.Insert("w", *Cast(*native.Find("w"), DType::kF8E4M3)));
  ASSERT_OK(hf.Insert("w_scale_inv", *Fill(DType::kF32, {1}, 1)));
  ASSERT_OK(hf.Insert("kept", *native.Find("kept")));
  StateDict back;
  ASSERT_OK(back.Insert("w", *Cast(*hf.Find("w"), DType::kBF16)));
  ASSERT_OK(back.Insert("kept", *native.Find("kept")));
  EXPECT_EQ(DescribeLosses(FindLosses(native, hf, Summarize(native, hf), back)),
            "not reversible: 1 tensor cast (\"w\")");

  StateDict codes, values, codes_again;
  ASSERT_OK(codes.Insert("w", tensor(DType::kF8E4M3, 0)));
  ASSERT_OK(codes.Insert("w_scale_inv", tensor(DType::kF32, 16)));
  ASSERT_OK(values.Insert("w", *Cast(*codes.Find("w"), DType::kBF16)));
  ASSERT_OK(codes_again.Insert("w", *Cast(*values.Find("w"), DType::kF8E4M3)));
  ASSERT_OK(codes_again.Insert("w_scale_inv", *Fill(DType::kF32, {4}, 1)));
  ConversionSummary summary = Summarize(codes, values);
  summary.dropped.clear();  // the scale is part of what Cast stands for here
  EXPECT_EQ(DescribeLosses(FindLosses(codes, values, summary, codes_again)),
            "not reversible: 2 tensors dequantised (\"w\", \"w_scale_inv\")");
}

}  // namespace
}  // namespace windlass
