// GLM-4.7-Flash (glm4_moe_lite), of which no golden case is: it is laid out as
// GLM-4.5 is, its layer for predicting more tokens included.

#include <memory>
#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/dtype.h"
#include "windlass/core/model_config.h"
#include "windlass/core/state_dict.h"
#include "windlass/core/state_dict_adapter.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/testing/tensors.h"

namespace windlass {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A dense layer, a sparse one, and the one behind them.
constexpr char kConfig[] =
    R"({"architectures": ["Glm4MoeLiteForCausalLM"],
        "model_type": "glm4_moe_lite", "dtype": "bfloat16",
        "num_hidden_layers": 2, "num_nextn_predict_layers": 1,
        "hidden_size": 6, "n_routed_experts": 2, "moe_intermediate_size": 4,
        "mlp_layer_types": ["dense", "sparse"]})";

class Glm4MoeLiteTest : public ::testing::Test {
 protected:
  static std::unique_ptr<StateDictAdapter> Adapter() {
    const ModelConfig config = ModelConfig::Parse(kConfig).value();
    const AdapterInfo* info = AdapterRegistry::FindByConfig(config).value();
    return AdapterRegistry::Create(*info, config, {}).value();
  }

  void Add(const std::string& name, Shape shape) {
    ASSERT_OK(hf_.Insert(name, RandomTensor(DType::kBF16, shape, &random_)));
  }

  void AddExperts(int layer) {
    for (int expert = 0; expert < 2; ++expert) {
      const std::string prefix =
          absl::StrCat("model.layers.", layer, ".mlp.experts.", expert, ".");
      Add(prefix + "gate_proj.weight", {4, 6});
      Add(prefix + "up_proj.weight", {4, 6});
      Add(prefix + "down_proj.weight", {6, 4});
    }
  }

  std::mt19937 random_{1};
  StateDict hf_;
};

TEST_F(Glm4MoeLiteTest, MergesTheExpertsOfEveryLayer) {
  Add("model.layers.0.mlp.down_proj.weight", {6, 4});
  AddExperts(1);
  Add("model.layers.2.eh_proj.weight", {6, 12});
  AddExperts(2);
  ASSERT_OK_AND_ASSIGN(const StateDict native, Adapter()->FromHf(hf_, {}));
  EXPECT_THAT(Names(native),
              ElementsAre("model.layers.0.mlp.down_proj.weight",
                          "model.layers.1.mlp.experts.gate_and_up_projs",
                          "model.layers.1.mlp.experts.down_projs",
                          "model.layers.2.eh_proj.weight",
                          "model.layers.2.mlp.experts.gate_and_up_projs",
                          "model.layers.2.mlp.experts.down_projs"));
  ASSERT_OK_AND_ASSIGN(const StateDict back, Adapter()->ToHf(native, {}));
  EXPECT_EQ(Difference(Sorted(back), Sorted(hf_)), "");
}

TEST_F(Glm4MoeLiteTest, RefusesASparseLayerWithoutExperts) {
  Add("model.layers.1.mlp.down_proj.weight", {6, 4});
  EXPECT_THAT(Adapter()->FromHf(hf_, {}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("\"model.layers.1.\"")));
}

}  // namespace
}  // namespace windlass
