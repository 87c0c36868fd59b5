#include "windlass/core/layout_table.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/core/layout_op.h"
#include "windlass/core/tensor_ops.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/testing/tensors.h"

namespace windlass {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr auto kExists = absl::StatusCode::kAlreadyExists;

Tensor Random(Shape shape, DType dtype = DType::kBF16) {
  static std::mt19937 random(3);
  return RandomTensor(dtype, std::move(shape), &random);
}

StateDict Dict(std::vector<std::pair<std::string, Shape>> tensors) {
  StateDict dict;
  for (auto& [name, shape] : tensors) {
    EXPECT_OK(dict.Insert(name, Random(shape)));
  }
  return dict;
}

std::unique_ptr<StateDictAdapter> Make(std::vector<LayoutStage> stages) {
  auto adapter = MakeLayoutAdapter(std::move(stages));
  EXPECT_OK(adapter);
  return *std::move(adapter);
}

LayoutDim Count(int64_t size) { return {"E", size, "config"}; }

// Both ways; the way back gives what was there.
void ExpectRoundTrip(const StateDictAdapter& adapter, const StateDict& hf,
                     const std::vector<std::string>& native_names) {
  ASSERT_OK_AND_ASSIGN(const StateDict native, adapter.FromHf(hf, {}));
  EXPECT_EQ(Names(native), native_names);
  ASSERT_OK_AND_ASSIGN(const StateDict back, adapter.ToHf(native, {}));
  EXPECT_EQ(Difference(Sorted(back), Sorted(hf)), "");
}

TEST(LayoutTableTest, RenamesAndPassesTheRest) {
  LayoutTable table;
  table.Rename("{p*}a.{r*}", "{p*}b.{r*}");
  ExpectRoundTrip(*Make({table}), Dict({{"m.a.w", {2}}, {"c", {3}}}),
                  {"m.b.w", "c"});
}

TEST(LayoutTableTest, EveryOperationIsUndone) {
  const LayoutDim any;
  const struct {
    std::vector<std::string> hf;
    std::vector<std::string> native;
    std::vector<LayoutOp> ops;
    std::vector<Shape> hf_shapes;
    std::vector<Shape> native_shapes;
  } kCases[] = {
      {{"a"}, {"x"}, {layout::Transpose()}, {{2, 3}}, {{3, 2}}},
      {{"a", "b"},
       {"x"},
       {layout::Concat(0, {2, 4})},
       {{2, 3}, {4, 3}},
       {{6, 3}}},
      {{"a", "b"},
       {"x"},
       {layout::Concat(-1, {-1, -1})},
       {{2, 3}, {2, 3}},
       {{2, 6}}},
      {{"a"},
       {"x", "y", "z"},
       {layout::Split(0, {4, 1, 1})},
       {{6, 2}},
       {{4, 2}, {1, 2}, {1, 2}}},
      {{"a"},
       {"x"},
       {layout::Reshape({-1, 4}, {2, -1, 2})},
       {{2, 6, 2}},
       {{6, 4}}},
      {{"a"}, {"x"}, {layout::Squeeze(0, 1)}, {{1, 5}}, {{5}}},
      {{"a"}, {"x"}, {layout::Interleave(-1)}, {{3, 4}}, {{3, 4}}},
      {{"a"}, {"x"}, {layout::Share(Count(3))}, {{3, 2}}, {{3, 2}}},
      {{"a", "b"},
       {"x"},
       {layout::Shapes({{Count(2), any}, {Count(2), any}}), layout::Transpose(),
        layout::Concat(0, {3, 1})},
       {{2, 3}, {2, 1}},
       {{4, 2}}},
  };
  for (const auto& c : kCases) {
    SCOPED_TRACE(c.ops.back().name);
    LayoutTable table;
    table.Map(c.hf, c.native, c.ops);
    StateDict hf;
    for (size_t i = 0; i < c.hf.size(); ++i) {
      ASSERT_OK(hf.Insert(c.hf[i], Random(c.hf_shapes[i])));
    }
    const auto adapter = Make({table});
    ExpectRoundTrip(*adapter, hf, c.native);
    ASSERT_OK_AND_ASSIGN(const StateDict native, adapter->FromHf(hf, {}));
    for (size_t i = 0; i < c.native.size(); ++i) {
      EXPECT_EQ(native.Find(c.native[i])->shape(), c.native_shapes[i]);
    }
  }
}

TEST(LayoutTableTest, PadsWithZerosAndCutsThemOff) {
  LayoutTable table;
  table.Map({"a"}, {"x"}, {layout::Pad(-1, {"heads", 3, "config"}, 5)});
  const auto adapter = Make({table});
  const Tensor whole =
      MakeTensor<float>(DType::kF32, {2, 5}, {1, 2, 3, 0, 0, 4, 5, 6, 0, 0});
  const Tensor cut = MakeTensor<float>(DType::kF32, {2, 3}, {1, 2, 3, 4, 5, 6});
  for (const Tensor& given : {whole, cut}) {
    StateDict hf, native;
    ASSERT_OK(hf.Insert("a", given));
    ASSERT_OK(native.Insert("x", given));
    ASSERT_OK_AND_ASSIGN(const StateDict out, adapter->FromHf(hf, {}));
    EXPECT_EQ(ReadAll(*out.Find("x")).value(), ReadAll(cut).value());
    ASSERT_OK_AND_ASSIGN(const StateDict back, adapter->ToHf(native, {}));
    EXPECT_EQ(ReadAll(*back.Find("a")).value(), ReadAll(whole).value());
  }
  for (const Shape& shape : {Shape{2, 2}, Shape{2, 4}, Shape{2, 6}, Shape{}}) {
    EXPECT_THAT(adapter->FromHf(Dict({{"a", shape}}), {}),
                StatusIs(kInvalid, AllOf(HasSubstr("\"a\""),
                                         HasSubstr("3 (config) or 5"))));
  }
  EXPECT_THAT(adapter->ToHf(Dict({{"x", {2, 4}}}), {}),
              StatusIs(kInvalid, HasSubstr("\"x\"")));
}

TEST(LayoutTableTest, CastsFloatsAndNothingElse) {
  LayoutTable table;
  table.Map({"{r*}"}, {"{r*}"}, {layout::CastFloats(DType::kBF16)});
  const auto adapter = Make({table});
  StateDict hf;
  ASSERT_OK(hf.Insert("f", Random({2}, DType::kF32)));
  ASSERT_OK(hf.Insert("i", Random({2}, DType::kI64)));
  ASSERT_OK_AND_ASSIGN(const StateDict native, adapter->FromHf(hf, {}));
  EXPECT_EQ(native.Find("f")->dtype(), DType::kBF16);
  EXPECT_EQ(native.Find("i")->dtype(), DType::kI64);
  ASSERT_OK_AND_ASSIGN(const StateDict back, adapter->ToHf(hf, {}));
  EXPECT_EQ(Difference(back, hf), "");
  ASSERT_OK(hf.Insert("codes", Random({2}, DType::kF8E4M3)));
  EXPECT_THAT(adapter->FromHf(hf, {}),
              StatusIs(kInvalid, HasSubstr("\"codes\"")));
}

TEST(LayoutTableTest, Int4UnpacksAndPacksByItsFormula) {
  LayoutTable table;
  table.Map({"w_packed", "w_scale", "w_shape"}, {"w"}, {layout::Int4()});
  const auto adapter = Make({table});
  // Codes 0 to 15 are -8 to 7; of a row, two groups of eight.
  const Tensor packed = MakeTensor<uint32_t>(
      DType::kI32, {2, 2}, {0x76543210, 0xFEDCBA98, 0xFEDCBA98, 0x76543210});
  const Tensor shape = MakeTensor<int64_t>(DType::kI64, {2}, {2, 16});
  std::vector<float> expected;
  const float scales[] = {0.5f, 1, 2, 4};
  for (int i = 0; i < 32; ++i) {
    const int code = i < 16 ? i : (i + 8) % 16;
    expected.push_back(static_cast<float>(code - 8) * scales[i / 8]);
  }
  ASSERT_OK_AND_ASSIGN(
      const Tensor values,
      Cast(MakeTensor(DType::kF32, {2, 16}, expected), DType::kBF16));
  for (const Shape& grid : {Shape{2, 2}, Shape{4}}) {
    ASSERT_OK_AND_ASSIGN(
        const Tensor scale,
        Cast(MakeTensor<float>(DType::kF32, grid, {0.5f, 1, 2, 4}),
             DType::kF16));
    StateDict hf;
    ASSERT_OK(hf.Insert("w_packed", packed));
    ASSERT_OK(hf.Insert("w_scale", scale));
    ASSERT_OK(hf.Insert("w_shape", shape));
    ASSERT_OK_AND_ASSIGN(const StateDict native, adapter->FromHf(hf, {}));
    EXPECT_EQ(native.Find("w")->ToString(), values.ToString());
    EXPECT_EQ(ReadAll(*native.Find("w")).value(), ReadAll(values).value());
  }
  // One group of 16 a row: scales 8 and 4 over 7.
  StateDict native;
  ASSERT_OK(native.Insert("w", values));
  ASSERT_OK_AND_ASSIGN(const StateDict hf, adapter->ToHf(native, {}));
  EXPECT_THAT(Names(hf), ElementsAre("w_packed", "w_scale", "w_shape"));
  EXPECT_EQ(hf.Find("w_packed")->ToString(), "I32 [2, 2]");
  EXPECT_EQ(hf.Find("w_scale")->ToString(), "F16 [2, 1]");
  EXPECT_EQ(hf.Find("w_shape")->ToString(), "I64 [2]");
  EXPECT_EQ(ReadAll(*hf.Find("w_shape")).value(), ReadAll(shape).value());
  uint32_t words[4];
  const std::string bytes = ReadAll(*hf.Find("w_packed")).value();
  ASSERT_EQ(bytes.size(), sizeof(words));
  std::memcpy(words, bytes.data(), sizeof(words));
  for (int i = 0; i < 32; ++i) {
    float largest = 0;
    for (int j = 0; j < 16; ++j) {
      largest = std::max(largest, std::fabs(expected[i / 16 * 16 + j]));
    }
    const float code = std::nearbyint(expected[i] / (largest / 7));
    EXPECT_EQ(words[i / 8] >> i % 8 * 4 & 15,
              static_cast<uint32_t>(std::clamp(code, -8.0f, 7.0f) + 8))
        << i;
  }
}

TEST(LayoutTableTest, Int4RefusesWhatDoesNotFit) {
  LayoutTable table;
  table.Map({"w_packed", "w_scale", "w_shape"}, {"w"}, {layout::Int4()});
  const auto adapter = Make({table});
  const struct {
    Shape codes, scales, shape;
  } kCases[] = {
      {{2, 2}, {2, 3}, {2}}, {{2, 2}, {3}, {2}},    {{2, 2}, {2, 0}, {2}},
      {{2, 2}, {3, 2}, {2}}, {{2, 2}, {2, 2}, {3}},
  };
  for (const auto& c : kCases) {
    StateDict hf;
    ASSERT_OK(hf.Insert("w_packed", Random(c.codes, DType::kI32)));
    ASSERT_OK(hf.Insert("w_scale", Random(c.scales, DType::kF16)));
    ASSERT_OK(hf.Insert("w_shape", Random(c.shape, DType::kI64)));
    EXPECT_THAT(adapter->FromHf(hf, {}),
                StatusIs(kInvalid, HasSubstr("\"w_packed\"")))
        << ShapeString(c.scales);
  }
  EXPECT_THAT(
      adapter->FromHf(Dict({{"w_packed", {2, 2}}, {"w_shape", {2}}}), {}),
      StatusIs(kInvalid, HasSubstr("\"w_scale\"")));
}

TEST(LayoutTableTest, ARowOfOneDirectionLeavesTheOtherAlone) {
  LayoutTable table;
  table.Rename("a", "x")
      .OnlyToNative()
      .Rename("b", "y")
      .OnlyToHf()
      .Rename("a", "y2")
      .OnlyToHf();
  const auto adapter = Make({table});
  const StateDict hf = Dict({{"a", {1}}, {"b", {1}}});
  ASSERT_OK_AND_ASSIGN(const StateDict native, adapter->FromHf(hf, {}));
  EXPECT_THAT(Names(native), ElementsAre("x", "b"));
  ASSERT_OK_AND_ASSIGN(
      const StateDict back,
      adapter->ToHf(Dict({{"x", {1}}, {"y", {1}}, {"y2", {1}}}), {}));
  EXPECT_THAT(Names(back), ElementsAre("x", "b", "a"));
}

TEST(LayoutTableTest, StacksOverACaptureInTheOrderOfItsNumbers) {
  LayoutTable table;
  table.Map({"l.{l}.e.{e}.w"}, {"l.{l}.e"}, {layout::Stack("e", Count(11))});
  const auto adapter = Make({table});
  StateDict hf;
  for (int e = 10; e >= 0; --e) {  // "10" sorts before "2"
    ASSERT_OK(hf.Insert(absl::StrCat("l.0.e.", e, ".w"), Random({2})));
  }
  ASSERT_OK_AND_ASSIGN(const StateDict native, adapter->FromHf(hf, {}));
  std::string expected;
  for (int e = 0; e <= 10; ++e) {
    expected += ReadAll(*hf.Find(absl::StrCat("l.0.e.", e, ".w"))).value();
  }
  EXPECT_EQ(ReadAll(*native.Find("l.0.e")).value(), expected);
  ASSERT_OK_AND_ASSIGN(const StateDict back, adapter->ToHf(native, {}));
  EXPECT_EQ(Difference(Sorted(back), Sorted(hf)), "");
  EXPECT_THAT(adapter->FromHf(Dict({{"l.0.e.0.w", {2}}}), {}),
              StatusIs(kInvalid, AllOf(HasSubstr("\"l.0.e.1.w\""),
                                       HasSubstr("and 5 more"),
                                       HasSubstr("l.{l}.e.{e}.w"))));
}

TEST(LayoutTableTest, CastsOneWayAndHoldsBothWays) {
  LayoutTable table;
  table.Map({"a"}, {"x"}, {layout::Cast(DType::kF32)})
      .Map({"b"}, {"y"}, {layout::Hold(DType::kF32)});
  const auto adapter = Make({table});
  ASSERT_OK_AND_ASSIGN(const StateDict native,
                       adapter->FromHf(Dict({{"a", {2}}, {"b", {2}}}), {}));
  EXPECT_EQ(native.Find("x")->dtype(), DType::kF32);
  EXPECT_EQ(native.Find("y")->dtype(), DType::kF32);
  ASSERT_OK_AND_ASSIGN(const StateDict hf,
                       adapter->ToHf(Dict({{"x", {2}}, {"y", {2}}}), {}));
  EXPECT_EQ(hf.Find("a")->dtype(), DType::kBF16);
  EXPECT_EQ(hf.Find("b")->dtype(), DType::kF32);
  EXPECT_THAT(adapter->ForcedHfDtypeMapping(Dict({{"a", {2}}, {"b", {2}}})),
              ElementsAre(Pair("b", DType::kF32)));
}

TEST(LayoutTableTest, DropsAndSynthesizes) {
  LayoutTable table;
  table.DropHf("{p*}inv_freq")
      .DropNative("{p*}cache")
      .Synthesize("head", "embed", {});
  const auto adapter = Make({table});
  ASSERT_OK_AND_ASSIGN(
      const StateDict native,
      adapter->FromHf(Dict({{"embed", {2}}, {"a.inv_freq", {2}}, {"w", {1}}}),
                      {}));
  EXPECT_THAT(Names(native), ElementsAre("embed", "w", "head"));
  EXPECT_EQ(native.Find("head")->source(), native.Find("embed")->source());
  ASSERT_OK_AND_ASSIGN(
      const StateDict own,
      adapter->FromHf(Dict({{"head", {2}}, {"embed", {2}}}), {}));
  EXPECT_NE(own.Find("head")->source(), own.Find("embed")->source());
  ASSERT_OK_AND_ASSIGN(
      const StateDict hf,
      adapter->ToHf(Dict({{"head", {2}}, {"a.cache", {2}}}), {}));
  EXPECT_THAT(Names(hf), ElementsAre("head"));
}

TEST(LayoutTableTest, SynthesizesOnceOfTheFirstThatMatches) {
  LayoutTable table;
  table.Synthesize("rope", "a.{r*}", {});
  LayoutTable chosen;
  chosen.OneOf({"rope", "made", "",
                [](const StateDict& hf) -> absl::StatusOr<std::string> {
                  return std::string(hf.Contains("a.rope") ? "given" : "made");
                }},
               {{"made", table}, {"given", {}}});
  const auto adapter = Make({chosen});
  ASSERT_OK_AND_ASSIGN(
      const StateDict native,
      adapter->FromHf(Dict({{"b", {2}}, {"a.x", {3}}, {"a.y", {2}}}), {}));
  EXPECT_THAT(Names(native), ElementsAre("b", "a.x", "a.y", "rope"));
  EXPECT_EQ(native.Find("rope")->source(), native.Find("a.x")->source());
  ASSERT_OK_AND_ASSIGN(const StateDict given,
                       adapter->FromHf(Dict({{"a.rope", {2}}}), {}));
  EXPECT_THAT(Names(given), ElementsAre("a.rope"));
}

TEST(LayoutTableTest, AClosedTableLetsNothingPassToNative) {
  LayoutTable table;
  table.Rename("a", "b").DropHf("c").Closed();
  const auto adapter = Make({table});
  ASSERT_OK_AND_ASSIGN(const StateDict native,
                       adapter->FromHf(Dict({{"a", {1}}, {"c", {1}}}), {}));
  EXPECT_THAT(Names(native), ElementsAre("b"));
  EXPECT_THAT(adapter->FromHf(Dict({{"a", {1}}, {"d", {1}}}), {}),
              StatusIs(kInvalid, HasSubstr("\"d\"")));
  ASSERT_OK_AND_ASSIGN(const StateDict hf,
                       adapter->ToHf(Dict({{"b", {1}}, {"d", {1}}}), {}));
  EXPECT_THAT(Names(hf), ElementsAre("a", "d"));
}

TEST(LayoutTableTest, DecodesWithWhatLiesBeside) {
  LayoutTable table;
  table.Decode("{n*}weight", {"{n*}weight_scale"}, "{n*}weight",
               {layout::Dequantize(BlockFormat(), DType::kF32)});
  const auto adapter = Make({table});
  StateDict hf = Dict({{"a.weight", {2, 2}}, {"lone.weight_scale", {1}}});
  ASSERT_OK(hf.Insert("b.weight_scale", Random({1, 1}, DType::kF32)));
  ASSERT_OK(hf.Insert("b.weight", Random({2, 2}, DType::kF8E4M3)));
  ASSERT_OK_AND_ASSIGN(const StateDict native, adapter->FromHf(hf, {}));
  EXPECT_THAT(Names(native),
              ElementsAre("a.weight", "lone.weight_scale", "b.weight"));
  EXPECT_EQ(native.Find("b.weight")->dtype(), DType::kF32);
  EXPECT_EQ(native.Find("a.weight")->dtype(), DType::kBF16);
}

TEST(LayoutTableTest, ExactScalesAreThoseOfTheBlocks) {
  for (const bool exact : {false, true}) {
    LayoutTable table;
    table.Decode("w", {"s"}, "w",
                 {layout::Dequantize(BlockFormat(), DType::kF32, exact)});
    StateDict hf;
    ASSERT_OK(hf.Insert("w", Random({2, 2}, DType::kF8E4M3)));
    ASSERT_OK(hf.Insert("s", Random({2, 1}, DType::kF32)));
    const auto native = Make({table})->FromHf(hf, {});
    if (exact) {
      EXPECT_THAT(native, StatusIs(kInvalid, HasSubstr("\"w\"")));
    } else {
      EXPECT_OK(native);
    }
  }
}

// What a scale is for, by its shape, and where element (e, i, j) has its own.
TEST(LayoutTableTest, ScalesSayByTheirShapeWhatTheyAreFor) {
  const struct {
    Shape codes;
    Shape scales;
    std::function<int64_t(int64_t e, int64_t i, int64_t j)> scale_of;
  } kRows[] = {
      {{2, 3}, {}, [](int64_t, int64_t, int64_t) { return 0; }},
      {{2, 3}, {1}, [](int64_t, int64_t, int64_t) { return 0; }},
      {{130, 3}, {2, 1}, [](int64_t, int64_t i, int64_t) { return i / 128; }},
      {{3, 2, 4}, {1}, [](int64_t, int64_t, int64_t) { return 0; }},
      {{3, 2, 4}, {3}, [](int64_t e, int64_t, int64_t) { return e; }},
      {{3, 2, 4}, {3, 1, 1}, [](int64_t e, int64_t, int64_t) { return e; }},
      {{2, 2, 200},
       {2, 1, 2},
       [](int64_t e, int64_t, int64_t j) { return 2 * e + j / 128; }},
  };
  for (const auto& row : kRows) {
    SCOPED_TRACE(absl::StrCat(absl::StrJoin(row.codes, "x"), " by ",
                              absl::StrJoin(row.scales, "x")));
    LayoutTable table;
    table.Decode("w", {"s"}, "w", {layout::DequantizeByScale(DType::kF32)});
    StateDict hf;
    ASSERT_OK(hf.Insert("w", Random(row.codes, DType::kF8E4M3)));
    ASSERT_OK(hf.Insert("s", Random(row.scales, DType::kF32)));
    ASSERT_OK_AND_ASSIGN(const StateDict native, Make({table})->FromHf(hf, {}));
    ASSERT_OK_AND_ASSIGN(const Tensor plain, Cast(*hf.Find("w"), DType::kF32));
    ASSERT_OK_AND_ASSIGN(const std::string codes, ReadAll(plain));
    ASSERT_OK_AND_ASSIGN(const std::string scales, ReadAll(*hf.Find("s")));
    ASSERT_OK_AND_ASSIGN(const std::string found, ReadAll(*native.Find("w")));
    const auto at = [](const std::string& bytes, int64_t index) {
      float value;
      std::memcpy(&value, &bytes[index * sizeof(value)], sizeof(value));
      return value;
    };
    const int64_t cols = row.codes.back();
    const int64_t rows = row.codes[row.codes.size() - 2];
    const int64_t count = codes.size() / sizeof(float);
    for (int64_t k = 0; k < count; ++k) {
      const int64_t scale =
          row.scale_of(k / (rows * cols), k / cols % rows, k % cols);
      const float expected = at(codes, k) * at(scales, scale);
      if (std::isnan(expected)) continue;
      ASSERT_EQ(at(found, k), expected) << k;
    }
  }
}

TEST(LayoutTableTest, AScaleOfNoKnownShapeIsRefused) {
  for (const Shape& scales : {Shape{3}, Shape{2, 2}, Shape{2, 1}}) {
    LayoutTable table;
    table.Decode("w", {"s"}, "w", {layout::DequantizeByScale(DType::kF32)});
    StateDict hf;
    ASSERT_OK(hf.Insert("w", Random({3, 4}, DType::kF8E4M3)));
    ASSERT_OK(hf.Insert("s", Random(scales, DType::kF32)));
    EXPECT_THAT(Make({table})->FromHf(hf, {}),
                StatusIs(kInvalid, HasSubstr("\"w\"")));
  }
}

TEST(LayoutTableTest, RefusesAScaleBesideWhatIsNoCode) {
  for (const auto& op :
       {layout::Dequantize(BlockFormat(), DType::kF32),
        layout::Dequantize(BlockFormat(), MxFp4Format(), DType::kF32),
        layout::CastFp8(DType::kF32)}) {
    for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
      LayoutTable table;
      table.Decode("w", {"s"}, "w", {op});
      StateDict hf;
      ASSERT_OK(hf.Insert("w", Random({2, 2}, dtype)));
      ASSERT_OK(hf.Insert("s", Random({1, 1}, DType::kF32)));
      EXPECT_THAT(Make({table})->FromHf(hf, {}),
                  StatusIs(kInvalid, AllOf(HasSubstr("\"w\""),
                                           HasSubstr("beside a scale"))));
    }
  }
}

TEST(LayoutTableTest, RefusesCodesThatNobodyUnpacked) {
  LayoutTable table;
  table.Map({"a"}, {"x"}, {layout::NotPacked()});
  StateDict hf;
  ASSERT_OK(hf.Insert("a", Random({2}, DType::kF8E4M3)));
  EXPECT_THAT(Make({table})->FromHf(hf, {}),
              StatusIs(kInvalid, HasSubstr("without a scale")));
  ExpectRoundTrip(*Make({table}), Dict({{"a", {2}}}), {"x"});
}

TEST(LayoutTableTest, AnEpShardHasItsShareOfEachExpert) {
  LayoutTable table;
  table.Map({"a"}, {"x"}, {layout::ShareWithin(1)});
  const auto adapter = Make({table});
  // [2, 4, 3]: element 100 e + 10 row + column.
  std::vector<int16_t> whole, half;
  for (int e = 0; e < 2; ++e) {
    for (int row = 0; row < 4; ++row) {
      for (int column = 0; column < 3; ++column) {
        const int16_t value = 100 * e + 10 * row + column;
        whole.push_back(value);
        if (row >= 2) half.push_back(value);
      }
    }
  }
  StateDict hf, expected;
  ASSERT_OK(hf.Insert("a", MakeTensor(DType::kI16, {2, 4, 3}, whole)));
  ASSERT_OK(expected.Insert("x", MakeTensor(DType::kI16, {2, 2, 3}, half)));
  FromHfOptions from;
  from.device_mesh.ep_shard_size = 2;
  from.device_mesh.ep_shard_rank = 1;
  ASSERT_OK_AND_ASSIGN(const StateDict share, adapter->FromHf(hf, from));
  EXPECT_EQ(Difference(share, expected), "");
  ToHfOptions to;
  to.device_mesh = from.device_mesh;
  EXPECT_THAT(adapter->ToHf(share, to), StatusIs(kInvalid, HasSubstr("\"x\"")));
  from.device_mesh.ep_shard_size = 3;
  EXPECT_THAT(adapter->FromHf(hf, from),
              StatusIs(kInvalid, HasSubstr("multiple of 3")));
  ExpectRoundTrip(*adapter, hf, {"x"});
}

TEST(LayoutTableTest, CastsToFp8WithAScaleOfOneForEachBlock) {
  LayoutTable table;
  table.Decode("{n*}weight", {"{n*}scale"}, "{n*}weight",
               {layout::CastFp8(DType::kF32, 4)});
  const auto adapter = Make({table});
  const StateDict native =
      Dict({{"a.weight", {5, 9}}, {"vector.weight", {5}}, {"other", {2, 2}}});
  ASSERT_OK_AND_ASSIGN(const StateDict hf, adapter->ToHf(native, {}));
  EXPECT_THAT(Names(hf),
              ElementsAre("a.weight", "a.scale", "vector.weight", "other"));
  ASSERT_OK_AND_ASSIGN(const Tensor codes,
                       Cast(*native.Find("a.weight"), DType::kF8E4M3));
  EXPECT_EQ(ReadAll(*hf.Find("a.weight")).value(), ReadAll(codes).value());
  EXPECT_EQ(hf.Find("a.weight")->dtype(), DType::kF8E4M3);
  ASSERT_OK_AND_ASSIGN(const Tensor ones, Fill(DType::kF32, {2, 3}, 1));
  EXPECT_EQ(hf.Find("a.scale")->ToString(), ones.ToString());
  EXPECT_EQ(ReadAll(*hf.Find("a.scale")).value(), ReadAll(ones).value());
  EXPECT_EQ(hf.Find("vector.weight")->dtype(), DType::kBF16);
  ASSERT_OK_AND_ASSIGN(const StateDict back, adapter->FromHf(hf, {}));
  ASSERT_OK_AND_ASSIGN(const Tensor values, Cast(codes, DType::kF32));
  EXPECT_EQ(ReadAll(*back.Find("a.weight")).value(), ReadAll(values).value());
}

TEST(LayoutTableTest, AnExceptionWithNothingToDoIsOneAllTheSame) {
  LayoutTable table;
  table
      .Decode("{n*}gate.weight", {"{n*}gate.scale"}, "{n*}gate.weight",
              {layout::Dequantize(BlockFormat(), DType::kBF16)})
      .Else()
      .Decode("{n*}weight", {"{n*}scale"}, "{n*}weight",
              {layout::CastFp8(DType::kBF16)});
  const StateDict native = Dict({{"a.gate.weight", {2, 2}}});
  ASSERT_OK_AND_ASSIGN(const StateDict hf, Make({table})->ToHf(native, {}));
  EXPECT_EQ(Difference(hf, native), "");
}

TEST(LayoutTableTest, TakesTheCompanionsThatAFileHas) {
  LayoutTable table;
  table.Decode("{n*}weight", {"{n*}scale", "{n*}weight_scale"}, "{n*}weight",
               {layout::Dequantize(BlockFormat(), MxFp4Format(), DType::kF32)});
  StateDict hf;
  ASSERT_OK(hf.Insert("a.weight", Random({2, 2}, DType::kF8E4M3)));
  ASSERT_OK(hf.Insert("a.weight_scale", Random({1, 1}, DType::kF32)));
  ASSERT_OK(hf.Insert("b.weight", Random({2, 16}, DType::kU8)));
  ASSERT_OK(hf.Insert("b.weight_scale", Random({2, 1}, DType::kU8)));
  ASSERT_OK_AND_ASSIGN(const StateDict native, Make({table})->FromHf(hf, {}));
  EXPECT_THAT(Names(native), ElementsAre("a.weight", "b.weight"));
  EXPECT_EQ(native.Find("a.weight")->ToString(), "F32 [2, 2]");
  EXPECT_EQ(native.Find("b.weight")->ToString(), "F32 [2, 32]");
}

TEST(LayoutTableTest, NativeTensorsAtTheEndStandByBlocksAndRows) {
  LayoutTable table;
  table.Rename("{l}.a", "{l}.x").AtEnd().Rename("{l}.b", "{l}.y").AtEnd();
  ASSERT_OK_AND_ASSIGN(const StateDict native,
                       Make({table})->FromHf(Dict({{"2.b", {1}},
                                                   {"1.a", {1}},
                                                   {"1.b", {1}},
                                                   {"2.a", {1}},
                                                   {"w", {1}}}),
                                             {}));
  EXPECT_THAT(Names(native), ElementsAre("w", "2.x", "2.y", "1.x", "1.y"));
}

TEST(LayoutTableTest, HfTensorsAtTheEndStandAsTheyCame) {
  LayoutTable table;
  table
      .Map({"{l}.qkv"}, {"{l}.q", "{l}.k", "{l}.v"},
           {layout::Split(0, {2, 1, 1})})
      .AtEndInHf();
  const auto adapter = Make({table});
  const StateDict hf = Dict({{"2.qkv", {4}}, {"1.qkv", {4}}, {"w", {1}}});
  ASSERT_OK_AND_ASSIGN(const StateDict native, adapter->FromHf(hf, {}));
  EXPECT_THAT(Names(native),
              ElementsAre("2.q", "2.k", "2.v", "1.q", "1.k", "1.v", "w"));
  ASSERT_OK_AND_ASSIGN(const StateDict back, adapter->ToHf(native, {}));
  EXPECT_THAT(Names(back), ElementsAre("w", "2.qkv", "1.qkv"));
  EXPECT_EQ(Difference(Sorted(back), Sorted(hf)), "");
}

TEST(LayoutTableTest, ExpertsMayBeCalledSoInTheNativeLayoutAlone) {
  LayoutTable table;
  table.Rename("layers.{l}.moe.up.weight", "layers.{l}.moe.experts.up")
      .ClosedExperts({"layers.{l}.moe.gate.weight", nullptr});
  const auto adapter = Make({table});
  EXPECT_OK(adapter->FromHf(Dict({{"layers.1.moe.gate.weight", {1}},
                                  {"layers.1.moe.up.weight", {1}}}),
                            {}));
  EXPECT_THAT(adapter->FromHf(Dict({{"layers.1.moe.gate.weight", {1}}}), {}),
              StatusIs(kInvalid, HasSubstr("\"layers.1.\"")));
}

TEST(LayoutTableTest, NativeTensorsAtTheEndMayStandAsTheyCame) {
  LayoutTable table;
  table.Rename("{l}.a", "{l}.x")
      .AtEndAsTheyCome()
      .Rename("{l}.b", "{l}.y")
      .AtEndAsTheyCome();
  ASSERT_OK_AND_ASSIGN(const StateDict native,
                       Make({table})->FromHf(Dict({{"2.b", {1}},
                                                   {"1.a", {1}},
                                                   {"w", {1}},
                                                   {"1.b", {1}},
                                                   {"2.a", {1}}}),
                                             {}));
  EXPECT_THAT(Names(native), ElementsAre("w", "2.y", "1.x", "1.y", "2.x"));
}

TEST(LayoutTableTest, ARuleTakesWhatItsExceptionsLeave) {
  LayoutTable table;
  table.Rename("attn.sink", "self_attn.sinks.weight")
      .Else()
      .Rename("attn.{r*}", "self_attn.{r*}");
  ExpectRoundTrip(*Make({table}), Dict({{"attn.q", {1}}, {"attn.sink", {1}}}),
                  {"self_attn.q", "self_attn.sinks.weight"});
}

TEST(LayoutTableTest, ReadsEveryFormAndWritesTheOneChosen) {
  for (const char* form : {"split", "whole"}) {
    LayoutTable split, whole, table;
    split.Map({"{l}.a", "{l}.b"}, {"{l}.ab"}, {layout::Concat(0, {1, 1})});
    whole.Rename("{l}.both", "{l}.ab");
    table.OneOf({"form", form, "split", nullptr},
                {{"split", split}, {"whole", whole}});
    const auto adapter = Make({table});
    const StateDict hf = Dict({{"0.a", {1}}, {"0.b", {1}}, {"1.both", {2}}});
    ASSERT_OK_AND_ASSIGN(const StateDict native, adapter->FromHf(hf, {}));
    EXPECT_THAT(Names(native), ElementsAre("0.ab", "1.ab"));
    ASSERT_OK_AND_ASSIGN(const StateDict back, adapter->ToHf(native, {}));
    if (form == std::string("split")) {
      EXPECT_THAT(Names(back), ElementsAre("0.a", "0.b", "1.a", "1.b"));
    } else {
      EXPECT_THAT(Names(back), ElementsAre("0.both", "1.both"));
    }
    ToHfOptions v4;
    v4.v4_compatible = true;
    ASSERT_OK_AND_ASSIGN(const StateDict old, adapter->ToHf(native, v4));
    EXPECT_EQ(old.size(), 4u);
    EXPECT_THAT(
        adapter->FromHf(Dict({{"0.a", {1}}, {"0.b", {1}}, {"0.both", {2}}}),
                        {}),
        StatusIs(kExists, AllOf(HasSubstr("\"0.b\""), HasSubstr("\"0.both\""),
                                HasSubstr("\"0.ab\""))));
  }
}

TEST(LayoutTableTest, AFormIsDetectedWhereNamesDoNotTell) {
  LayoutTable plain, turned, table;
  plain.Rename("a", "x");
  turned.Map({"a"}, {"x"}, {layout::Transpose()});
  table.OneOf({"form", "plain", "",
               [](const StateDict& hf) -> absl::StatusOr<std::string> {
                 return hf.Find("a")->shape()[0] == 2 ? "plain" : "turned";
               }},
              {{"plain", plain}, {"turned", turned}});
  for (const Shape& shape : {Shape{2, 3}, Shape{3, 2}}) {
    ASSERT_OK_AND_ASSIGN(const StateDict native,
                         Make({table})->FromHf(Dict({{"a", shape}}), {}));
    EXPECT_EQ(native.Find("x")->shape(), (Shape{2, 3}));
  }
}

TEST(LayoutTableTest, AFormMayBeSeenOfTheNativeModel) {
  LayoutTable one, two, table;
  one.Rename("a", "x");
  two.Rename("b", "x");
  LayoutChoice choice;
  choice.name = "form";
  choice.on_export = "one";
  choice.detect_on_export = [](const StateDict& native) {
    return std::string(native.size() > 1 ? "two" : "one");
  };
  table.OneOf(choice, {{"one", one}, {"two", two}});
  const auto adapter = Make({table});
  ASSERT_OK_AND_ASSIGN(const StateDict hf,
                       adapter->ToHf(Dict({{"x", {1}}, {"y", {1}}}), {}));
  EXPECT_THAT(Names(hf), ElementsAre("b", "y"));
  // A single tensor is no model.
  ASSERT_OK_AND_ASSIGN(const auto single,
                       adapter->ConvertSingleTensorToHf("x", Random({1}), {}));
  EXPECT_EQ(single.front().name, "a");
}

TEST(LayoutTableTest, RowsThatBelongTogetherAreMissed) {
  LayoutTable table;
  table.Rename("{l}.a", "{l}.x").Rename("{l}.b", "{l}.y").Together();
  EXPECT_THAT(Make({table})->FromHf(
                  Dict({{"0.a", {1}}, {"0.b", {1}}, {"1.b", {1}}}), {}),
              StatusIs(kInvalid, HasSubstr("\"1.a\"")));
}

TEST(LayoutTableTest, StagesBelowAPrefixDoNotSeeIt) {
  LayoutTable inner;
  inner.Decode("{n*}w", {"{n*}w_scale"}, "{n*}v",
               {layout::OneWay(
                   "first", 0, 1,
                   [](const LayoutContext&, std::vector<Tensor>* tensors) {
                     tensors->resize(1);
                     return absl::OkStatus();
                   },
                   [](const LayoutContext&, std::vector<Tensor>*) {
                     return absl::OkStatus();
                   })});
  const auto adapter = Make({Under{"lm.", "model.lm.", {inner}}});
  ASSERT_OK_AND_ASSIGN(
      const StateDict native,
      adapter->FromHf(
          Dict({{"lm.a.w", {1}}, {"lm.a.w_scale", {1}}, {"vision.w", {1}}}),
          {}));
  EXPECT_THAT(Names(native), ElementsAre("model.lm.a.v", "vision.w"));
  ASSERT_OK_AND_ASSIGN(const StateDict hf, adapter->ToHf(native, {}));
  EXPECT_THAT(Names(hf), ElementsAre("lm.a.w", "vision.w"));
}

TEST(LayoutTableTest, StagesFollowOneAnother) {
  LayoutTable first, second;
  first.Rename("a", "b");
  second.Rename("b", "c");
  ExpectRoundTrip(*Make({first, second}), Dict({{"a", {1}}}), {"c"});
}

TEST(LayoutTableTest, CollisionsNameTheInputsEvenAfterRenaming) {
  LayoutTable first, second;
  first.Rename("a", "b");
  second.Map({"{n*}{e}.w"}, {"{n*}e"}, {layout::Stack("e", Count(1))});
  EXPECT_THAT(Make({first})->FromHf(Dict({{"b", {1}}, {"a", {1}}}), {}),
              StatusIs(kExists, AllOf(HasSubstr("\"a\""), HasSubstr("\"b\""))));
  LayoutTable prefix;
  prefix.Rename("x.{r*}", "{r*}");
  EXPECT_THAT(
      Make({prefix, second})
          ->FromHf(Dict({{"x.0.w", {1}}, {"x.00.w", {1}}}), {}),
      StatusIs(kExists, AllOf(HasSubstr("\"x.0.w\""), HasSubstr("\"x.00.w\""),
                              HasSubstr("{n*}{e}.w"))));
}

TEST(LayoutTableTest, SplittingBackNeedsAllParts) {
  LayoutTable table;
  table.Map({"{l}.qkv"}, {"{l}.q", "{l}.k"}, {layout::Split(0, {2, 1})});
  const auto adapter = Make({table});
  ExpectRoundTrip(*adapter, Dict({{"0.qkv", {3, 2}}}), {"0.q", "0.k"});
  EXPECT_THAT(adapter->ToHf(Dict({{"0.q", {2, 2}}}), {}),
              StatusIs(kInvalid, HasSubstr("\"0.k\"")));
  ASSERT_OK_AND_ASSIGN(const auto single, adapter->ConvertSingleTensorToHf(
                                              "0.q", Random({2, 2}), {}));
  ASSERT_EQ(single.size(), 1u);
  EXPECT_EQ(single[0].name, "0.q");
}

TEST(LayoutTableTest, RefusesEachKindOfMistake) {
  const LayoutOp stack = layout::Stack("e", Count(2));
  const struct {
    const char* what;
    std::function<void(LayoutTable&)> declare;
    const char* said;
  } kCases[] = {
      {"two rows match one HF name",
       [](LayoutTable& t) {
         t.Rename("{p*}a", "{p*}x").Rename("b.{r*}", "y.{r*}");
       },
       "HF names match two rows"},
      {"two rows write one native name",
       [](LayoutTable& t) { t.Rename("a", "x").Rename("b", "x"); },
       "native names match two rows"},
      {"two parts of a row have one name",
       [](LayoutTable& t) {
         t.Map({"{l}.a", "{l}.a"}, {"{l}.x"}, {layout::Concat(0, {1, 1})});
       },
       "HF names match two rows"},
      {"a row drops what another takes",
       [](LayoutTable& t) { t.Rename("a", "x").DropHf("{r*}"); },
       "HF names match two rows"},
      {"the native name captures what HF does not",
       [](LayoutTable& t) { t.Rename("a", "x.{l}"); }, "\"l\""},
      {"HF captures what the native name does not",
       [](LayoutTable& t) { t.Rename("a.{l}", "x"); },
       "lacks the capture \"l\""},
      {"one of two HF names lacks a capture",
       [](LayoutTable& t) {
         t.Map({"a.{l}", "b"}, {"x.{l}"}, {layout::Concat(0, {1, 1})});
       },
       "\"b\" lacks the capture \"l\""},
      {"a stack over what is not captured",
       [&](LayoutTable& t) { t.Map({"a"}, {"x"}, {stack}); },
       "which no name captures"},
      {"a stack whose capture stays",
       [&](LayoutTable& t) { t.Map({"a.{e}"}, {"x.{e}"}, {stack}); },
       "has the capture that is stacked over"},
      {"two stacks",
       [&](LayoutTable& t) {
         t.Map({"a.{e}"}, {"x"}, {stack, stack});
       },
       "stacked twice"},
      {"operations that take another number of tensors",
       [](LayoutTable& t) {
         t.Map({"a"}, {"x"}, {layout::Concat(0, {1, 1})});
       },
       "which takes 2"},
      {"operations that make another number of tensors",
       [](LayoutTable& t) {
         t.Map({"a", "b"}, {"x"}, {layout::Transpose()});
       },
       "makes 2 tensors for 1 native names"},
      {"shapes of another number of tensors",
       [](LayoutTable& t) {
         t.Map({"a"}, {"x"}, {layout::Shapes({{}, {}})});
       },
       "2 shapes for 1 tensors"},
      {"a pattern that is none", [](LayoutTable& t) { t.Rename("a.{l", "x"); },
       "without a \"}\""},
  };
  for (const auto& c : kCases) {
    LayoutTable table;
    c.declare(table);
    EXPECT_THAT(MakeLayoutAdapter({table}),
                StatusIs(kInvalid, HasSubstr(c.said)))
        << c.what;
  }
  LayoutTable plain, lookup;
  lookup.Synthesize("head", "embed", {});
  EXPECT_THAT(MakeLayoutAdapter({plain, lookup}),
              StatusIs(kInvalid, HasSubstr("only a first stage can")));
  EXPECT_OK(MakeLayoutAdapter({Under{"a.", "b.", {lookup}}, plain}));
}

TEST(LayoutTableTest, WithoutAStageEverythingPasses) {
  ASSERT_OK_AND_ASSIGN(const StateDict native,
                       Make({})->FromHf(Dict({{"a", {1}}}), {}));
  EXPECT_THAT(Names(native), ElementsAre("a"));
  ASSERT_OK_AND_ASSIGN(const StateDict none, Make({})->ToHf({}, {}));
  EXPECT_THAT(Names(none), IsEmpty());
}

}  // namespace
}  // namespace windlass
