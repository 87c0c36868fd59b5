#include "windlass/io/statistics.h"

#include <atomic>
#include <cstdint>
#include <memory>
#include <new>
#include <random>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/core/byte_source.h"
#include "windlass/core/dtype.h"
#include "windlass/core/tensor.h"
#include "windlass/core/tensor_ops.h"
#include "windlass/io/tensor_parts.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/testing/tensors.h"

namespace windlass {
namespace {

// A tensor whose bytes cannot be read.
class BrokenSource : public ByteSource {
 public:
  const std::string& name() const override { return name_; }
  int64_t size() const override { return 8; }
  absl::Status ReadAt(int64_t, absl::Span<char>) const override {
    return absl::DataLossError("broken: reading");
  }

 private:
  const std::string name_ = "broken";
};

TEST(StatisticsTest, AreThoseOfTheWholeTensorOnAnyNumberOfThreads) {
  // Several parts, the last of which is short.
  std::vector<float> values(5'000'001);
  std::mt19937 random(1);
  std::normal_distribution<float> normal(2, 3);
  for (float& value : values) value = normal(random);
  values[4'999'999] = 100;
  const Tensor tensor = MakeTensor(DType::kF32, {5'000'001}, values);
  const Tensor small = MakeTensor<float>(DType::kF32, {2}, {1, 3});
  const Tensor empty = MakeTensor<float>(DType::kF32, {0}, {});
  ASSERT_GT(CutIntoParts({&tensor}).size(), 1u);
  std::vector<NumberStatistics> first;
  for (int threads : {1, 2, 5}) {
    std::atomic<int64_t> done{0};
    ASSERT_OK_AND_ASSIGN(
        const auto found,
        ComputeStatistics({&empty, &tensor, &small}, {threads, &done}));
    ASSERT_EQ(found.size(), 3u);
    EXPECT_EQ(done, 20'000'012);
    EXPECT_EQ(found[0].count, 0);
    EXPECT_EQ(found[1].count, 5'000'001);
    EXPECT_EQ(found[1].max, 100);
    EXPECT_NEAR(found[1].mean, 2, 0.01);
    EXPECT_NEAR(found[1].StandardDeviation(), 3, 0.01);
    EXPECT_EQ(found[2].mean, 2);
    EXPECT_EQ(found[2].StandardDeviation(), 1);
    if (first.empty()) first = found;
    EXPECT_EQ(found[1].mean, first[1].mean);
    EXPECT_EQ(found[1].squares, first[1].squares);
  }
}

TEST(StatisticsTest, AreThoseOfWhatIsComputed) {
  const Tensor tensor =
      MakeTensor<float>(DType::kF32, {2, 3}, {1, 2, 3, 4, 5, 6});
  ASSERT_OK_AND_ASSIGN(const Tensor row, Slice(*Transpose(tensor), 0, 2, 3));
  ASSERT_OK_AND_ASSIGN(const auto found, ComputeStatistics({&row}, {}));
  EXPECT_EQ(found[0].min, 3);
  EXPECT_EQ(found[0].max, 6);
  EXPECT_EQ(found[0].count, 2);
}

TEST(StatisticsTest, WhatHasNoNumbersHasNone) {
  ASSERT_OK_AND_ASSIGN(
      const Tensor tensor,
      Tensor::FromBytes(DType::kF6E2M3, {4}, std::string(3, '\x7f')));
  std::atomic<int64_t> done{0};
  ASSERT_OK_AND_ASSIGN(const auto found,
                       ComputeStatistics({&tensor}, {2, &done}));
  EXPECT_EQ(found[0].count, 0);
  EXPECT_EQ(done, 3);
}

TEST(StatisticsTest, SayWhatCannotBeRead) {
  ASSERT_OK_AND_ASSIGN(
      const Tensor tensor,
      Tensor::FromExtent(DType::kF32, {2},
                         Extent{std::make_shared<BrokenSource>(), 0, 8}));
  EXPECT_THAT(ComputeStatistics({&tensor, &tensor}, {}),
              StatusIs(absl::StatusCode::kDataLoss, "broken: reading"));
}

TEST(TensorPartsTest, PartsFollowEachOtherAndCoverEverything) {
  ASSERT_OK_AND_ASSIGN(
      const Tensor verbatim,
      Tensor::FromBytes(DType::kU8, {40 << 20}, std::string(40 << 20, '\0')));
  ASSERT_OK_AND_ASSIGN(const Tensor constant, Fill(DType::kF32, {10 << 20}, 1));
  const std::vector<const Tensor*> tensors = {&verbatim, &constant};
  size_t tensor = 0;
  int64_t at = 0;
  for (const TensorPart& part : CutIntoParts(tensors)) {
    if (part.tensor != tensor) {
      EXPECT_EQ(at, tensors[tensor]->bytes());
      tensor = part.tensor;
      at = 0;
    }
    EXPECT_EQ(part.begin, at);
    EXPECT_GT(part.end, part.begin);
    EXPECT_LE(part.end - part.begin, 24 << 20);
    for (int64_t piece = part.begin; piece < part.end;) {
      const int64_t end = PieceOfPart(*tensors[tensor], part, piece);
      ASSERT_GT(end, piece);
      ASSERT_LE(end, part.end);
      ASSERT_LE(end - piece, kMaxPieceBytes);
      piece = end;
    }
    at = part.end;
  }
  EXPECT_EQ(tensor, 1u);
  EXPECT_EQ(at, constant.bytes());
}

TEST(TensorPartsTest, WhatIsThrownIsAnError) {
  EXPECT_THAT(ForEachPart(5, 2,
                          [](size_t, ReadBuffer*, ReadBuffer*) -> absl::Status {
                            throw std::bad_alloc();
                          }),
              StatusIs(absl::StatusCode::kResourceExhausted, "out of memory"));
}

}  // namespace
}  // namespace windlass
