#include "windlass/core/tensor_ops.h"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/core/kernels/float_convert.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/testing/tensors.h"

namespace windlass {
namespace {

using ::testing::HasSubstr;

std::string Bytes(const Tensor& tensor) { return ReadAll(tensor).value(); }

// Element `index` of a tensor's bytes.
std::string At(const std::string& bytes, int64_t index, int64_t size) {
  return bytes.substr(index * size, size);
}

class TensorOpsTest : public ::testing::Test {
 protected:
  std::mt19937 random_{7};
};

TEST_F(TensorOpsTest, TransposeMovesElements) {
  for (DType dtype : {DType::kU8, DType::kBF16, DType::kF32, DType::kI64}) {
    for (const Shape& shape :
         {Shape{3, 5}, Shape{1, 7}, Shape{70, 130}, Shape{2, 33, 65}}) {
      const Tensor in = RandomTensor(dtype, shape, &random_);
      ASSERT_OK_AND_ASSIGN(const Tensor out, Transpose(in));
      const int64_t n = shape.back(), m = shape[shape.size() - 2];
      const int64_t batches = in.bytes() / (m * n * DTypeBytes(dtype));
      const std::string a = Bytes(in), b = Bytes(out);
      const int size = DTypeBytes(dtype);
      for (int64_t k = 0; k < batches; ++k) {
        for (int64_t i = 0; i < m; ++i) {
          for (int64_t j = 0; j < n; ++j) {
            ASSERT_EQ(At(b, (k * n + j) * m + i, size),
                      At(a, (k * m + i) * n + j, size));
          }
        }
      }
      ASSERT_OK_AND_ASSIGN(const Tensor back, Transpose(out));
      EXPECT_EQ(Bytes(back), a);
      ExpectRegionsAgree(out, &random_);
      ExpectRegionsAgree(back, &random_);
    }
  }
}

TEST_F(TensorOpsTest, TransposeOfALargeMatrixReadsInBands) {
  // Above the size of one piece, with rows that do not divide the bands.
  const Tensor in = RandomTensor(DType::kF32, {1500, 1501}, &random_);
  ASSERT_OK_AND_ASSIGN(const Tensor out, Transpose(in));
  EXPECT_LT(out.source()->PieceEnd(0), out.bytes());
  ASSERT_OK_AND_ASSIGN(const Tensor back, Transpose(out));
  EXPECT_EQ(Bytes(back), Bytes(in));
}

TEST_F(TensorOpsTest, CastConvertsEveryElement) {
  for (DType from : {DType::kBF16, DType::kF32, DType::kF8E4M3, DType::kF64}) {
    for (DType to : {DType::kBF16, DType::kF32, DType::kF16}) {
      const Tensor in = RandomTensor(from, {37, 91}, &random_);
      ASSERT_OK_AND_ASSIGN(const Tensor out, Cast(in, to));
      const std::string a = Bytes(in);
      std::string expected(out.bytes(), '\0');
      ConvertFloats(from, a.data(), 37 * 91, to, &expected[0]);
      EXPECT_EQ(Bytes(out), expected);
      if (from != to) ExpectRegionsAgree(out, &random_);
    }
  }
}

// The nearest code, the even one of two, by trying all of them.
uint8_t NearestE4M3(float value) {
  int best = 0;
  double best_distance = HUGE_VAL;
  for (int code = 0; code < 0x7F; ++code) {
    const int exponent = code >> 3, mantissa = code & 7;
    const double magnitude = exponent == 0
                                 ? std::ldexp(mantissa, -9)
                                 : std::ldexp(8 + mantissa, exponent - 10);
    const double distance = std::fabs(std::fabs(double{value}) - magnitude);
    if (distance < best_distance ||
        (distance == best_distance && code % 2 == 0)) {
      best = code;
      best_distance = distance;
    }
  }
  return static_cast<uint8_t>(best | (std::signbit(value) ? 0x80 : 0));
}

TEST_F(TensorOpsTest, CastToFp8RoundsToTheNearestCode) {
  std::vector<float> values = {0.0f,   -0.0f,   448.0f,   -464.0f,
                               0x1p-9, 0x1p-10, 0x1.8p-9, 0x1.1p3};
  for (int i = 0; i < 500; ++i) {
    values.push_back(std::ldexp(static_cast<float>(random_() % 2001) - 1000.0f,
                                -static_cast<int>(random_() % 14) - 2));
  }
  std::vector<uint8_t> expected;
  for (float value : values) expected.push_back(NearestE4M3(value));
  const Shape shape = {2, static_cast<int64_t>(values.size() / 2)};
  ASSERT_OK_AND_ASSIGN(const Tensor codes,
                       CastToFp8(MakeTensor(DType::kF32, shape, values)));
  EXPECT_EQ(codes.dtype(), DType::kF8E4M3);
  EXPECT_EQ(codes.shape(), shape);
  EXPECT_EQ(ReadAll(codes).value(),
            std::string(expected.begin(), expected.end()));
  ExpectRegionsAgree(codes, &random_);
}

// Experts lie transposed in the native layout: a few output rows at a time
// would read the matrix anew for each of them.
TEST_F(TensorOpsTest, CastReadsEachRowOfATransposeOnce) {
  constexpr int64_t kRows = 512, kCols = 4096;
  const auto source = std::make_shared<CountedSource>(
      ReadAll(RandomTensor(DType::kBF16, {kRows, kCols}, &random_)).value());
  ASSERT_OK_AND_ASSIGN(const Tensor stored,
                       Tensor::FromExtent(DType::kBF16, {kRows, kCols},
                                          Extent{source, 0, source->size()}));
  ASSERT_OK_AND_ASSIGN(const Tensor turned, Transpose(stored));
  ASSERT_OK_AND_ASSIGN(const Tensor cast, CastToFp8(turned));
  ASSERT_OK(ReadAll(cast));
  EXPECT_LE(source->reads(), kRows);
}

TEST_F(TensorOpsTest, CastToFp8RefusesWhatHasNoCode) {
  for (float bad : {464.5f, -1e4f, HUGE_VALF, std::nanf("")}) {
    ASSERT_OK_AND_ASSIGN(
        const Tensor codes,
        CastToFp8(MakeTensor(DType::kF32, {2}, std::vector<float>{1, bad})));
    EXPECT_THAT(ReadAll(codes), StatusIs(absl::StatusCode::kInvalidArgument,
                                         HasSubstr("above 464")))
        << bad;
  }
}

TEST_F(TensorOpsTest, CastToItsOwnDTypeIsTheSameTensor) {
  const Tensor in = RandomTensor(DType::kI32, {4}, &random_);
  ASSERT_OK_AND_ASSIGN(const Tensor out, Cast(in, DType::kI32));
  EXPECT_EQ(out.source(), in.source());
}

TEST_F(TensorOpsTest, SliceAndConcatAreInverse) {
  const Tensor in = RandomTensor(DType::kBF16, {6, 7, 8}, &random_);
  for (int dim = 0; dim < 3; ++dim) {
    ASSERT_OK_AND_ASSIGN(const Tensor a, Slice(in, dim, 0, 2));
    ASSERT_OK_AND_ASSIGN(const Tensor b, Slice(in, dim, 2, 2));
    ASSERT_OK_AND_ASSIGN(const Tensor c, Slice(in, dim, 2, in.shape()[dim]));
    EXPECT_EQ(a.shape()[dim], 2);
    const Tensor parts[] = {a, b, c};
    ASSERT_OK_AND_ASSIGN(const Tensor back, Concat(parts, dim));
    EXPECT_EQ(back.shape(), in.shape());
    EXPECT_EQ(Bytes(back), Bytes(in)) << dim;
    ExpectRegionsAgree(a, &random_);
    ExpectRegionsAgree(c, &random_);
    ExpectRegionsAgree(back, &random_);
  }
}

// Joined, and stacked once more: what is one row of parts is flattened.
TEST_F(TensorOpsTest, RowsOfRowsKnowWhereTheyLieVerbatim) {
  const Tensor a = RandomTensor(DType::kBF16, {2, 3}, &random_);
  const Tensor b = RandomTensor(DType::kBF16, {5, 3}, &random_);
  const Tensor c = RandomTensor(DType::kBF16, {7, 3}, &random_);
  ASSERT_OK_AND_ASSIGN(const Tensor inner, Concat({a, b}, 0));
  ASSERT_OK_AND_ASSIGN(const Tensor cut, Slice(c, 0, 1, 5));
  ASSERT_OK_AND_ASSIGN(const Tensor rows, Concat({inner, cut}, 0));
  std::string bytes;
  for (const Extent& run : rows.source()->VerbatimRuns()) {
    std::string part(run.size, '\0');
    ASSERT_OK(
        run.source->ReadAt(run.offset, absl::MakeSpan(&part[0], run.size)));
    bytes += part;
  }
  EXPECT_EQ(bytes, Bytes(rows));
  EXPECT_EQ(rows.source()->VerbatimRuns().size(), 3u);
  // Beside each other, or computed in part, they do not lie anywhere.
  ASSERT_OK_AND_ASSIGN(const Tensor beside, Concat({a, a}, 1));
  EXPECT_TRUE(beside.source()->VerbatimRuns().empty());
  ASSERT_OK_AND_ASSIGN(const Tensor wide, Cast(b, DType::kF32));
  ASSERT_OK_AND_ASSIGN(const Tensor back, Cast(wide, DType::kBF16));
  ASSERT_OK_AND_ASSIGN(const Tensor mixed, Concat({a, back}, 0));
  EXPECT_TRUE(mixed.source()->VerbatimRuns().empty());
}

TEST_F(TensorOpsTest, TransposesAreConcatenatedAsAllElse) {
  const Tensor a = RandomTensor(DType::kBF16, {3, 5, 7}, &random_);
  const Tensor b = RandomTensor(DType::kBF16, {3, 11, 7}, &random_);
  const Tensor c = RandomTensor(DType::kBF16, {3, 5, 7}, &random_);
  auto transposed = [](const Tensor& tensor) { return *Transpose(tensor); };
  auto copied = [](const Tensor& tensor) {
    return *Tensor::FromBytes(tensor.dtype(), tensor.shape(), Bytes(tensor));
  };
  auto flat = [](const Tensor& tensor) {
    return *Reshape(tensor,
                    {tensor.shape()[0] * tensor.shape()[1], tensor.shape()[2]});
  };
  const Tensor at = transposed(a), bt = transposed(b), ct = transposed(c);
  const struct {
    std::vector<Tensor> parts;
    int dim;
  } cases[] = {
      {{at, bt, ct}, 2},          // other widths
      {{at, ct, at}, 0},          // more matrices
      {{at, ct}, 1},              // more rows
      {{at, copied(bt)}, 2},      // one is none
      {{flat(at), flat(ct)}, 0},  // of another shape by now
      {{flat(at), flat(bt)}, 1},
  };
  for (const auto& one : cases) {
    SCOPED_TRACE(one.parts[0].ToString());
    std::vector<Tensor> plain;
    for (const Tensor& part : one.parts) plain.push_back(copied(part));
    ASSERT_OK_AND_ASSIGN(const Tensor joined, Concat(one.parts, one.dim));
    ASSERT_OK_AND_ASSIGN(const Tensor expected, Concat(plain, one.dim));
    EXPECT_EQ(joined.shape(), expected.shape());
    EXPECT_EQ(Bytes(joined), Bytes(expected));
    ExpectRegionsAgree(joined, &random_);
    ASSERT_OK_AND_ASSIGN(const Tensor stacked, Stack({joined, joined}));
    EXPECT_EQ(Bytes(stacked), Bytes(expected) + Bytes(expected));
    ExpectRegionsAgree(stacked, &random_);
  }
}

TEST_F(TensorOpsTest, SliceOfTheOutermostDimensionStaysVerbatim) {
  const Tensor in = RandomTensor(DType::kBF16, {6, 4}, &random_);
  ASSERT_OK_AND_ASSIGN(const Tensor out, Slice(in, 0, 2, 5));
  ASSERT_TRUE(out.source()->Verbatim().has_value());
  EXPECT_EQ(out.source()->Verbatim()->offset, 16);
  EXPECT_EQ(out.source()->Verbatim()->size, 24);
}

TEST_F(TensorOpsTest, StackAndSelectAreInverse) {
  std::vector<Tensor> parts;
  for (int i = 0; i < 5; ++i) {
    parts.push_back(RandomTensor(DType::kF32, {3, 4}, &random_));
  }
  ASSERT_OK_AND_ASSIGN(const Tensor stacked, Stack(parts));
  EXPECT_EQ(stacked.shape(), (Shape{5, 3, 4}));
  ExpectRegionsAgree(stacked, &random_);
  for (int i = 0; i < 5; ++i) {
    ASSERT_OK_AND_ASSIGN(const Tensor part, Select(stacked, i));
    EXPECT_EQ(part.shape(), (Shape{3, 4}));
    EXPECT_EQ(Bytes(part), Bytes(parts[i]));
  }
}

TEST_F(TensorOpsTest, ReshapeKeepsTheBytes) {
  const Tensor in = RandomTensor(DType::kF4, {8, 6}, &random_);
  ASSERT_OK_AND_ASSIGN(const Tensor out, Reshape(in, {48}));
  EXPECT_EQ(Bytes(out), Bytes(in));
}

// out[e, h, i] = gate_e[i, h], out[e, h, I + i] = up_e[i, h], cast to BF16.
TEST_F(TensorOpsTest, MergedExpertsFollowTheFormula) {
  constexpr int64_t kE = 3, kI = 21, kH = 34;
  std::vector<Tensor> gates, ups, experts;
  for (int e = 0; e < kE; ++e) {
    gates.push_back(RandomTensor(DType::kF32, {kI, kH}, &random_));
    ups.push_back(RandomTensor(DType::kF32, {kI, kH}, &random_));
    std::vector<Tensor> parts;
    for (const Tensor& weight : {gates.back(), ups.back()}) {
      ASSERT_OK_AND_ASSIGN(const Tensor cast, Cast(weight, DType::kBF16));
      ASSERT_OK_AND_ASSIGN(parts.emplace_back(), Transpose(cast));
    }
    ASSERT_OK_AND_ASSIGN(experts.emplace_back(), Concat(parts, 1));
  }
  ASSERT_OK_AND_ASSIGN(const Tensor merged, Stack(experts));
  ASSERT_EQ(merged.shape(), (Shape{kE, kH, 2 * kI}));
  const std::string out = Bytes(merged);
  for (int64_t e = 0; e < kE; ++e) {
    const std::string gate = Bytes(gates[e]), up = Bytes(ups[e]);
    for (int64_t h = 0; h < kH; ++h) {
      for (int64_t i = 0; i < 2 * kI; ++i) {
        const std::string& from = i < kI ? gate : up;
        std::string expected(2, '\0');
        ConvertFloats(DType::kF32, &from[(i % kI * kH + h) * 4], 1,
                      DType::kBF16, &expected[0]);
        ASSERT_EQ(At(out, (e * kH + h) * 2 * kI + i, 2), expected);
      }
    }
  }
  ExpectRegionsAgree(merged, &random_);
  // And back: transposes of slices of it.
  ASSERT_OK_AND_ASSIGN(const Tensor expert, Select(merged, 1));
  ASSERT_OK_AND_ASSIGN(const Tensor up, Slice(expert, 1, kI, 2 * kI));
  ASSERT_OK_AND_ASSIGN(const Tensor back, Transpose(up));
  ASSERT_OK_AND_ASSIGN(const Tensor expected, Cast(ups[1], DType::kBF16));
  EXPECT_EQ(Bytes(back), Bytes(expected));
}

TEST_F(TensorOpsTest, InterleaveTakesTheHalvesInTurn) {
  for (DType dtype : {DType::kU8, DType::kBF16, DType::kF32}) {
    const Tensor in = RandomTensor(dtype, {4, 6, 10}, &random_);
    const std::string a = Bytes(in);
    const int size = DTypeBytes(dtype);
    for (int dim = 0; dim < 3; ++dim) {
      ASSERT_OK_AND_ASSIGN(const Tensor out, Interleave(in, dim));
      EXPECT_EQ(out.shape(), in.shape());
      const std::string b = Bytes(out);
      const int64_t half = in.shape()[dim] / 2;
      for (int64_t i = 0; i < 4 * 6 * 10; ++i) {
        Shape at = {i / 60, i / 10 % 6, i % 10};
        // out[2j] = in[j], out[2j + 1] = in[half + j]
        at[dim] = at[dim] / 2 + at[dim] % 2 * half;
        ASSERT_EQ(At(b, i, size),
                  At(a, (at[0] * 6 + at[1]) * 10 + at[2], size));
      }
      ASSERT_OK_AND_ASSIGN(const Tensor back, Deinterleave(out, dim));
      EXPECT_EQ(Bytes(back), a);
      ExpectRegionsAgree(out, &random_);
      ExpectRegionsAgree(back, &random_);
    }
  }
}

TEST_F(TensorOpsTest, PadAppendsZerosThatSliceTakesOff) {
  const Tensor in = RandomTensor(DType::kF32, {3, 5}, &random_);
  for (int dim = 0; dim < 2; ++dim) {
    ASSERT_OK_AND_ASSIGN(const Tensor out, Pad(in, dim, 128));
    EXPECT_EQ(out.shape()[dim], 128);
    const int64_t had = in.shape()[dim];
    ASSERT_OK_AND_ASSIGN(const Tensor back, Slice(out, dim, 0, had));
    EXPECT_EQ(Bytes(back), Bytes(in));
    ASSERT_OK_AND_ASSIGN(const Tensor rest, Slice(out, dim, had, 128));
    EXPECT_EQ(Bytes(rest), std::string(rest.bytes(), '\0'));
    ExpectRegionsAgree(out, &random_);
  }
  ASSERT_OK_AND_ASSIGN(const Tensor same, Pad(in, 0, 3));
  EXPECT_EQ(same.source(), in.source());
}

TEST_F(TensorOpsTest, FillIsOneValueEverywhere) {
  const struct {
    DType dtype;
    double value;
    std::string element;
  } kCases[] = {
      {DType::kBF16, 1, std::string("\x80\x3F", 2)},
      {DType::kF32, -2.5, std::string("\0\0\x20\xC0", 4)},
      {DType::kU8, 127, "\x7F"},
      {DType::kI64, 0, std::string(8, '\0')},
  };
  for (const auto& c : kCases) {
    ASSERT_OK_AND_ASSIGN(const Tensor out, Fill(c.dtype, {3, 2}, c.value));
    std::string expected;
    for (int i = 0; i < 6; ++i) expected += c.element;
    EXPECT_EQ(Bytes(out), expected);
    ExpectRegionsAgree(out, &random_);
    EXPECT_TRUE(out.source()->VisitInputs([](const Extent&) { return false; }));
  }
}

TEST_F(TensorOpsTest, DequantizeMultipliesEachBlockByItsScale) {
  for (DType scale_dtype : {DType::kF32, DType::kBF16, DType::kF8E8M0}) {
    constexpr int64_t kM = 200, kN = 300;
    std::vector<uint8_t> codes(kM * kN);
    for (uint8_t& code : codes) code = random_() % 0x7F;
    const Tensor weight = MakeTensor(DType::kF8E4M3, {kM, kN}, codes);
    Tensor scale = RandomTensor(DType::kF32, {2, 3}, &random_);
    ASSERT_OK_AND_ASSIGN(scale, Cast(scale, scale_dtype));
    ASSERT_OK_AND_ASSIGN(const Tensor out,
                         DequantizeBlocks(weight, scale, 128, DType::kBF16));
    const std::string a = Bytes(weight), s = Bytes(scale), b = Bytes(out);
    for (int64_t i = 0; i < kM; ++i) {
      for (int64_t j = 0; j < kN; ++j) {
        float w, f;
        DecodeToF32(DType::kF8E4M3, &a[i * kN + j], 1, &w);
        DecodeToF32(scale_dtype,
                    &s[(i / 128 * 3 + j / 128) * DTypeBytes(scale_dtype)], 1,
                    &f);
        const float product = w * f;
        std::string expected(2, '\0');
        EncodeFromF32(DType::kBF16, &product, 1, &expected[0]);
        ASSERT_EQ(At(b, i * kN + j, 2), expected);
      }
    }
    ExpectRegionsAgree(out, &random_);
    ASSERT_OK_AND_ASSIGN(const Tensor turned, Transpose(out));
    ExpectRegionsAgree(turned, &random_);
  }
}

TEST_F(TensorOpsTest, PiecesCoverTheTensorAndStayBounded) {
  const Tensor gate = RandomTensor(DType::kBF16, {700, 900}, &random_);
  ASSERT_OK_AND_ASSIGN(const Tensor turned, Transpose(gate));
  const Tensor both[] = {turned, turned};
  ASSERT_OK_AND_ASSIGN(const Tensor joined, Concat(both, 1));
  const Tensor three[] = {joined, joined, joined};
  ASSERT_OK_AND_ASSIGN(const Tensor stacked, Stack(three));
  ASSERT_OK_AND_ASSIGN(const Tensor cast, Cast(stacked, DType::kF32));
  for (const Tensor& tensor : {gate, turned, joined, stacked, cast}) {
    int64_t begin = 0;
    while (begin < tensor.bytes()) {
      const int64_t end = tensor.source()->PieceEnd(begin);
      ASSERT_GT(end, begin);
      ASSERT_LE(end - begin, 16 << 20);
      ASSERT_EQ(end % DTypeBytes(tensor.dtype()), 0);
      // Any byte of a piece knows its end.
      ASSERT_EQ(tensor.source()->PieceEnd((begin + end) / 2 / 4 * 4), end);
      begin = end;
    }
  }
}

TEST_F(TensorOpsTest, EmptyTensorsPassThroughEverything) {
  const Tensor empty = RandomTensor(DType::kBF16, {0, 4}, &random_);
  ASSERT_OK_AND_ASSIGN(const Tensor turned, Transpose(empty));
  ASSERT_OK_AND_ASSIGN(const Tensor cast, Cast(turned, DType::kF32));
  const Tensor two[] = {cast, cast};
  ASSERT_OK_AND_ASSIGN(const Tensor joined, Concat(two, 0));
  EXPECT_EQ(joined.shape(), (Shape{8, 0}));
  EXPECT_EQ(Bytes(joined), "");
}

TEST_F(TensorOpsTest, RefusesWhatDoesNotFit) {
  const Tensor matrix = RandomTensor(DType::kBF16, {4, 6}, &random_);
  const Tensor row = RandomTensor(DType::kBF16, {6}, &random_);
  const Tensor ints = RandomTensor(DType::kI32, {4, 6}, &random_);
  const Tensor packed = RandomTensor(DType::kF4, {4, 6}, &random_);
  const auto invalid = absl::StatusCode::kInvalidArgument;
  EXPECT_THAT(Cast(ints, DType::kF32),
              StatusIs(invalid, HasSubstr("found I32 [4, 6]")));
  EXPECT_THAT(Cast(packed, DType::kF32), StatusIs(invalid, HasSubstr("F4")));
  EXPECT_THAT(Transpose(row), StatusIs(invalid, HasSubstr("[6]")));
  EXPECT_THAT(Transpose(packed), StatusIs(invalid, HasSubstr("whole bytes")));
  EXPECT_THAT(Reshape(matrix, {5, 5}), StatusIs(invalid, HasSubstr("25")));
  EXPECT_THAT(Slice(matrix, 1, 3, 7), StatusIs(invalid, HasSubstr("[3, 7)")));
  EXPECT_THAT(Slice(matrix, 2, 0, 1), StatusIs(invalid, HasSubstr("2")));
  EXPECT_THAT(Concat({}, 0), StatusIs(invalid, HasSubstr("no tensor")));
  const Tensor unlike[] = {matrix, ints};
  EXPECT_THAT(Concat(unlike, 0), StatusIs(invalid, HasSubstr("I32")));
  const Tensor ranks[] = {matrix, row};
  EXPECT_THAT(Concat(ranks, 0), StatusIs(invalid, HasSubstr("[6]")));
  EXPECT_THAT(Select(matrix, 4), StatusIs(invalid, HasSubstr("[4, 5)")));
  EXPECT_THAT(Pad(matrix, 1, 5), StatusIs(invalid, HasSubstr("[4, 6]")));
  EXPECT_THAT(Interleave(row, 1), StatusIs(invalid, HasSubstr("[6]")));
  EXPECT_THAT(Deinterleave(RandomTensor(DType::kU8, {3}, &random_), 0),
              StatusIs(invalid, HasSubstr("even")));
  EXPECT_THAT(Fill(DType::kI32, {2}, 1), StatusIs(invalid, HasSubstr("I32")));
  EXPECT_THAT(Fill(DType::kU8, {2}, 256), StatusIs(invalid, HasSubstr("256")));
  EXPECT_THAT(DequantizeBlocks(matrix, matrix, 0, DType::kBF16),
              StatusIs(invalid, HasSubstr("block 0")));
  EXPECT_THAT(DequantizeBlocks(matrix, matrix, 128, DType::kBF16),
              StatusIs(invalid, HasSubstr("expected scales [1, 1]")));
}

}  // namespace
}  // namespace windlass
