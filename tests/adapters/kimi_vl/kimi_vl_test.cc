// What the golden cases of Kimi-VL and Kimi-K2.5 do not show.

#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/model_config.h"
#include "windlass/core/regex.h"
#include "windlass/core/state_dict.h"
#include "windlass/core/state_dict_adapter.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/testing/tensors.h"

namespace windlass {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

std::unique_ptr<StateDictAdapter> Make(
    const char* name, const std::string& options = "{}",
    const std::string& config = R"("dtype": "bfloat16")") {
  const AdapterInfo* info = *AdapterRegistry::FindByName(name);
  return AdapterRegistry::Create(
             *info,
             ModelConfig::Parse(
                 absl::StrCat("{", config,
                              R"(, "text_config": {"n_routed_experts": 2,
                              "moe_intermediate_size": 32}})"))
                 .value(),
             JsonFields::Parse(options, "options").value())
      .value();
}

class KimiVlTest : public ::testing::Test {
 protected:
  StateDict Dict(const std::vector<std::string>& names,
                 DType dtype = DType::kBF16, Shape shape = {2}) {
    StateDict dict;
    for (const std::string& name : names) {
      EXPECT_OK(dict.Insert(name, RandomTensor(dtype, shape, &random_)));
    }
    return dict;
  }

  // Experts of a layer of both ways to write them.
  StateDict Native(int layer) {
    StateDict native;
    const std::string experts = absl::StrCat(
        "model.language_model.model.layers.", layer, ".mlp.experts.");
    EXPECT_OK(native.Insert(experts + "gate_and_up_projs",
                            RandomTensor(DType::kBF16, {2, 64, 64}, &random_)));
    EXPECT_OK(native.Insert(experts + "down_projs",
                            RandomTensor(DType::kBF16, {2, 32, 64}, &random_)));
    return native;
  }

  std::mt19937 random_{11};
};

TEST_F(KimiVlTest, TheHeadIsWhereTheOptionSays) {
  const char* const kInside = R"({"lm_head_in_language_model": true})";
  const struct {
    const char* adapter;
    const char* options;
    const char* hf;
    const char* native;
    const char* back;
  } kCases[] = {
      {"kimi_vl", "{}", "language_model.lm_head.weight", "lm_head.weight",
       "language_model.lm_head.weight"},
      {"kimi_vl", kInside, "language_model.lm_head.weight",
       "model.language_model.lm_head.weight", "language_model.lm_head.weight"},
      {"kimi_k25_vl", "{}", "language_model.lm_head.weight", "lm_head.weight",
       "lm_head.weight"},
      {"kimi_k25_vl", kInside, "language_model.lm_head.weight",
       "model.language_model.lm_head.weight", "language_model.lm_head.weight"},
      {"kimi_k25_vl", kInside, "lm_head.weight",
       "model.language_model.lm_head.weight", "language_model.lm_head.weight"},
  };
  for (const auto& c : kCases) {
    SCOPED_TRACE(absl::StrCat(c.adapter, " ", c.options, " ", c.hf));
    const auto adapter = Make(c.adapter, c.options);
    ASSERT_OK_AND_ASSIGN(const StateDict native,
                         adapter->FromHf(Dict({c.hf}), {}));
    EXPECT_THAT(Names(native), ElementsAre(c.native));
    ASSERT_OK_AND_ASSIGN(const StateDict back, adapter->ToHf(native, {}));
    EXPECT_THAT(Names(back), ElementsAre(c.back));
  }
}

TEST_F(KimiVlTest, TheProjectorIsReadUnderBothOfItsNames) {
  for (const char* hf : {"mm_projector.pre_norm.weight",
                         "multi_modal_projector.pre_norm.weight"}) {
    const auto adapter = Make("kimi_k25_vl");
    ASSERT_OK_AND_ASSIGN(const StateDict native,
                         adapter->FromHf(Dict({hf}), {}));
    EXPECT_THAT(Names(native),
                ElementsAre("model.multi_modal_projector.pre_norm.weight"));
    ASSERT_OK_AND_ASSIGN(const StateDict back, adapter->ToHf(native, {}));
    EXPECT_THAT(Names(back), ElementsAre("mm_projector.pre_norm.weight"));
  }
}

TEST_F(KimiVlTest, BothNativeNamesOfTheHeadAreWritten) {
  for (const char* adapter : {"kimi_vl", "kimi_k25_vl"}) {
    for (const char* inside : {"false", "true"}) {
      const auto made =
          Make(adapter,
               absl::StrCat(R"({"lm_head_in_language_model": )", inside, "}"));
      ASSERT_OK_AND_ASSIGN(
          const StateDict hf,
          made->ToHf(Dict({"model.language_model.lm_head.weight"}), {}));
      EXPECT_THAT(Names(hf), ElementsAre("language_model.lm_head.weight"));
    }
  }
  ASSERT_OK_AND_ASSIGN(
      const StateDict hf,
      Make("kimi_k25_vl", R"({"lm_head_in_language_model": true})")
          ->ToHf(Dict({"lm_head.weight"}), {}));
  EXPECT_THAT(Names(hf), ElementsAre("language_model.lm_head.weight"));
}

TEST_F(KimiVlTest, OlderNativeNamesAreWrittenAsTheReferenceDoes) {
  ASSERT_OK_AND_ASSIGN(
      const StateDict hf,
      Make("kimi_vl")->ToHf(
          Dict({"model.language_model.norm.weight", "model.model.x.weight",
                "model.vision_tower.x.weight"}),
          {}));
  EXPECT_THAT(Names(hf), ElementsAre("language_model.model.norm.weight",
                                     "vision_tower.x.weight"));
}

TEST_F(KimiVlTest, NamesAreExcludedAsTheyAreInTheModel) {
  ASSERT_OK_AND_ASSIGN(
      const NameFilter filter,
      NameFilter::Create(R"(model\.vision)", NameFilter::Anchor::kMatch));
  ToHfOptions options;
  options.exclude_key_regex = filter;
  ASSERT_OK_AND_ASSIGN(
      const StateDict hf,
      Make("kimi_vl")->ToHf(Dict({"model.vision_tower.a"}), options));
  EXPECT_TRUE(hf.empty());
}

TEST_F(KimiVlTest, ExpertsElsewhereAreRefused) {
  for (const char* adapter : {"kimi_vl", "kimi_k25_vl"}) {
    for (const char* name :
         {"model.layers.1.mlp.experts.0.up_proj.weight",
          "language_model.model.layers.1.mlp.experts.0.up_proj.qweight",
          "vision_tower.layers.1.mlp.experts.0.up_proj.weight"}) {
      EXPECT_THAT(Make(adapter)->FromHf(Dict({name}), {}),
                  StatusIs(kInvalid, HasSubstr(name)));
    }
    EXPECT_THAT(
        Make(adapter)->FromHf(
            Dict({"language_model.model.layers.1.mlp.gate.weight"}), {}),
        StatusIs(kInvalid, HasSubstr("language_model.model.layers.1.")));
  }
}

TEST_F(KimiVlTest, LoraOfExpertsKeepsWhatPeftPutsBefore) {
  for (const char* adapter : {"kimi_vl", "kimi_k25_vl"}) {
    const std::string experts =
        "base_model.model.model.language_model.model.layers.1.mlp.experts.";
    StateDict native;
    for (const char* down : {"A", "B"}) {
      ASSERT_OK(native.Insert(
          absl::StrCat(experts, "lora_down_", down),
          RandomTensor(DType::kBF16,
                       *down == 'A' ? Shape{2, 32, 3} : Shape{2, 3, 64},
                       &random_)));
    }
    ASSERT_OK_AND_ASSIGN(const StateDict hf, Make(adapter)->ToHf(native, {}));
    EXPECT_THAT(Names(hf), ElementsAre(experts + "0.down_proj.lora_A.weight",
                                       experts + "1.down_proj.lora_A.weight",
                                       experts + "0.down_proj.lora_B.weight",
                                       experts + "1.down_proj.lora_B.weight"));
    ASSERT_OK_AND_ASSIGN(const StateDict back, Make(adapter)->FromHf(hf, {}));
    EXPECT_EQ(Difference(back, native), "");
  }
}

TEST_F(KimiVlTest, Fp8IsDequantised) {
  for (const char* adapter : {"kimi_vl", "kimi_k25_vl"}) {
    StateDict hf =
        Dict({"language_model.model.x.weight"}, DType::kF8E4M3, {2, 2});
    EXPECT_THAT(Make(adapter)->FromHf(hf, {}),
                StatusIs(kInvalid, HasSubstr("x.weight")));
    ASSERT_OK(hf.Insert("language_model.model.x.weight_scale_inv",
                        RandomTensor(DType::kF32, {1, 1}, &random_)));
    ASSERT_OK_AND_ASSIGN(const StateDict native, Make(adapter)->FromHf(hf, {}));
    EXPECT_THAT(Names(native),
                ElementsAre("model.language_model.model.x.weight"));
  }
}

TEST_F(KimiVlTest, K25QuantisesExpertsOfEveryLayerButTheFirst) {
  const auto adapter = Make("kimi_k25_vl");
  ASSERT_OK_AND_ASSIGN(const StateDict first, adapter->ToHf(Native(0), {}));
  EXPECT_EQ(first.size(), 6u);
  EXPECT_TRUE(first.Contains(
      "language_model.model.layers.0.mlp.experts.1.up_proj.weight"));
  ASSERT_OK_AND_ASSIGN(const StateDict other, adapter->ToHf(Native(10), {}));
  EXPECT_EQ(other.size(), 18u);
  EXPECT_TRUE(other.Contains(
      "language_model.model.layers.10.mlp.experts.1.up_proj.weight_shape"));
  ASSERT_OK_AND_ASSIGN(const StateDict plain,
                       Make("kimi_k25_vl", R"({"quantize_experts": false})")
                           ->ToHf(Native(10), {}));
  EXPECT_EQ(plain.size(), 6u);
  EXPECT_TRUE(plain.Contains(
      "language_model.model.layers.10.mlp.experts.1.up_proj.weight"));
}

TEST_F(KimiVlTest, K25ReadsAnyPackedWeightAndMissesAnyPart) {
  const auto adapter = Make("kimi_k25_vl");
  const std::string name = "language_model.model.layers.1.self_attn.o_proj.";
  StateDict hf;
  ASSERT_OK(hf.Insert(name + "weight_packed",
                      RandomTensor(DType::kI32, {4, 4}, &random_)));
  ASSERT_OK(hf.Insert(name + "weight_scale",
                      RandomTensor(DType::kF16, {4, 1}, &random_)));
  EXPECT_THAT(adapter->FromHf(hf, {}),
              StatusIs(kInvalid, HasSubstr(name + "weight_shape")));
  ASSERT_OK(hf.Insert(name + "weight_shape",
                      MakeTensor<int64_t>(DType::kI64, {2}, {4, 32})));
  ASSERT_OK_AND_ASSIGN(const StateDict native, adapter->FromHf(hf, {}));
  ASSERT_THAT(Names(native),
              ElementsAre(absl::StrCat("model.", name, "weight")));
  EXPECT_EQ(native.begin()->tensor.ToString(), "BF16 [4, 32]");
  ASSERT_OK(hf.Insert(name + "weight",
                      RandomTensor(DType::kBF16, {4, 32}, &random_)));
  EXPECT_THAT(adapter->FromHf(hf, {}),
              StatusIs(absl::StatusCode::kAlreadyExists,
                       AllOf(HasSubstr(name + "weight\""),
                             HasSubstr(name + "weight_shape\""))));
  EXPECT_THAT(
      adapter->FromHf(Dict({"language_model.model.norm.weight_scale"}), {}),
      StatusIs(kInvalid,
               AllOf(HasSubstr("language_model.model.norm.weight_packed"),
                     HasSubstr("language_model.model.norm.weight_shape"))));
}

TEST_F(KimiVlTest, K25CastsEveryFloatUnlessToldOtherwise) {
  const struct {
    const char* options;
    const char* dtype;
    DType expected;
  } kCases[] = {
      {"{}", "bfloat16", DType::kBF16},
      {"{}", "float16", DType::kF16},
      {"{}", "float32", DType::kBF16},
      {R"({"cast_all": false})", "bfloat16", DType::kF32},
  };
  for (const auto& c : kCases) {
    const auto adapter = Make("kimi_k25_vl", c.options,
                              absl::StrCat(R"("dtype": ")", c.dtype, "\""));
    ASSERT_OK_AND_ASSIGN(
        const StateDict native,
        adapter->FromHf(Dict({"vision_tower.x.bias"}, DType::kF32), {}));
    EXPECT_EQ(native.Find("model.vision_tower.x.bias")->dtype(), c.expected)
        << c.options << c.dtype;
  }
}

}  // namespace
}  // namespace windlass
