#include "windlass/adapters/common/experts.h"

#include <limits>
#include <random>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/adapters/common/block_fp8.h"
#include "windlass/adapters/common/expert_lora.h"
#include "windlass/adapters/common/moe_options.h"
#include "windlass/adapters/common/tied_head.h"
#include "windlass/tests/testing/status_matchers.h"
#include "windlass/tests/testing/tensors.h"

namespace windlass {
namespace {

using ::testing::_;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

MoeOptions TestMoe() {
  MoeOptions moe;
  moe.experts = 3;
  moe.intermediate = 4;
  moe.experts_field = "config.json: field \"num_experts\"";
  moe.intermediate_field = "config.json: field \"moe_intermediate_size\"";
  return moe;
}

std::string Name(int expert, const char* projection) {
  return absl::StrCat("model.layers.0.mlp.experts.", expert, ".", projection,
                      ".weight");
}

class ExpertsTest : public ::testing::Test {
 protected:
  // A whole layer but for the tensor `without`.
  StateDict Layer(const std::string& without = "", int experts = 3,
                  DType dtype = DType::kBF16) {
    StateDict hf;
    for (int e = 0; e < experts; ++e) {
      for (const char* projection : {"gate_proj", "up_proj", "down_proj"}) {
        const bool down = projection[0] == 'd';
        if (Name(e, projection) == without) continue;
        hf.Insert(
              Name(e, projection),
              RandomTensor(dtype, down ? Shape{6, 4} : Shape{4, 6}, &random_))
            .IgnoreError();
      }
    }
    return hf;
  }

  std::mt19937 random_{5};
  const ExpertsStep step_{TestMoe()};
};

TEST_F(ExpertsTest, RangesAreAsEvenAsCanBe) {
  EXPECT_THAT(ExpertRange(8, {3, 0}), Pair(0, 3));
  EXPECT_THAT(ExpertRange(8, {3, 1}), Pair(3, 6));
  EXPECT_THAT(ExpertRange(8, {3, 2}), Pair(6, 8));
  EXPECT_THAT(ExpertRange(2, {3, 2}), Pair(2, 2));
  EXPECT_THAT(ExpertRange(8, {1, 0}), Pair(0, 8));
}

TEST_F(ExpertsTest, AGroupStandsWhereItsLastMemberStood) {
  StateDict hf = Layer();
  ASSERT_OK(hf.Insert("model.norm.weight",
                      RandomTensor(DType::kBF16, {6}, &random_)));
  ASSERT_OK_AND_ASSIGN(const StateDict native, step_.FromHf(hf, {}));
  EXPECT_THAT(Names(native),
              ElementsAre("model.layers.0.mlp.experts.gate_and_up_projs",
                          "model.layers.0.mlp.experts.down_projs",
                          "model.norm.weight"));
  EXPECT_EQ(native.begin()->tensor.shape(), (Shape{3, 6, 8}));
}

TEST_F(ExpertsTest, NamesTheMissingExpert) {
  EXPECT_THAT(step_.FromHf(Layer(Name(1, "up_proj")), {}),
              StatusIs(kInvalid, HasSubstr(Name(1, "up_proj"))));
  EXPECT_THAT(step_.FromHf(Layer("", 2), {}),
              StatusIs(kInvalid, AllOf(HasSubstr(Name(2, "gate_proj")),
                                       HasSubstr(Name(2, "down_proj")))));
}

TEST_F(ExpertsTest, ARankNeedsOnlyItsOwnExperts) {
  const FromHfOptions rank0{DeviceMesh{2, 0}};
  ASSERT_OK_AND_ASSIGN(const StateDict native,
                       step_.FromHf(Layer(Name(2, "up_proj")), rank0));
  EXPECT_EQ(native.begin()->tensor.shape(), (Shape{2, 6, 8}));
  EXPECT_THAT(step_.FromHf(Layer(Name(2, "up_proj")), {DeviceMesh{2, 1}}),
              StatusIs(kInvalid, HasSubstr(Name(2, "up_proj"))));
}

TEST_F(ExpertsTest, RefusesAnExpertThatTheConfigDoesNotKnow) {
  EXPECT_THAT(step_.FromHf(Layer("", 4), {}),
              StatusIs(kInvalid, AllOf(HasSubstr("found expert 3"),
                                       HasSubstr("\"num_experts\""))));
}

TEST_F(ExpertsTest, RefusesTwoSpellingsOfOneExpert) {
  for (const char* spelling : {"01", "0000001"}) {
    for (const char* projection : {"gate_proj", "down_proj"}) {
      const std::string other = absl::StrCat(
          "model.layers.0.mlp.experts.", spelling, ".", projection, ".weight");
      const Shape shape = projection[0] == 'd' ? Shape{6, 4} : Shape{4, 6};
      // Beside a whole layer, and where the count alone would fit.
      for (const std::string& without : {std::string(), Name(2, projection)}) {
        StateDict hf = Layer(without);
        ASSERT_OK(
            hf.Insert(other, RandomTensor(DType::kBF16, shape, &random_)));
        EXPECT_THAT(
            step_.FromHf(hf, {}),
            StatusIs(absl::StatusCode::kAlreadyExists,
                     AllOf(HasSubstr(Name(1, projection)), HasSubstr(other))));
      }
    }
  }
}

TEST_F(ExpertsTest, RefusesAnExpertThatIsNoNumberOfDigits) {
  for (const char* spelling : {"+1", "-1", " 1", "99999999999999999999"}) {
    StateDict hf = Layer();
    ASSERT_OK(hf.Insert(absl::StrCat("model.layers.0.mlp.experts.", spelling,
                                     ".gate_proj.weight"),
                        RandomTensor(DType::kBF16, {4, 6}, &random_)));
    EXPECT_THAT(step_.FromHf(hf, {}), StatusIs(kInvalid, HasSubstr(spelling)));
  }
}

TEST_F(ExpertsTest, NumbersOfTheConfigReserveNothing) {
  MoeOptions moe = TestMoe();
  for (int64_t experts : {int64_t{1000000000}, int64_t{1} << 62}) {
    moe.experts = experts;
    EXPECT_THAT(ExpertsStep(moe).FromHf(Layer(), {}),
                StatusIs(kInvalid, AllOf(HasSubstr(Name(0, "gate_proj")),
                                         HasSubstr("num_experts"))));
  }
  // A tensor without a byte claims them as well.
  moe.experts = 1000000000;
  std::vector<NamedTensor> out;
  EXPECT_THAT(ExpertsStep(moe).ToHf(
                  {"layers.0.mlp.experts.down_projs",
                   RandomTensor(DType::kBF16, {1000000000, 4, 0}, &random_)},
                  {}, &out),
              StatusIs(kInvalid, HasSubstr("[1000000000, 4, 0]")));
  moe = TestMoe();
  moe.intermediate = std::numeric_limits<int64_t>::max();
  EXPECT_THAT(ExpertsStep(moe).FromHf(Layer(), {}),
              StatusIs(kInvalid, HasSubstr("moe_intermediate_size")));
  EXPECT_THAT(
      ExpertsStep(moe).ToHf({"layers.0.mlp.experts.gate_and_up_projs",
                             RandomTensor(DType::kBF16, {3, 6, 8}, &random_)},
                            {}, &out),
      StatusIs(kInvalid, HasSubstr("moe_intermediate_size")));
}

TEST_F(ExpertsTest, RefusesShapesThatDoNotFitTheConfig) {
  StateDict hf = Layer(Name(2, "down_proj"));
  ASSERT_OK(hf.Insert(Name(2, "down_proj"),
                      RandomTensor(DType::kBF16, {6, 5}, &random_)));
  EXPECT_THAT(step_.FromHf(hf, {}),
              StatusIs(kInvalid, AllOf(HasSubstr(Name(2, "down_proj")),
                                       HasSubstr("BF16 [6, 5]"),
                                       HasSubstr("moe_intermediate_size"))));
  StateDict uneven = Layer(Name(2, "up_proj"));
  ASSERT_OK(uneven.Insert(Name(2, "up_proj"),
                          RandomTensor(DType::kBF16, {4, 7}, &random_)));
  EXPECT_THAT(step_.FromHf(uneven, {}),
              StatusIs(kInvalid, HasSubstr("expected 6 in dimension 1")));
}

TEST_F(ExpertsTest, HoldsTheConfigsNumbersAgainstTheTensors) {
  MoeOptions moe = TestMoe();
  moe.experts = 1'000'000'000;
  const ExpertsStep step(moe);
  EXPECT_THAT(step.FromHf(Layer(), {}),
              StatusIs(kInvalid, AllOf(HasSubstr(Name(0, "gate_proj")),
                                       HasSubstr("expected 1000000000"),
                                       HasSubstr("num_experts"))));
  moe.intermediate = int64_t{1} << 62;
  const NamedTensor grouped{"model.layers.0.mlp.experts.gate_and_up_projs",
                            RandomTensor(DType::kBF16, {3, 6, 8}, &random_)};
  std::vector<NamedTensor> hf;
  EXPECT_THAT(ExpertsStep(moe).ToHf(grouped, {}, &hf), StatusIs(kInvalid, _));
  // A billion experts that take no byte.
  const NamedTensor empty{
      grouped.name,
      RandomTensor(DType::kBF16, {1'000'000'000, 0, 8}, &random_)};
  moe.intermediate = 4;
  EXPECT_THAT(ExpertsStep(moe).ToHf(empty, {}, &hf), StatusIs(kInvalid, _));
}

// What is an expert's and is not taken must not pass by unseen.
TEST_F(ExpertsTest, RefusesExpertsThatItDoesNotKnow) {
  struct Case {
    const char* name;
    const char* what;
  };
  const Case kCases[] = {
      {"model.layers.0.mlp.experts.0.gate_proj.qweight", "AWQ or GPTQ"},
      {"model.layers.0.mlp.experts.0.gate_proj.scales", "AWQ or GPTQ"},
      {"model.layers.0.mlp.experts.0.up_proj.weight_packed", "packed INT4"},
      {"model.layers.0.mlp.experts.0.up_proj.weight.absmax", "bitsandbytes"},
      {"model.layers.0.mlp.experts.gate_up_proj", "transformers 5"},
      {"model.layers.0.mlp.experts.down_proj", "transformers 5"},
      {"_orig_mod.model.layers.0.mlp.experts.0.gate_proj.weight",
       "another name"},
      {"base_model.model.model.layers.0.mlp.experts.0.gate_proj.weight",
       "another name"},
      {"model.layers.0.block_sparse_moe.experts.0.w1.weight", "another name"},
  };
  for (const Case& test : kCases) {
    StateDict hf = Layer();
    ASSERT_OK(hf.Insert(test.name, RandomTensor(DType::kF32, {4}, &random_)));
    EXPECT_THAT(
        step_.FromHf(hf, {}),
        StatusIs(kInvalid, AllOf(HasSubstr(test.name), HasSubstr(test.what))));
  }
}

TEST_F(ExpertsTest, RefusesARouterWithoutExperts) {
  StateDict hf = Layer();
  const char router[] = "model.layers.1.mlp.gate.weight";
  ASSERT_OK(hf.Insert(router, RandomTensor(DType::kF32, {3, 6}, &random_)));
  EXPECT_THAT(
      step_.FromHf(hf, {}),
      StatusIs(kInvalid,
               AllOf(HasSubstr(router),
                     HasSubstr("model.layers.1.mlp.experts.0.gate_proj"))));
}

TEST_F(ExpertsTest, RefusesFp8ExpertsWithoutScale) {
  EXPECT_THAT(step_.FromHf(Layer("", 3, DType::kF8E4M3), {}),
              StatusIs(kInvalid, HasSubstr("without a scale")));
}

TEST_F(ExpertsTest, DropsAScaleOnlyWhereNoFp8WeightNeedsIt) {
  StateDict hf;
  ASSERT_OK(
      hf.Insert("a.weight", RandomTensor(DType::kBF16, {2, 2}, &random_)));
  ASSERT_OK(hf.Insert("a.weight_scale_inv",
                      RandomTensor(DType::kF32, {1, 1}, &random_)));
  ASSERT_OK_AND_ASSIGN(const StateDict native, step_.FromHf(hf, {}));
  EXPECT_THAT(Names(native), ElementsAre("a.weight"));
  ASSERT_OK(
      hf.Insert("b.weight", RandomTensor(DType::kF8E4M3, {2, 2}, &random_)));
  ASSERT_OK(hf.Insert("b.weight_scale_inv",
                      RandomTensor(DType::kF32, {1, 1}, &random_)));
  EXPECT_THAT(step_.FromHf(hf, {}),
              StatusIs(kInvalid, HasSubstr("\"b.weight_scale_inv\"")));
}

TEST_F(ExpertsTest, SplitRefusesWhatTheConfigDoesNotExplain) {
  auto split = [&](const char* name, Shape shape) {
    std::vector<NamedTensor> out;
    return step_.ToHf(
        {name, RandomTensor(DType::kBF16, std::move(shape), &random_)}, {},
        &out);
  };
  EXPECT_THAT(split("model.layers.0.mlp.experts.down_projs", {3, 5, 6}),
              StatusIs(kInvalid, HasSubstr("moe_intermediate_size")));
  EXPECT_THAT(split("model.layers.0.mlp.experts.gate_and_up_projs", {3, 6, 7}),
              StatusIs(kInvalid, HasSubstr("expected 2 x 4 in dimension 2")));
  EXPECT_THAT(split("model.layers.0.mlp.experts.gate_and_up_projs", {2, 6, 8}),
              StatusIs(kInvalid, HasSubstr("num_experts")));
  EXPECT_OK(split("model.layers.0.mlp.experts.gate_and_up_projs", {3, 6, 8}));
}

TEST_F(ExpertsTest, ThePrefixFollowsTheNameUnlessAnOptionSays) {
  const Tensor down = RandomTensor(DType::kBF16, {3, 4, 6}, &random_);
  const struct {
    const char* native;
    std::optional<bool> option;
    const char* hf;
  } kCases[] = {
      {"model.layers.7", std::nullopt, "model.layers.7"},
      {"layers.7", std::nullopt, "layers.7"},
      {"layers.7", true, "model.layers.7"},
      {"model.layers.7", false, "layers.7"},
  };
  for (const auto& c : kCases) {
    MoeOptions moe = TestMoe();
    moe.uses_model_prefix = c.option;
    std::vector<NamedTensor> out;
    ASSERT_OK(ExpertsStep(moe).ToHf(
        {absl::StrCat(c.native, ".mlp.experts.down_projs"), down}, {}, &out));
    EXPECT_EQ(out[0].name,
              absl::StrCat(c.hf, ".mlp.experts.0.down_proj.weight"));
  }
}

class ExpertLoraTest : public ::testing::Test {
 protected:
  // H = 6, r = 2.
  StateDict Native() {
    StateDict native;
    const std::string layer = "base_model.model.model.layers.0.mlp.experts.";
    const std::pair<const char*, Shape> kTensors[] = {
        {"lora_gate_and_up_A", {3, 6, 2}},
        {"lora_gate_and_up_B", {3, 2, 8}},
        {"lora_down_A", {3, 4, 2}},
        {"lora_down_B", {3, 2, 6}}};
    for (const auto& [name, shape] : kTensors) {
      native.Insert(layer + name, RandomTensor(DType::kF32, shape, &random_))
          .IgnoreError();
    }
    return native;
  }

  StateDict ToHf(const ExpertLoraStep& step, bool v4) {
    ToHfOptions options;
    options.v4_compatible = v4;
    std::vector<NamedTensor> all;
    for (const NamedTensor& tensor : native_) {
      EXPECT_OK(step.ToHf(tensor, options, &all));
    }
    StateDict hf;
    for (NamedTensor& t : all) EXPECT_OK(hf.Insert(t.name, t.tensor));
    return hf;
  }

  std::mt19937 random_{6};
  const StateDict native_ = Native();
};

TEST_F(ExpertLoraTest, BothFormsComeBack) {
  for (bool param_wrapper : {true, false}) {
    const ExpertLoraStep step(TestMoe(), param_wrapper);
    for (bool v4 : {true, false}) {
      const StateDict hf = ToHf(step, v4);
      EXPECT_EQ(hf.size(), param_wrapper && !v4 ? 4u : 18u);
      ASSERT_OK_AND_ASSIGN(const StateDict back, step.FromHf(hf, {}));
      EXPECT_EQ(Difference(back, native_), "");
    }
  }
}

TEST_F(ExpertLoraTest, FoldsRowsByExpertAndColumnsByRank) {
  const StateDict hf = ToHf(ExpertLoraStep(TestMoe(), true), false);
  const std::string layer = "base_model.model.model.layers.0.mlp.experts.";
  const std::string down_a =
      ReadAll(*native_.Find(layer + "lora_down_A")).value();
  const std::string lora_b = ReadAll(*hf.Find(layer + "lora_B.weight")).value();
  for (int e = 0; e < 3; ++e) {
    for (int i = 0; i < 4; ++i) {
      for (int k = 0; k < 2; ++k) {
        EXPECT_EQ(lora_b.substr((i * 6 + k * 3 + e) * 4, 4),
                  down_a.substr(((e * 4 + i) * 2 + k) * 4, 4));
      }
    }
  }
}

TEST_F(ExpertLoraTest, RefusesAnIncompleteSet) {
  const ExpertLoraStep step(TestMoe(), false);
  StateDict hf;
  for (const auto& [name, tensor] : ToHf(step, true)) {
    if (absl::StrContains(name, ".1.up_proj.lora_B")) continue;
    ASSERT_OK(hf.Insert(name, tensor));
  }
  EXPECT_THAT(step.FromHf(hf, {}),
              StatusIs(kInvalid, AllOf(HasSubstr("lora_gate_and_up_B"),
                                       HasSubstr("up_proj of expert 1"))));
}

TEST_F(ExpertLoraTest, RefusesTwoSpellingsOfOneExpert) {
  const ExpertLoraStep step(TestMoe(), false);
  const std::string layer = "base_model.model.model.layers.0.mlp.experts.";
  for (const char* spelling : {"02", "+2"}) {
    StateDict hf = ToHf(step, true);
    const std::string other =
        absl::StrCat(layer, spelling, ".down_proj.lora_A.weight");
    ASSERT_OK(hf.Insert(other, RandomTensor(DType::kF32, {2, 4}, &random_)));
    const auto code =
        spelling[0] == '+' ? kInvalid : absl::StatusCode::kAlreadyExists;
    EXPECT_THAT(step.FromHf(hf, {}), StatusIs(code, HasSubstr(other)));
  }
}

TEST_F(ExpertLoraTest, NumbersOfTheConfigReserveNothing) {
  MoeOptions moe = TestMoe();
  moe.experts = int64_t{1} << 62;
  const StateDict hf = ToHf(ExpertLoraStep(TestMoe(), false), true);
  EXPECT_THAT(ExpertLoraStep(moe, false).FromHf(hf, {}),
              StatusIs(kInvalid, AllOf(HasSubstr("gate_proj of expert 3"),
                                       HasSubstr("num_experts"))));
  moe.experts = 1000000000;
  std::vector<NamedTensor> out;
  EXPECT_THAT(
      ExpertLoraStep(moe, false)
          .ToHf({"layers.0.mlp.experts.lora_down_A",
                 RandomTensor(DType::kF32, {1000000000, 4, 0}, &random_)},
                {}, &out),
      StatusIs(kInvalid, HasSubstr("[1000000000, 4, 0]")));
}

TEST_F(ExpertLoraTest, RefusesWhatTheConfigDoesNotExplain) {
  std::vector<NamedTensor> out;
  EXPECT_THAT(ExpertLoraStep(TestMoe(), false)
                  .ToHf({"layers.0.mlp.experts.lora_gate_and_up_B",
                         RandomTensor(DType::kF32, {3, 2, 10}, &random_)},
                        {}, &out),
              StatusIs(kInvalid, HasSubstr("moe_intermediate_size")));
  StateDict both = ToHf(ExpertLoraStep(TestMoe(), false), true);
  ASSERT_OK(
      both.Insert("base_model.model.model.layers.0.mlp.experts.lora_B.weight",
                  RandomTensor(DType::kF32, {4, 6}, &random_)));
  EXPECT_THAT(ExpertLoraStep(TestMoe(), false).FromHf(both, {}),
              StatusIs(kInvalid, HasSubstr("lora_down_A")));
}

TEST_F(ExpertLoraTest, RefusesARankThatDoesNotDivide) {
  StateDict hf;
  ASSERT_OK(hf.Insert("layers.0.mlp.experts.lora_A.weight",
                      RandomTensor(DType::kF32, {7, 6}, &random_)));
  EXPECT_THAT(ExpertLoraStep(TestMoe(), true).FromHf(hf, {}),
              StatusIs(kInvalid, HasSubstr("a multiple of 3 experts")));
}

TEST(BlockFp8Test, MultipliesAndDropsTheScale) {
  std::mt19937 random(8);
  StateDict hf;
  ASSERT_OK(
      hf.Insert("a.weight", RandomTensor(DType::kF8E4M3, {130, 4}, &random)));
  // More blocks than the weight has: the reference ignores them.
  ASSERT_OK(hf.Insert("a.weight_scale_inv",
                      RandomTensor(DType::kF32, {3, 2}, &random)));
  ASSERT_OK(hf.Insert("b.bias", RandomTensor(DType::kF8E4M3, {4}, &random)));
  ASSERT_OK_AND_ASSIGN(const StateDict native,
                       BlockFp8Step(DType::kF32).FromHf(hf, {}));
  EXPECT_THAT(Names(native), ElementsAre("a.weight", "b.bias"));
  EXPECT_EQ(native.Find("a.weight")->dtype(), DType::kF32);
}

TEST(BlockFp8Test, RefusesAWeightWithoutItsWholeScale) {
  std::mt19937 random(9);
  StateDict hf;
  ASSERT_OK(
      hf.Insert("a.weight", RandomTensor(DType::kF8E4M3, {130, 4}, &random)));
  EXPECT_THAT(BlockFp8Step(DType::kBF16).FromHf(hf, {}),
              StatusIs(kInvalid, HasSubstr("\"a.weight_scale_inv\"")));
  ASSERT_OK(hf.Insert("a.weight_scale_inv",
                      RandomTensor(DType::kF32, {1, 1}, &random)));
  EXPECT_THAT(BlockFp8Step(DType::kBF16).FromHf(hf, {}),
              StatusIs(kInvalid,
                       AllOf(HasSubstr("\"a.weight\""), HasSubstr("[2, 1]"))));
}

TEST(TiedHeadTest, FillsAMissingHeadOnlyWhenTied) {
  std::mt19937 random(10);
  StateDict hf;
  ASSERT_OK(hf.Insert("model.embed_tokens.weight",
                      RandomTensor(DType::kBF16, {4, 2}, &random)));
  ASSERT_OK_AND_ASSIGN(const StateDict tied, TiedHeadStep(true).FromHf(hf, {}));
  EXPECT_THAT(Names(tied),
              ElementsAre("model.embed_tokens.weight", "lm_head.weight"));
  EXPECT_EQ(tied.Find("lm_head.weight")->source(), hf.begin()->tensor.source());
  ASSERT_OK_AND_ASSIGN(const StateDict untied,
                       TiedHeadStep(false).FromHf(hf, {}));
  EXPECT_EQ(untied.size(), 1u);
  ASSERT_OK_AND_ASSIGN(const StateDict again,
                       TiedHeadStep(true).FromHf(tied, {}));
  EXPECT_EQ(Difference(again, tied), "");
}

TEST(MoeOptionsTest, NamesTheFieldThatIsWrong) {
  auto read = [](const char* config, const char* options) {
    return ReadMoeOptions(ModelConfig::Parse(config).value(),
                          JsonFields::Parse(options, "options").value(),
                          "num_experts");
  };
  constexpr char kGood[] = R"({"num_experts": 8, "moe_intermediate_size": 4})";
  EXPECT_OK(read(kGood, "{}"));
  EXPECT_EQ(read(kGood, R"({"dtype": "float32"})")->dtype, DType::kF32);
  EXPECT_THAT(read(R"({"num_experts": "8"})", "{}"),
              StatusIs(kInvalid, AllOf(HasSubstr("\"num_experts\""),
                                       HasSubstr("\"8\""))));
  EXPECT_THAT(read(R"({"num_experts": 8})", "{}"),
              StatusIs(absl::StatusCode::kNotFound,
                       HasSubstr("\"moe_intermediate_size\"")));
  EXPECT_THAT(read(kGood, R"({"dtype": "int8"})"),
              StatusIs(kInvalid, HasSubstr("int8")));
  EXPECT_THAT(read(kGood, R"({"uses_model_prefix": 1})"),
              StatusIs(kInvalid, HasSubstr("uses_model_prefix")));
}

}  // namespace
}  // namespace windlass
