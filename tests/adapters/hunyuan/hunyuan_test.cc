// What the golden cases of HY-V3 and Hy-MT2 do not show.

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/model_config.h"
#include "windlass/core/state_dict.h"
#include "windlass/core/state_dict_adapter.h"
#include "windlass/testing/adapters.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/testing/tensors.h"

namespace windlass {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Hy-MT2 as it is published under HY-V3's architecture.
constexpr char kPublished[] =
    R"({"architectures": ["HYV3ForCausalLM"], "model_type": "hy_v3",
        "dtype": "bfloat16", "hidden_size": 2048, "num_hidden_layers": 48,
        "num_experts": 128, "expert_hidden_dim": 768,
        "moe_intermediate_size": 768, "enable_lm_head_fp32": true})";

TEST(HunyuanTest, FieldsTellTheTwoApart) {
  const struct {
    std::vector<std::pair<std::string, std::string>> changes;
    const char* adapter;
  } kCases[] = {
      {{}, "hy_mt2"},
      {{{"true", "false"}}, "hy_mt2"},
      {{{"true", "null"}}, "hy_mt2"},
      {{{", \"enable_lm_head_fp32\": true", ""}}, "hy_v3"},
      {{{"2048", "4096"}}, "hy_v3"},
      {{{"48,", "47,"}}, "hy_v3"},
      {{{"128", "192"}}, "hy_v3"},
      {{{"dim\": 768", "dim\": 512"}}, "hy_v3"},
      {{{"size\": 768", "size\": 512"}}, "hy_v3"},
      {{{"HYV3", "HyMT2"}, {"2048", "64"}}, "hy_mt2"},
      {{{"\"HYV3ForCausalLM\"", ""}}, "hy_mt2"},
      {{{"\"HYV3ForCausalLM\"", ""}, {"2048", "64"}}, "hy_v3"},
      {{{"\"HYV3ForCausalLM\"", ""}, {"hy_v3", "hy_mt2"}}, "hy_mt2"},
  };
  for (const auto& c : kCases) {
    const std::string text = absl::StrReplaceAll(kPublished, c.changes);
    SCOPED_TRACE(text);
    ASSERT_OK_AND_ASSIGN(const ModelConfig config, ModelConfig::Parse(text));
    ASSERT_OK_AND_ASSIGN(const AdapterInfo* info,
                         AdapterRegistry::FindByConfig(config));
    EXPECT_EQ(info->name, c.adapter);
  }
}

TEST(HunyuanTest, DropsLayersThatTheConfigDoesNotHave) {
  const struct {
    const char* architecture;
    const char* fields;
    int layers;
  } kCases[] = {
      {"HYV3ForCausalLM", "", 80},
      {"HyMT2ForCausalLM", "", 48},
      {"HYV3ForCausalLM", R"("num_hidden_layers": 3,)", 3},
  };
  for (const auto& c : kCases) {
    const auto adapter = MakeAdapter(
        absl::StrCat("{", c.fields, R"("architectures": [")", c.architecture,
                     R"("], "num_experts": 2, "moe_intermediate_size": 4})"));
    const std::string last =
        absl::StrCat("layers.", c.layers - 1, ".norm.weight");
    const std::string more = absl::StrCat("layers.", c.layers, ".norm.weight");
    ASSERT_OK_AND_ASSIGN(
        const StateDict native,
        adapter->FromHf(RandomDict({{"model." + last, {2}},
                                    {"model." + more, {2}},
                                    {last, {2}},
                                    {more, {2}},
                                    {"model.vision." + more, {2}}}),
                        {}));
    EXPECT_THAT(Names(native),
                ElementsAre("model." + last, last, "model.vision." + more));
  }
}

TEST(HunyuanTest, RefusesARouterWithoutExperts) {
  const auto adapter = MakeAdapter(
      R"({"architectures": ["HYV3ForCausalLM"], "num_experts": 2,
          "moe_intermediate_size": 4})");
  EXPECT_THAT(
      adapter->FromHf(
          RandomDict({{"model.layers.1.mlp.router.gate.weight", {2, 6}}}), {}),
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr("\"model.layers.1.\"")));
}

}  // namespace
}  // namespace windlass
