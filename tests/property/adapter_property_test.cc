// The tests themselves are in testing/adapter_properties.cc; here is what they
// stand on.

#include <random>

#include "gtest/gtest.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/model_config.h"
#include "windlass/testing/layout_example.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/testing/tensors.h"

namespace windlass {
namespace {

TEST(ExampleHfTest, HasTensorsForTheRowsOfEveryStage) {
  std::mt19937 random(1);
  const AdapterInfo* info = *AdapterRegistry::FindByName("qwen3_next");
  ASSERT_OK_AND_ASSIGN(
      const ModelConfig config,
      ModelConfig::Parse(R"({"num_experts": 2, "moe_intermediate_size": 4})"));
  ASSERT_OK_AND_ASSIGN(const auto adapter,
                       AdapterRegistry::Create(*info, config, {}));
  ASSERT_OK_AND_ASSIGN(const StateDict hf,
                       ExampleHf(*adapter->stages(), true, &random));
  for (const char* name :
       {"model.layers.1.mlp.experts.1.down_proj.weight",
        "model.layers.0.mlp.experts.0.up_proj.lora_A.weight",
        "model.mlp.shared_expert.proj.weight", "model.weight",
        "model.layers.0.linear_attn.A_log"}) {
    EXPECT_TRUE(hf.Contains(name)) << name;
  }
  EXPECT_EQ(hf.Find("model.layers.0.linear_attn.A_log")->dtype(), DType::kF32);
}

}  // namespace
}  // namespace windlass
