#include "windlass/core/dtype.h"

#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/testing/status_matchers.h"

namespace windlass {
namespace {

using ::testing::HasSubstr;

TEST(DTypeTest, NamesComeBack) {
  for (int i = 0; i < kDTypeCount; ++i) {
    const DType dtype = static_cast<DType>(i);
    EXPECT_EQ(ParseDType(DTypeName(dtype)), dtype) << DTypeName(dtype);
    if (TorchDTypeName(dtype).empty()) continue;
    EXPECT_EQ(ParseTorchDType(TorchDTypeName(dtype)), dtype);
  }
  EXPECT_EQ(ParseTorchDType("torch.bfloat16"), DType::kBF16);
}

TEST(DTypeTest, RefusesUnknownNames) {
  for (const char* name : {"", "bf16", "F33", "f32", "BF16 "}) {
    EXPECT_EQ(ParseDType(name), std::nullopt) << name;
  }
  EXPECT_EQ(ParseTorchDType(""), std::nullopt);
  EXPECT_EQ(ParseTorchDType("BF16"), std::nullopt);
}

TEST(ByteSizeTest, MultipliesTheShape) {
  const struct {
    DType dtype;
    Shape shape;
    int64_t bytes;
  } kCases[] = {
      {DType::kF32, {}, 4},       {DType::kF32, {0, 5}, 0},
      {DType::kBF16, {3, 5}, 30}, {DType::kBool, {7}, 7},
      {DType::kF4, {4}, 2},       {DType::kF6E2M3, {4}, 3},
      {DType::kC64, {2}, 16},     {DType::kF8E8M0, {3}, 3},
  };
  for (const auto& c : kCases) {
    ASSERT_OK_AND_ASSIGN(const int64_t bytes, ByteSize(c.dtype, c.shape));
    EXPECT_EQ(bytes, c.bytes) << DTypeName(c.dtype) << ShapeString(c.shape);
  }
}

TEST(ByteSizeTest, RefusesWhatDoesNotFit) {
  const int64_t huge = std::numeric_limits<int64_t>::max();
  EXPECT_THAT(ByteSize(DType::kU8, {huge, 2}),
              StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("elements")));
  EXPECT_THAT(ByteSize(DType::kF64, {huge / 4}),
              StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("bytes")));
  EXPECT_THAT(ByteSize(DType::kU8, {-1}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("[-1]")));
  EXPECT_THAT(
      ByteSize(DType::kF4, {3}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("whole bytes")));
}

}  // namespace
}  // namespace windlass
