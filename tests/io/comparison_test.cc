#include "windlass/io/comparison.h"

#include <atomic>
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/core/dtype.h"
#include "windlass/core/state_dict.h"
#include "windlass/core/tensor_ops.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/testing/tensors.h"

namespace windlass {
namespace {

using ::testing::ElementsAre;

Tensor Floats(const std::vector<float>& values) {
  return MakeTensor(DType::kF32, {static_cast<int64_t>(values.size())}, values);
}

StateDict Dict(std::vector<std::pair<std::string, Tensor>> tensors) {
  StateDict dict;
  for (auto& [name, tensor] : tensors) {
    EXPECT_OK(dict.Insert(name, tensor));
  }
  return dict;
}

// "name: verdict" of each tensor that is not the same.
std::vector<std::string> Lines(const Comparison& comparison) {
  std::vector<std::string> lines;
  for (const ComparedTensor& tensor : comparison.tensors) {
    if (tensor.verdict == Verdict::kSame) continue;
    lines.push_back(absl::StrCat(absl::string_view(tensor.name), ": ",
                                 VerdictName(tensor.verdict)));
  }
  return lines;
}

TEST(ComparisonTest, SaysOfEachTensorWhatDiffers) {
  const StateDict a = Dict({{"same", Floats({1, 2})},
                            {"values", Floats({1, 2})},
                            {"shape", Floats({1, 2})},
                            {"dtype", Floats({1, 2})},
                            {"mine", Floats({1})},
                            {"empty", Floats({})}});
  const StateDict b = Dict({{"yours", Floats({1})},
                            {"dtype", *Cast(Floats({1, 2}), DType::kBF16)},
                            {"shape", *Reshape(Floats({1, 2}), {1, 2})},
                            {"values", Floats({1, 3})},
                            {"empty", Floats({})},
                            {"same", Floats({1, 2})}});
  ASSERT_OK_AND_ASSIGN(const Comparison found, CompareTensors(a, b, {}));
  EXPECT_THAT(Lines(found),
              ElementsAre("values: values", "shape: shape", "dtype: dtype",
                          "mine: only in A", "yours: only in B"));
  EXPECT_FALSE(found.same());
  EXPECT_EQ(found.Count(Verdict::kSame), 2);
  EXPECT_EQ(found.tensors.size(), 7u);
  EXPECT_EQ(found.tensors[1].numbers->unequal, 1);
  EXPECT_EQ(found.tensors[1].numbers->count, 2);
  EXPECT_EQ(found.tensors[1].numbers->max_absolute, 1);
  EXPECT_FALSE(found.tensors[2].numbers.has_value());
  // The values of another dtype are measured all the same.
  EXPECT_EQ(found.tensors[3].numbers->unequal, 0);
}

TEST(ComparisonTest, TheOrderMakesNoDifference) {
  const StateDict a = Dict({{"x", Floats({1})}, {"y", Floats({2})}});
  const StateDict b = Dict({{"y", Floats({2})}, {"x", Floats({1})}});
  ASSERT_OK_AND_ASSIGN(const Comparison found, CompareTensors(a, b, {}));
  EXPECT_TRUE(found.same());
  ASSERT_OK_AND_ASSIGN(const Comparison none,
                       CompareTensors(StateDict(), StateDict(), {}));
  EXPECT_TRUE(none.same());
}

TEST(ComparisonTest, EachBitCountsWithoutATolerance) {
  const StateDict a = Dict({{"x", Floats({0.0f})}});
  const StateDict b = Dict({{"x", Floats({-0.0f})}});
  ASSERT_OK_AND_ASSIGN(const Comparison found, CompareTensors(a, b, {}));
  EXPECT_THAT(Lines(found), ElementsAre("x: values"));
  EXPECT_EQ(found.tensors[0].numbers->unequal, 0);
}

TEST(ComparisonTest, WhatIsNearEnoughIsClose) {
  const StateDict a = Dict({{"near", Floats({1, 100})},
                            {"far", Floats({1, 2})},
                            {"nan", Floats({NAN, 1})},
                            {"dtype", Floats({1.001f, 2})}});
  const StateDict b =
      Dict({{"near", Floats({1.25, 100})},
            {"far", Floats({1, 4})},
            {"nan", Floats({1, 1})},
            {"dtype", *Cast(Floats({1.001f, 2}), DType::kBF16)}});
  ComparisonOptions options;
  options.tolerance = Tolerance{0, 0.5};
  ASSERT_OK_AND_ASSIGN(const Comparison found, CompareTensors(a, b, options));
  EXPECT_THAT(Lines(found), ElementsAre("near: close", "far: values",
                                        "nan: values", "dtype: dtype"));
  options.any_dtype = true;
  ASSERT_OK_AND_ASSIGN(const Comparison any, CompareTensors(a, b, options));
  EXPECT_THAT(Lines(any), ElementsAre("near: close", "far: values",
                                      "nan: values", "dtype: close"));
  // Without a tolerance there is nothing that a dtype could be ignored for.
  options.tolerance.reset();
  ASSERT_OK_AND_ASSIGN(const Comparison bits, CompareTensors(a, b, options));
  EXPECT_EQ(bits.Count(Verdict::kDType), 1);
}

TEST(ComparisonTest, WhatHasNoNumbersIsNeverClose) {
  const auto f6 = [](const char* bytes) {
    return Tensor::FromBytes(DType::kF6E2M3, {4}, bytes).value();
  };
  ComparisonOptions options;
  options.tolerance = Tolerance{100, 100};
  options.any_dtype = true;
  const StateDict a = Dict({{"x", f6("abc")}, {"y", f6("abc")}});
  const StateDict b = Dict({{"x", f6("abd")}, {"y", f6("abc")}});
  ASSERT_OK_AND_ASSIGN(const Comparison found, CompareTensors(a, b, options));
  EXPECT_THAT(Lines(found), ElementsAre("x: values"));
  EXPECT_FALSE(found.tensors[0].numbers.has_value());
}

TEST(ComparisonTest, ComplexNumbersAreNotComparedWithRealOnes) {
  const StateDict a =
      Dict({{"x", MakeTensor<float>(DType::kC64, {1}, {1, 0})}});
  const StateDict b = Dict({{"x", Floats({1})}});
  ComparisonOptions options;
  options.tolerance = Tolerance{1, 1};
  options.any_dtype = true;
  ASSERT_OK_AND_ASSIGN(const Comparison found, CompareTensors(a, b, options));
  EXPECT_THAT(Lines(found), ElementsAre("x: dtype"));
}

// A difference is found wherever it lies: in the first part or in the last, on
// verbatim bytes and on computed ones, on any number of threads.
TEST(ComparisonTest, FindsASingleElementAnywhere) {
  constexpr int64_t kRows = 1500, kColumns = 4001;
  std::vector<float> values(kRows * kColumns);
  for (size_t i = 0; i < values.size(); ++i) values[i] = i % 1000;
  const Tensor plain = MakeTensor(DType::kF32, {kRows, kColumns}, values);
  for (const size_t at : {size_t{0}, size_t{4'200'000}, values.size() - 1}) {
    std::vector<float> other = values;
    other[at] += 2;
    const Tensor changed = MakeTensor(DType::kF32, {kRows, kColumns}, other);
    const std::pair<Tensor, Tensor> pairs[] = {
        {plain, changed},
        {*Transpose(plain), *Transpose(changed)},
        // One side computed, of the same numbers.
        {plain, *Transpose(*Transpose(changed))},
        {*Cast(plain, DType::kF64), *Cast(changed, DType::kF64)},
    };
    for (const auto& [x, y] : pairs) {
      for (int threads : {1, 3}) {
        ComparisonOptions options;
        options.reading.threads = threads;
        std::atomic<int64_t> done{0};
        options.reading.bytes_done = &done;
        const StateDict a = Dict({{"x", x}}), b = Dict({{"x", y}});
        ASSERT_OK_AND_ASSIGN(const Comparison found,
                             CompareTensors(a, b, options));
        EXPECT_EQ(done, BytesToCompare(a, b));
        ASSERT_EQ(found.tensors[0].verdict, Verdict::kValues);
        EXPECT_EQ(found.tensors[0].numbers->unequal, 1);
        EXPECT_EQ(found.tensors[0].numbers->max_absolute, 2);
        EXPECT_EQ(found.tensors[0].numbers->count, kRows * kColumns);
      }
    }
  }
}

TEST(ComparisonTest, ComparesDTypesOfAnyTwoSizes) {
  std::vector<float> values(3'000'000);
  for (size_t i = 0; i < values.size(); ++i) values[i] = i % 128;
  const Tensor f32 = Floats(values);
  // Made to lie in memory, so that no side leads because it is computed.
  const auto make = [&](DType dtype) {
    return Dict({{"x", Tensor::FromBytes(dtype, {3'000'000},
                                         *ReadAll(*Cast(f32, dtype)))
                           .value()}});
  };
  ComparisonOptions options;
  options.tolerance = Tolerance();
  options.any_dtype = true;
  const DType dtypes[] = {DType::kF32, DType::kBF16, DType::kF64};
  for (DType a_dtype : dtypes) {
    for (DType b_dtype : dtypes) {
      const StateDict a = make(a_dtype), b = make(b_dtype);
      ASSERT_OK_AND_ASSIGN(const Comparison found,
                           CompareTensors(a, b, options));
      EXPECT_TRUE(found.same()) << std::string(DTypeName(a_dtype)) << " "
                                << std::string(DTypeName(b_dtype));
    }
  }
}

}  // namespace
}  // namespace windlass
