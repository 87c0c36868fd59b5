// What the golden cases of Laguna do not show.

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/core/state_dict.h"
#include "windlass/core/state_dict_adapter.h"
#include "windlass/testing/adapters.h"
#include "windlass/testing/status_matchers.h"

namespace windlass {
namespace {

using ::testing::HasSubstr;

TEST(LagunaTest, ABiasAmongTheExpertsIsNoExpert) {
  const auto adapter = MakeAdapter(
      R"({"architectures": ["LagunaForCausalLM"], "num_experts": 2,
          "moe_intermediate_size": 4})");
  const StateDict hf =
      RandomDict({{"model.layers.1.mlp.gate.weight", {2, 6}},
                  {"model.layers.1.mlp.experts.e_score_correction_bias", {2}}});
  EXPECT_THAT(adapter->FromHf(hf, {}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("\"model.layers.1.\"")));
}

}  // namespace
}  // namespace windlass
