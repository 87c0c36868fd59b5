#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/adapters/common/gated_delta_net.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/state_dict_adapter.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/testing/tensors.h"

namespace windlass {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

TEST(GatedDeltaNetTest, StripsAndRoutesEveryEdgeCase) {
  const struct {
    const char* key;
    const char* stripped;
    const char* routed;
  } kCases[] = {
      {"x.linear_attn._fp32_params.A_log", "x.linear_attn.A_log",
       "x.linear_attn._fp32_params.A_log"},
      {"x.linear_attn._fp32_params._fp32_params.A_log",
       "x.linear_attn._fp32_params.A_log",
       "x.linear_attn._fp32_params._fp32_params.A_log"},
      {"a.linear_attn._fp32_params.b.linear_attn._fp32_params.A_log",
       "a.linear_attn.b.linear_attn.A_log",
       "a.linear_attn._fp32_params.b.linear_attn._fp32_params.A_log"},
      {"x.linear_attn._fp32_params.foo.weight", "x.linear_attn.foo.weight",
       "x.linear_attn._fp32_params.foo.weight"},
      {"linear_attn._fp32_params.A_log", "linear_attn._fp32_params.A_log",
       "linear_attn._fp32_params.A_log"},
      {"linear_attn.A_log", "linear_attn.A_log", "linear_attn.A_log"},
      {"x.my_linear_attn._fp32_params.A_log",
       "x.my_linear_attn._fp32_params.A_log",
       "x.my_linear_attn._fp32_params.A_log"},
      {"x.linear_attn2._fp32_params.A_log", "x.linear_attn2._fp32_params.A_log",
       "x.linear_attn2._fp32_params.A_log"},
      {"x.self_attn._fp32_params.A_log", "x.self_attn._fp32_params.A_log",
       "x.self_attn._fp32_params.A_log"},
      {"x.linear_attn.foo_A_log", "x.linear_attn.foo_A_log",
       "x.linear_attn._fp32_params.foo_A_log"},
      {"x.linear_attn.XA_log", "x.linear_attn.XA_log",
       "x.linear_attn._fp32_params.XA_log"},
      {"x.linear_attn.sub.A_log", "x.linear_attn.sub.A_log",
       "x.linear_attn._fp32_params.sub.A_log"},
      {"a.linear_attn.b.linear_attn.dt_bias",
       "a.linear_attn.b.linear_attn.dt_bias",
       "a.linear_attn.b.linear_attn._fp32_params.dt_bias"},
      {"x._fp32_params.linear_attn.A_log", "x._fp32_params.linear_attn.A_log",
       "x._fp32_params.linear_attn.A_log"},
      {"x.linear_attn.A_log.weight", "x.linear_attn.A_log.weight",
       "x.linear_attn.A_log.weight"},
      {"x.linear_attn.A_log_", "x.linear_attn.A_log_", "x.linear_attn.A_log_"},
      {"base_model.model.x.linear_attn.dt_bias",
       "base_model.model.x.linear_attn.dt_bias",
       "base_model.model.x.linear_attn._fp32_params.dt_bias"},
      {"model.mtp.fc.weight", "model.mtp.fc.weight", "model.mtp.fc.weight"},
      {"mtp.fc.bias", "mtp.fc.bias", "mtp.fc.bias"},
      {"x.linear_attn.linear_attn.A_log", "x.linear_attn.linear_attn.A_log",
       "x.linear_attn.linear_attn._fp32_params.A_log"},
      {"", "", ""},
  };
  const NameRules rules = GatedDeltaNetRules();
  for (const auto& c : kCases) {
    EXPECT_EQ(rules.to_hf.Rewrite(c.key), c.stripped);
    EXPECT_EQ(rules.to_native.Rewrite(c.key), c.routed);
  }
}

class Qwen3_5AdapterTest : public ::testing::Test {
 protected:
  static Tensor One(DType dtype) {
    return Tensor::FromBytes(dtype, {1}, std::string(DTypeBytes(dtype), '\0'))
        .value();
  }

  static std::unique_ptr<StateDictAdapter> Create(const char* options) {
    return AdapterRegistry::Create(
               **AdapterRegistry::FindByName("qwen3_5"), {},
               JsonFields::Parse(options, "options").value())
        .value();
  }

  const std::unique_ptr<StateDictAdapter> adapter_ = Create("{}");
};

TEST_F(Qwen3_5AdapterTest, MapsTheMtpNamesBothWays) {
  const std::pair<const char*, const char*> kNames[] = {
      {"mtp.fc.weight", "mtp.layers.0.eh_proj.weight"},
      {"mtp.pre_fc_norm_embedding.weight", "mtp.layers.0.enorm.weight"},
      {"mtp.pre_fc_norm_hidden.weight", "mtp.layers.0.hnorm.weight"},
      {"mtp.norm.weight", "mtp.layers.0.final_layernorm.weight"},
      {"model.mtp.fc.weight", "model.mtp.fc.weight"},
      {"mtp.fc.bias", "mtp.fc.bias"},
      {"mtp.layers.0.self_attn.q_proj.weight",
       "mtp.layers.0.self_attn.q_proj.weight"},
  };
  for (const auto& [hf_name, native_name] : kNames) {
    StateDict hf;
    ASSERT_OK(hf.Insert(hf_name, One(DType::kBF16)));
    ASSERT_OK_AND_ASSIGN(const StateDict native, adapter_->FromHf(hf, {}));
    EXPECT_THAT(Names(native), ElementsAre(native_name));
    ASSERT_OK_AND_ASSIGN(const StateDict back, adapter_->ToHf(native, {}));
    EXPECT_THAT(Names(back), ElementsAre(hf_name));
  }
}

TEST_F(Qwen3_5AdapterTest, UpcastsGatesOfEveryFloatDType) {
  for (DType dtype :
       {DType::kBF16, DType::kF16, DType::kF32, DType::kF64, DType::kF8E4M3,
        DType::kF8E5M2, DType::kI32, DType::kU8, DType::kBool, DType::kC64}) {
    StateDict hf;
    const Tensor tensor = One(dtype);
    ASSERT_OK(hf.Insert("m.linear_attn.A_log", tensor));
    ASSERT_OK(hf.Insert("m.linear_attn.norm.weight", tensor));
    ASSERT_OK_AND_ASSIGN(const StateDict native, adapter_->FromHf(hf, {}));
    const DType expected = IsFloat(dtype) ? DType::kF32 : dtype;
    EXPECT_EQ(native.Find("m.linear_attn._fp32_params.A_log")->dtype(),
              expected);
    EXPECT_EQ(native.Find("m.linear_attn.norm.weight")->source(),
              tensor.source());
    ASSERT_OK_AND_ASSIGN(const StateDict back, adapter_->ToHf(native, {}));
    EXPECT_EQ(back.Find("m.linear_attn.A_log")->dtype(), expected);
  }
}

TEST_F(Qwen3_5AdapterTest, UnroutedGatesKeepTheirNamesAndAreUpcast) {
  const auto unrouted = Create(R"({"route_linear_attn_fp32_params": false})");
  StateDict hf;
  ASSERT_OK(hf.Insert("m.linear_attn.A_log", One(DType::kBF16)));
  ASSERT_OK_AND_ASSIGN(const StateDict native, unrouted->FromHf(hf, {}));
  EXPECT_THAT(Names(native), ElementsAre("m.linear_attn.A_log"));
  EXPECT_EQ(native.begin()->tensor.dtype(), DType::kF32);
}

TEST_F(Qwen3_5AdapterTest, AnF32GateIsTheSameTensor) {
  const Tensor gate = One(DType::kF32);
  ASSERT_OK_AND_ASSIGN(const auto out,
                       adapter_->ConvertSingleTensorToHf(
                           "m.linear_attn._fp32_params.A_log", gate, {}));
  ASSERT_EQ(out.size(), 1u);
  EXPECT_EQ(out[0].name, "m.linear_attn.A_log");
  EXPECT_EQ(out[0].tensor.source(), gate.source());
}

TEST_F(Qwen3_5AdapterTest, RefusesACollisionByBothNames) {
  StateDict hf;
  ASSERT_OK(hf.Insert("mtp.fc.weight", One(DType::kBF16)));
  ASSERT_OK(hf.Insert("mtp.layers.0.eh_proj.weight", One(DType::kBF16)));
  EXPECT_THAT(adapter_->FromHf(hf, {}),
              StatusIs(absl::StatusCode::kAlreadyExists,
                       AllOf(HasSubstr("\"mtp.fc.weight\""),
                             HasSubstr("\"mtp.layers.0.eh_proj.weight\""))));
}

TEST_F(Qwen3_5AdapterTest, HonoursTheExclusionOnTheWayToHf) {
  StateDict native;
  ASSERT_OK(native.Insert("m.q_proj._extra_state", One(DType::kU8)));
  ASSERT_OK(native.Insert("m.q_proj.weight", One(DType::kBF16)));
  ASSERT_OK_AND_ASSIGN(const auto keys, adapter_->GetHfStateDictKeys(native));
  EXPECT_THAT(keys, ElementsAre("m.q_proj.weight"));
  ToHfOptions options;
  ASSERT_OK_AND_ASSIGN(options.exclude_key_regex,
                       NameFilter::Create(".*_extra_state.*"));
  EXPECT_THAT(
      adapter_
          ->ConvertSingleTensorToHf("m._extra_state", One(DType::kU8), options)
          .value(),
      IsEmpty());
}

TEST_F(Qwen3_5AdapterTest, ForcesF32ForFloatGatesOnly) {
  StateDict hf;
  ASSERT_OK(hf.Insert("m.linear_attn.A_log", One(DType::kBF16)));
  ASSERT_OK(hf.Insert("m.linear_attn.dt_bias", One(DType::kI32)));
  ASSERT_OK(hf.Insert("m.linear_attn.conv1d.weight", One(DType::kBF16)));
  EXPECT_THAT(adapter_->ForcedHfDtypeMapping(hf),
              ElementsAre(Pair("m.linear_attn.A_log", DType::kF32)));
}

TEST_F(Qwen3_5AdapterTest, IsFoundByArchitectureAndModelType) {
  for (const char* config :
       {R"({"architectures": ["Qwen3_5ForConditionalGeneration"]})",
        R"({"architectures": ["Qwen3_5ForCausalLM"]})",
        R"({"model_type": "qwen3_5"})", R"({"model_type": "qwen3_5_text"})"}) {
    ASSERT_OK_AND_ASSIGN(
        const AdapterInfo* info,
        AdapterRegistry::FindByConfig(ModelConfig::Parse(config).value()));
    EXPECT_EQ(info->name, "qwen3_5");
  }
  EXPECT_TRUE(adapter_->SupportsWriteThroughCheckpointLoad());
}

}  // namespace
}  // namespace windlass
