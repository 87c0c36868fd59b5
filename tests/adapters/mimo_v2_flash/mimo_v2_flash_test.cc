// Golden cases show the rest.

#include <memory>
#include <random>
#include <string>
#include <utility>

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

constexpr char kLora[] = "model.layers.0.self_attn.q_proj.lora_A.weight";
constexpr char kKey[] = "model.layers.0.self_attn.k_proj.weight";
constexpr char kKeyScale[] = "model.layers.0.self_attn.k_proj.weight_scale_inv";

class MiMoTest : public ::testing::Test {
 protected:
  static std::unique_ptr<StateDictAdapter> Adapter(const char* options = "{}") {
    const AdapterInfo* info =
        AdapterRegistry::FindByName("mimo_v2_flash").value();
    return AdapterRegistry::Create(
               *info,
               ModelConfig::Parse(
                   R"({"n_routed_experts": 2, "moe_intermediate_size": 4,
                       "num_key_value_heads": 4, "head_dim": 192,
                       "num_hidden_layers": 3, "moe_layer_freq": [0, 1, 1]})")
                   .value(),
               JsonFields::Parse(options, "options").value())
        .value();
  }

  StateDict One(const char* name, Shape shape) {
    StateDict dict;
    EXPECT_OK(dict.Insert(
        name, RandomTensor(DType::kBF16, std::move(shape), &random_)));
    return dict;
  }

  std::mt19937 random_{1};
};

TEST_F(MiMoTest, PadsTheScalesOfKeysWithThatManyHeadsAlone) {
  const struct {
    int64_t rows;
    int64_t scale_rows;
  } kCases[] = {{4 * 192, 8}, {8 * 192, 12}, {128, 1}, {4 * 192 + 1, 7}};
  for (const auto& c : kCases) {
    ASSERT_OK_AND_ASSIGN(const StateDict hf,
                         Adapter()->ToHf(One(kKey, {c.rows, 200}), {}));
    EXPECT_EQ(hf.Find(kKey)->dtype(), DType::kF8E4M3);
    EXPECT_EQ(hf.Find(kKeyScale)->shape(), (Shape{c.scale_rows, 2}));
    EXPECT_OK(Adapter()->FromHf(hf, {}));
  }
}

TEST_F(MiMoTest, KeepsTheDTypeWhereAsked) {
  const StateDict native = One(kKey, {768, 200});
  ASSERT_OK_AND_ASSIGN(const StateDict hf,
                       Adapter(R"({"export_fp8": false})")->ToHf(native, {}));
  EXPECT_EQ(Difference(hf, native), "");
}

TEST_F(MiMoTest, KnowsWhichLayersAreMixtures) {
  // Layers for predicting more tokens are dense and have numbers of their own.
  for (const char* name : {"model.layers.0.input_layernorm.weight",
                           "model.mtp.layers.1.input_layernorm.weight"}) {
    EXPECT_OK(Adapter()->FromHf(One(name, {4}), {}));
  }
  EXPECT_THAT(
      Adapter()->FromHf(One("model.layers.1.input_layernorm.weight", {4}), {}),
      StatusIs(absl::StatusCode::kInvalidArgument,
               ::testing::HasSubstr("model.layers.1.")));
}

TEST_F(MiMoTest, LeavesLoraAsItIs) {
  const StateDict native = One(kLora, {2, 200});
  ASSERT_OK_AND_ASSIGN(const StateDict hf, Adapter()->ToHf(native, {}));
  EXPECT_EQ(Difference(hf, native), "");
}

}  // namespace
}  // namespace windlass
