#include "windlass/core/assemble.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/core/tensor_ops.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/testing/tensors.h"

namespace windlass {
namespace {

using ::testing::HasSubstr;

// The indices of a shape, in row-major order.
std::vector<Shape> Indices(const Shape& shape) {
  std::vector<Shape> indices = {Shape()};
  for (int64_t extent : shape) {
    std::vector<Shape> longer;
    for (const Shape& index : indices) {
      for (int64_t i = 0; i < extent; ++i) {
        longer.push_back(index);
        longer.back().push_back(i);
      }
    }
    indices = std::move(longer);
  }
  return indices;
}

// What Strided is, element by element.
std::string Formula(const Tensor& storage, const Shape& shape,
                    const std::vector<int64_t>& strides, int64_t offset) {
  const std::string all = ReadAll(storage).value();
  const int64_t size = DTypeBytes(storage.dtype());
  std::string out;
  for (const Shape& index : Indices(shape)) {
    int64_t at = offset;
    for (size_t i = 0; i < index.size(); ++i) at += index[i] * strides[i];
    out += all.substr(at * size, size);
  }
  return out;
}

TEST(StridedTest, FollowsTheFormula) {
  const struct {
    Shape shape;
    std::vector<int64_t> strides;
    int64_t offset;
  } kViews[] = {
      {{8, 6}, {6, 1}, 0},         // contiguous
      {{3, 6}, {6, 1}, 12},        // rows
      {{8, 2}, {6, 1}, 1},         // columns
      {{6, 8}, {1, 6}, 0},         // a transpose
      {{4, 5}, {1, 7}, 3},         // of a part
      {{4, 6}, {0, 1}, 5},         // one row over and over
      {{4, 6}, {1, 0}, 5},         // one column over and over
      {{2, 3}, {0, 0}, 7},         // one element over and over
      {{10}, {4}, 2},              // every fourth
      {{4, 2, 3}, {1, 12, 4}, 0},  // permuted
      {{2, 4, 3}, {12, 1, 4}, 0},  // a batch of transposes
      {{2, 3, 4, 2}, {24, 1, 6, 3}, 0},
      {{2, 1, 3, 1}, {3, 99, 1, 7}, 4},  // strides that count for nothing
      {{5, 4}, {3, 1}, 0},               // rows that overlap
      {{}, {}, 9},
      {{1, 1}, {5, 7}, 47},
      {{0, 3}, {3, 1}, 0},
  };
  std::mt19937 random(5);
  for (DType dtype : {DType::kU8, DType::kBF16, DType::kF32, DType::kF64}) {
    const Tensor storage = RandomTensor(dtype, {48}, &random);
    for (const auto& view : kViews) {
      SCOPED_TRACE(ShapeString(view.shape) + ShapeString(view.strides));
      ASSERT_OK_AND_ASSIGN(
          const Tensor tensor,
          Strided(storage, view.shape, view.strides, view.offset));
      EXPECT_EQ(tensor.dtype(), dtype);
      EXPECT_EQ(tensor.shape(), view.shape);
      EXPECT_EQ(ReadAll(tensor).value(),
                Formula(storage, view.shape, view.strides, view.offset));
      if (tensor.bytes() > 0) ExpectRegionsAgree(tensor, &random);
    }
  }
}

TEST(StridedTest, ContiguousViewsStayVerbatim) {
  std::mt19937 random(5);
  const Tensor storage = RandomTensor(DType::kF32, {48}, &random);
  ASSERT_OK_AND_ASSIGN(const Tensor rows, Strided(storage, {3, 6}, {6, 1}, 12));
  ASSERT_TRUE(rows.source()->Verbatim().has_value());
  EXPECT_EQ(rows.source()->Verbatim()->offset, 48);
  EXPECT_EQ(rows.source()->Verbatim()->size, 72);
  ASSERT_OK_AND_ASSIGN(const Tensor columns,
                       Strided(storage, {8, 2}, {6, 1}, 0));
  EXPECT_FALSE(columns.source()->Verbatim().has_value());
}

TEST(StridedTest, RefusesWhatReachesOutside) {
  std::mt19937 random(5);
  const Tensor storage = RandomTensor(DType::kF32, {48}, &random);
  constexpr int64_t kHuge = int64_t{1} << 62;
  EXPECT_THAT(
      Strided(storage, {8, 6}, {6, 1}, 1),
      StatusIs(
          absl::StatusCode::kOutOfRange,
          HasSubstr(
              "the view [8, 6] with strides [6, 1] at 1 needs 49 elements, "
              "the storage has 48")));
  EXPECT_THAT(
      Strided(storage, {3, 3}, {kHuge, 1}, 0),
      StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("beyond any storage")));
  EXPECT_THAT(
      Strided(storage, {1}, {1}, INT64_MAX),
      StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("beyond any storage")));
  EXPECT_THAT(
      Strided(storage, {kHuge, 8}, {0, 1}, 0),
      StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("too many elements")));
  EXPECT_THAT(
      Strided(storage, {2}, {-1}, 4),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("none negative")));
  EXPECT_THAT(Strided(storage, {2, 3}, {1}, 0),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("as many strides")));
}

// The part of a tensor that a box has.
Box Part(const Tensor& whole, const Shape& begin, const Shape& end) {
  Tensor part = whole;
  for (size_t i = 0; i < begin.size(); ++i) {
    part = Slice(part, static_cast<int>(i), begin[i], end[i]).value();
  }
  return {begin, part};
}

// Cuts a range at random until it is small.
void Shatter(const Tensor& whole, const Shape& begin, const Shape& end,
             std::mt19937* random, std::vector<Box>* boxes) {
  const size_t dim = (*random)() % begin.size();
  const int64_t extent = end[dim] - begin[dim];
  if (extent < 2 || (*random)() % 5 == 0) {
    boxes->push_back(Part(whole, begin, end));
    return;
  }
  Shape middle_end = end, middle_begin = begin;
  middle_end[dim] = middle_begin[dim] =
      begin[dim] + 1 + (*random)() % (extent - 1);
  Shatter(whole, begin, middle_end, random, boxes);
  Shatter(whole, middle_begin, end, random, boxes);
}

TEST(AssembleTest, BoxesMakeTheTensorThatTheyWereCutFrom) {
  std::mt19937 random(5);
  for (int i = 0; i < 60; ++i) {
    for (const Shape& shape : {Shape{17}, Shape{9, 10}, Shape{4, 6, 5}}) {
      const Tensor whole = RandomTensor(DType::kBF16, shape, &random);
      std::vector<Box> boxes;
      Shatter(whole, Shape(shape.size(), 0), shape, &random, &boxes);
      std::shuffle(boxes.begin(), boxes.end(), random);
      ASSERT_OK_AND_ASSIGN(const Tensor found,
                           Assemble(DType::kBF16, shape, boxes));
      EXPECT_EQ(found.shape(), shape);
      ASSERT_EQ(ReadAll(found).value(), ReadAll(whole).value());
      ExpectRegionsAgree(found, &random);
    }
  }
}

TEST(AssembleTest, BoxesThatLieLikeStonesAreCut) {
  std::mt19937 random(5);
  const Tensor whole = RandomTensor(DType::kF32, {3, 3}, &random);
  const std::vector<Box> boxes = {
      Part(whole, {0, 0}, {1, 2}), Part(whole, {0, 2}, {2, 3}),
      Part(whole, {2, 1}, {3, 3}), Part(whole, {1, 0}, {3, 1}),
      Part(whole, {1, 1}, {2, 2})};
  ASSERT_OK_AND_ASSIGN(const Tensor found,
                       Assemble(DType::kF32, {3, 3}, boxes));
  EXPECT_EQ(ReadAll(found).value(), ReadAll(whole).value());
}

TEST(AssembleTest, OneBoxIsTheTensorItself) {
  std::mt19937 random(5);
  const Tensor whole = RandomTensor(DType::kF32, {3, 3}, &random);
  ASSERT_OK_AND_ASSIGN(const Tensor found,
                       Assemble(DType::kF32, {3, 3}, {{{0, 0}, whole}}));
  EXPECT_EQ(found.source(), whole.source());
}

TEST(AssembleTest, EmptyBoxesAndTensorsAndScalarsAreFine) {
  std::mt19937 random(5);
  const Tensor whole = RandomTensor(DType::kF32, {2, 3}, &random);
  const Tensor none = RandomTensor(DType::kF32, {0, 3}, &random);
  EXPECT_OK(Assemble(DType::kF32, {2, 3}, {{{2, 0}, none}, {{0, 0}, whole}}));
  ASSERT_OK_AND_ASSIGN(const Tensor empty,
                       Assemble(DType::kF32, {0, 3}, {{{0, 0}, none}}));
  EXPECT_EQ(empty.shape(), Shape({0, 3}));
  const Tensor scalar = RandomTensor(DType::kF32, {}, &random);
  EXPECT_OK(Assemble(DType::kF32, {}, {{{}, scalar}}));
  EXPECT_THAT(
      Assemble(DType::kF32, {}, {{{}, scalar}, {{}, scalar}}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("overlap")));
  EXPECT_THAT(Assemble(DType::kF32, {}, {}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("no box has the elements the scalar")));
}

TEST(AssembleTest, RefusesGapsOverlapsAndStrangers) {
  std::mt19937 random(5);
  const Tensor whole = RandomTensor(DType::kF32, {4, 4}, &random);
  const auto part = [&](const Shape& begin, const Shape& end) {
    return Part(whole, begin, end);
  };
  const struct {
    std::vector<Box> boxes;
    const char* message;
  } kCases[] = {
      {{part({0, 0}, {2, 4})}, "no box has the elements [2, 4) x [0, 4)"},
      {{part({0, 0}, {1, 4}), part({3, 0}, {4, 4})},
       "no box has the elements [1, 3) x [0, 4)"},
      {{part({0, 0}, {2, 4}), part({2, 0}, {4, 2}), part({2, 3}, {4, 4})},
       "no box has the elements [2, 4) x [2, 3)"},
      {{part({0, 0}, {4, 4}), part({1, 1}, {2, 2})},
       "the boxes [0, 4) x [0, 4) and [1, 2) x [1, 2) overlap"},
      {{part({0, 0}, {3, 4}), part({2, 0}, {4, 4})},
       "the boxes [0, 3) x [0, 4) and [2, 4) x [0, 4) overlap"},
      {{{{2, 2}, part({0, 0}, {3, 3}).tensor}},
       "the box of [3, 3] at [2, 2] reaches outside of [4, 4]"},
      {{{{-1, 0}, part({0, 0}, {3, 3}).tensor}}, "reaches outside"},
      {{{{INT64_MAX, 0}, part({0, 0}, {3, 3}).tensor}}, "reaches outside"},
      {{{{0}, whole}}, "found a box F32 [4, 4] at [0]"},
      {{{{0, 0}, RandomTensor(DType::kI32, {4, 4}, &random)}},
       "found a box I32 [4, 4] at [0, 0], expected parts of F32 [4, 4]"},
      {{}, "no box has the elements [0, 4) x [0, 4)"},
  };
  for (const auto& one : kCases) {
    EXPECT_THAT(
        Assemble(DType::kF32, {4, 4}, one.boxes),
        StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(one.message)));
  }
}

}  // namespace
}  // namespace windlass
