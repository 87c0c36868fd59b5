// What the golden cases of ERNIE 4.5 do not show.

#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/core/dtype.h"
#include "windlass/core/state_dict.h"
#include "windlass/core/state_dict_adapter.h"
#include "windlass/testing/adapters.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/testing/tensors.h"

namespace windlass {
namespace {

using ::testing::ElementsAre;

std::unique_ptr<StateDictAdapter> Adapter(const std::string& options = "{}") {
  return MakeAdapter(
      R"({"architectures": ["Ernie4_5_MoeForCausalLM"], "dtype": "bfloat16",
          "moe_num_experts": 1, "moe_intermediate_size": 4})",
      options);
}

constexpr char kDown[] = "layers.1.mlp.experts.0.down_proj.weight";

// A mixture's down projections, and tensors of these names.
StateDict Native(const std::vector<std::string>& names) {
  std::vector<TensorSpec> specs = {
      {"model.layers.1.mlp.experts.gate_and_up_projs", {1, 6, 8}},
      {"model.layers.1.mlp.experts.down_projs", {1, 4, 6}}};
  for (const std::string& name : names) specs.push_back({name, {1}});
  return RandomDict(specs);
}

TEST(Ernie45Test, TheLastNameSaysHowExpertsAreCalled) {
  const std::string bias = "model.layers.1.mlp.gate.e_score_correction_bias";
  const struct {
    std::vector<std::string> names;
    const char* options;
    bool prefix;
  } kCases[] = {
      {{"model.norm.weight"}, "{}", true},
      {{"lm_head.weight", "model.norm.weight"}, "{}", true},
      {{"model.norm.weight", "lm_head.weight"}, "{}", false},
      // Biases are moved there.
      {{"model.norm.weight", "lm_head.weight", bias}, "{}", false},
      {{"lm_head.weight"}, R"({"uses_model_prefix": true})", true},
      {{"model.norm.weight"}, R"({"uses_model_prefix": false})", false},
  };
  for (const auto& c : kCases) {
    const StateDict native = Native(c.names);
    const auto adapter = Adapter(c.options);
    ASSERT_OK_AND_ASSIGN(const StateDict hf, adapter->ToHf(native, {}));
    const std::string down = kDown;
    EXPECT_EQ(hf.Contains("model." + down), c.prefix);
    EXPECT_EQ(hf.Contains(down), !c.prefix);
    // Both are read.
    ASSERT_OK_AND_ASSIGN(const StateDict back, adapter->FromHf(hf, {}));
    EXPECT_EQ(Difference(Sorted(back), Sorted(native)), "");
  }
}

TEST(Ernie45Test, AModelWithoutThePrefixKeepsItsNames) {
  ASSERT_OK_AND_ASSIGN(
      const StateDict native,
      Adapter()->FromHf(
          RandomDict({{"layers.1.mlp.experts.0.gate_proj.weight", {4, 6}},
                      {"layers.1.mlp.experts.0.up_proj.weight", {4, 6}},
                      {kDown, {6, 4}},
                      {"norm.weight", {6}}}),
          {}));
  EXPECT_THAT(Names(native),
              ElementsAre("layers.1.mlp.experts.gate_and_up_projs",
                          "layers.1.mlp.experts.down_projs", "norm.weight"));
}

TEST(Ernie45Test, DropsWhatPredictsMoreTokens) {
  ASSERT_OK_AND_ASSIGN(
      const StateDict native,
      Adapter()->FromHf(
          RandomDict({{"model.mtp_block.0.mlp.up_proj.weight", {4, 6}},
                      {"model.mtp_emb_norm.0.weight", {6}},
                      {"model.norm.weight", {6}}}),
          {}));
  EXPECT_THAT(Names(native), ElementsAre("model.norm.weight"));
}

TEST(Ernie45Test, ABiasIsARowInFilesAlone) {
  const std::string hf_name =
      "model.layers.1.mlp.moe_statics.e_score_correction_bias";
  const struct {
    Shape hf;
    const char* native;
    const char* back;
  } kCases[] = {{{1, 4}, "F32 [4]", "F32 [1, 4]"},
                {{4}, "F32 [4]", "F32 [1, 4]"},
                {{2, 4}, "F32 [2, 4]", "F32 [2, 4]"}};
  for (const auto& c : kCases) {
    const auto adapter = Adapter();
    ASSERT_OK_AND_ASSIGN(
        const StateDict native,
        adapter->FromHf(RandomDict({{hf_name, c.hf, DType::kF32}}), {}));
    EXPECT_EQ(native.begin()->tensor.ToString(), c.native);
    ASSERT_OK_AND_ASSIGN(const StateDict back, adapter->ToHf(native, {}));
    EXPECT_THAT(Names(back), ElementsAre(hf_name));
    EXPECT_EQ(back.begin()->tensor.ToString(), c.back);
  }
}

}  // namespace
}  // namespace windlass
