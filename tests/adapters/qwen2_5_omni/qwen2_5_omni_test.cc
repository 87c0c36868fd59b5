#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/core/state_dict.h"
#include "windlass/core/state_dict_adapter.h"
#include "windlass/testing/adapters.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/testing/tensors.h"

namespace windlass {
namespace {

using ::testing::ElementsAre;

TEST(Qwen2_5OmniTest, IsTheThinkerOfEachArchitecture) {
  for (
      const char* config :
      {R"({"architectures": ["Qwen2_5OmniForConditionalGeneration"]})",
       R"({"architectures": ["Qwen2_5OmniModel"]})",
       R"({"architectures": ["Qwen2_5OmniThinkerForConditionalGeneration"]})"}) {
    ASSERT_OK_AND_ASSIGN(
        const StateDict native,
        MakeAdapter(config)->FromHf(
            RandomDict({{"talker.model.norm.weight", {3}},
                        {"token2wav.x", {3}},
                        {"thinker.audio_tower.audio_bos_eos_token.weight", {3}},
                        {"thinker.model.norm.weight", {3}},
                        {"lm_head.weight", {3}}}),
            {}));
    EXPECT_THAT(Names(native),
                ElementsAre("model.norm.weight", "lm_head.weight"));
    ASSERT_OK_AND_ASSIGN(const StateDict hf,
                         MakeAdapter(config)->ToHf(native, {}));
    EXPECT_THAT(Names(hf), ElementsAre("thinker.model.norm.weight",
                                       "thinker.lm_head.weight"));
  }
}

}  // namespace
}  // namespace windlass
