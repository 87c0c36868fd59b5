// What the golden cases of Kimi-Linear and Kimi-K3 do not show.

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
#include "windlass/core/state_dict.h"
#include "windlass/core/state_dict_adapter.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/testing/tensors.h"

namespace windlass {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr auto kNotFound = absl::StatusCode::kNotFound;

absl::StatusOr<std::unique_ptr<StateDictAdapter>> Create(
    const char* name, const std::string& more) {
  const AdapterInfo* info = *AdapterRegistry::FindByName(name);
  return AdapterRegistry::Create(
      *info,
      ModelConfig::Parse(absl::StrCat(
                             R"({"text_config": {"num_experts": 1,
                             "dtype": "bfloat16",
                             "moe_intermediate_size": 32)",
                             more, "}}"))
          .value(),
      JsonFields());
}

std::unique_ptr<StateDictAdapter> Make(const char* name) {
  return Create(name, R"(, "linear_attn_config": {"num_heads": 96})").value();
}

class KimiLinearTest : public ::testing::Test {
 protected:
  StateDict Dict(const std::vector<std::string>& names,
                 DType dtype = DType::kBF16, Shape shape = {2}) {
    StateDict dict;
    for (const std::string& name : names) {
      EXPECT_OK(dict.Insert(name, RandomTensor(dtype, shape, &random_)));
    }
    return dict;
  }

  // LoRA of the down projections of a layer's one expert.
  StateDict NativeLora(const std::string& experts) {
    StateDict native;
    EXPECT_OK(native.Insert(experts + "lora_down_A",
                            RandomTensor(DType::kBF16, {1, 32, 3}, &random_)));
    EXPECT_OK(native.Insert(experts + "lora_down_B",
                            RandomTensor(DType::kBF16, {1, 3, 8}, &random_)));
    return native;
  }

  std::mt19937 random_{5};
};

TEST_F(KimiLinearTest, GatesAreF32InTheModelAndStayAsTheyAreInFiles) {
  const auto adapter = Make("kimi_linear");
  const StateDict hf =
      Dict({"model.layers.0.self_attn.A_log", "model.layers.0.mlp.x_dt_bias",
            "model.layers.0.mlp.gate_proj.weight"});
  ASSERT_OK_AND_ASSIGN(const StateDict native, adapter->FromHf(hf, {}));
  EXPECT_EQ(native.Find("model.layers.0.self_attn._fp32_params.A_log")->dtype(),
            DType::kF32);
  EXPECT_EQ(native.Find("model.layers.0.mlp.x_dt_bias")->dtype(), DType::kF32);
  EXPECT_EQ(native.Find("model.layers.0.mlp.gate_proj.weight")->dtype(),
            DType::kBF16);
  ASSERT_OK_AND_ASSIGN(
      const StateDict back,
      adapter->ToHf(Dict({"model.layers.0.self_attn._fp32_params.A_log"}), {}));
  EXPECT_EQ(back.Find("model.layers.0.self_attn.A_log")->dtype(), DType::kBF16);
  EXPECT_THAT(adapter->ForcedHfDtypeMapping(hf), IsEmpty());
}

TEST_F(KimiLinearTest, LoraIsReadUnderBothNamesOfAnExpert) {
  const auto adapter = Make("kimi_linear");
  const std::string layer = "base_model.model.model.layers.1.";
  const StateDict native = NativeLora(layer + "mlp.experts.");
  ASSERT_OK_AND_ASSIGN(const StateDict hf, adapter->ToHf(native, {}));
  EXPECT_THAT(Names(hf),
              ElementsAre(layer + "mlp.experts.0.down_proj.lora_A.weight",
                          layer + "mlp.experts.0.down_proj.lora_B.weight"));
  StateDict peft;
  for (const char* matrix : {"A", "B"}) {
    ASSERT_OK(peft.Insert(
        absl::StrCat(layer, "block_sparse_moe.experts.0.w2.lora_", matrix,
                     ".weight"),
        *hf.Find(absl::StrCat(layer, "mlp.experts.0.down_proj.lora_", matrix,
                              ".weight"))));
  }
  for (const StateDict* given : {&hf, static_cast<const StateDict*>(&peft)}) {
    ASSERT_OK_AND_ASSIGN(const StateDict back, adapter->FromHf(*given, {}));
    EXPECT_EQ(Difference(back, native), "");
  }
}

TEST_F(KimiLinearTest, K3WritesLoraUnderItsOwnNames) {
  const auto adapter = Make("kimi_k3");
  const StateDict native =
      NativeLora("base_model.model.model.layers.1.mlp.experts.");
  ASSERT_OK_AND_ASSIGN(const StateDict hf, adapter->ToHf(native, {}));
  const std::string expert =
      "base_model.model.language_model.model.layers.1.block_sparse_moe."
      "experts.0.w2.";
  EXPECT_THAT(Names(hf),
              ElementsAre(expert + "lora_A.weight", expert + "lora_B.weight"));
  ASSERT_OK_AND_ASSIGN(const StateDict back, adapter->FromHf(hf, {}));
  EXPECT_EQ(Difference(back, native), "");
}

TEST_F(KimiLinearTest, K3LivesBelowLanguageModel) {
  const auto adapter = Make("kimi_k3");
  const struct {
    const char* hf;
    const char* native;
    const char* back;
  } kCases[] = {
      {"language_model.model.norm.weight", "model.norm.weight",
       "language_model.model.norm.weight"},
      {"language_model.lm_head.weight", "lm_head.weight",
       "language_model.lm_head.weight"},
      {"model.norm.weight", "model.norm.weight",
       "language_model.model.norm.weight"},
      {"language_model.other.weight", "other.weight", "other.weight"},
      {"vision_tower.x.weight", "vision_tower.x.weight",
       "vision_tower.x.weight"},
      {"base_model.model.language_model.model.x.lora_A.weight",
       "base_model.model.model.x.lora_A.weight",
       "base_model.model.language_model.model.x.lora_A.weight"},
      {"language_model.model.layers.0.block_sparse_moe.routed_expert_norm."
       "weight",
       "model.layers.0.mlp.routed_expert_norm.weight",
       "language_model.model.layers.0.block_sparse_moe.routed_expert_norm."
       "weight"},
      {"language_model.model.layers.0.self_attn.v_conv1d.weight",
       "model.layers.0.self_attn.v_conv1d._fp32_params.weight",
       "language_model.model.layers.0.self_attn.v_conv1d.weight"},
  };
  for (const auto& c : kCases) {
    ASSERT_OK_AND_ASSIGN(const StateDict native,
                         adapter->FromHf(Dict({c.hf}), {}));
    EXPECT_THAT(Names(native), ElementsAre(c.native));
    ASSERT_OK_AND_ASSIGN(const StateDict back, adapter->ToHf(native, {}));
    EXPECT_THAT(Names(back), ElementsAre(c.back));
  }
}

TEST_F(KimiLinearTest, K3PadsALogToWholeBlocksOfHeads) {
  const auto adapter = Make("kimi_k3");
  const std::string hf = "language_model.model.layers.0.self_attn.A_log";
  const std::string native = "model.layers.0.self_attn._fp32_params.A_log";
  for (const Shape& lead : {Shape{}, Shape{2}}) {
    Shape cut = lead, whole = lead;
    cut.push_back(96);
    whole.push_back(128);
    ASSERT_OK_AND_ASSIGN(const StateDict out,
                         adapter->FromHf(Dict({hf}, DType::kF32, whole), {}));
    EXPECT_EQ(out.Find(native)->shape(), cut);
    ASSERT_OK_AND_ASSIGN(const StateDict back, adapter->ToHf(out, {}));
    EXPECT_EQ(back.Find(hf)->shape(), whole);
    const std::string bytes = ReadAll(*back.Find(hf)).value();
    EXPECT_EQ(bytes.substr(bytes.size() - 128), std::string(128, '\0'));
  }
  EXPECT_THAT(adapter->FromHf(Dict({hf}, DType::kF32, {64}), {}),
              StatusIs(kInvalid, AllOf(HasSubstr(hf), HasSubstr("F32 [64]"),
                                       HasSubstr("num_heads"))));
  EXPECT_THAT(adapter->ToHf(Dict({native}, DType::kF32, {100}), {}),
              StatusIs(kInvalid, HasSubstr(native)));
}

TEST_F(KimiLinearTest, K3NeedsItsHeads) {
  EXPECT_THAT(Create("kimi_k3", ""),
              StatusIs(kNotFound, AllOf(HasSubstr("linear_attn_config"),
                                        HasSubstr("num_heads"))));
}

TEST_F(KimiLinearTest, K3ReadsTheSizeOfItsExperts) {
  ASSERT_OK_AND_ASSIGN(
      const auto adapter,
      Create("kimi_k3", R"(, "linear_attn_config": {"num_heads": 2},
                        "hidden_size": 8, "routed_expert_hidden_size": 4)"));
  const std::string down =
      "language_model.model.layers.0.block_sparse_moe.experts.0.w2.weight";
  EXPECT_THAT(
      adapter->FromHf(Dict({down}, DType::kBF16, {8, 32}), {}),
      StatusIs(kInvalid,
               AllOf(HasSubstr(down), HasSubstr("routed_expert_hidden_size"))));
}

TEST_F(KimiLinearTest, K3NamesWhatIsMissingAsTheInputWould) {
  const std::string expert =
      "language_model.model.layers.0.block_sparse_moe.experts.0.";
  EXPECT_THAT(Make("kimi_k3")->FromHf(
                  Dict({expert + "w1.weight"}, DType::kBF16, {32, 8}), {}),
              StatusIs(kInvalid, HasSubstr("\"" + expert + "w3.weight\"")));
}

TEST_F(KimiLinearTest, K3MissesEitherHalfOfAPackedWeight) {
  const auto adapter = Make("kimi_k3");
  const std::string expert =
      "language_model.model.layers.0.block_sparse_moe.experts.0.w1.";
  for (const char* half : {"weight_packed", "weight_scale"}) {
    const std::string other =
        half == std::string("weight_packed") ? "weight_scale" : "weight_packed";
    EXPECT_THAT(
        adapter->FromHf(Dict({expert + half}, DType::kU8, {32, 16}), {}),
        StatusIs(kInvalid, HasSubstr(expert + other)));
  }
  const std::string shared =
      "language_model.model.layers.0.block_sparse_moe.shared_experts.up_proj.";
  StateDict hf = Dict({shared + "weight_packed"}, DType::kU8, {4, 16});
  ASSERT_OK(hf.Insert(shared + "weight_scale",
                      RandomTensor(DType::kU8, {4, 1}, &random_)));
  ASSERT_OK_AND_ASSIGN(const StateDict native, adapter->FromHf(hf, {}));
  ASSERT_THAT(Names(native),
              ElementsAre("model.layers.0.mlp.shared_experts.up_proj.weight"));
  EXPECT_EQ(native.begin()->tensor.ToString(), "BF16 [4, 32]");
}

}  // namespace
}  // namespace windlass
