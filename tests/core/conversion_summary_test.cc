#include "windlass/core/conversion_summary.h"

#include <memory>
#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/core/tensor_ops.h"
#include "windlass/tests/testing/status_matchers.h"
#include "windlass/tests/testing/tensors.h"

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

}  // namespace
}  // namespace windlass
