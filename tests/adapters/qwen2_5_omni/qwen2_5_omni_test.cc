#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

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

using ::testing::ElementsAre;

std::unique_ptr<StateDictAdapter> Make(const char* config,
                                       const char* options = "{}") {
  const ModelConfig parsed = ModelConfig::Parse(config).value();
  return AdapterRegistry::Create(**AdapterRegistry::FindByConfig(parsed),
                                 parsed,
                                 JsonFields::Parse(options, "options").value())
      .value();
}

struct Spec {
  std::string name;
  Shape shape;
  DType dtype = DType::kBF16;
};

StateDict Dict(const std::vector<Spec>& specs) {
  static std::mt19937 random(7);
  StateDict dict;
  for (const Spec& spec : specs) {
    EXPECT_OK(
        dict.Insert(spec.name, RandomTensor(spec.dtype, spec.shape, &random)));
  }
  return dict;
}

TEST(Qwen2_5OmniTest, IsTheThinkerOfEachArchitecture) {
  for (
      const char* config :
      {R"({"architectures": ["Qwen2_5OmniForConditionalGeneration"]})",
       R"({"architectures": ["Qwen2_5OmniModel"]})",
       R"({"architectures": ["Qwen2_5OmniThinkerForConditionalGeneration"]})"}) {
    ASSERT_OK_AND_ASSIGN(
        const StateDict native,
        Make(config)->FromHf(
            Dict({{"talker.model.norm.weight", {3}},
                  {"token2wav.x", {3}},
                  {"thinker.audio_tower.audio_bos_eos_token.weight", {3}},
                  {"thinker.model.norm.weight", {3}},
                  {"lm_head.weight", {3}}}),
            {}));
    EXPECT_THAT(Names(native),
                ElementsAre("model.norm.weight", "lm_head.weight"));
    ASSERT_OK_AND_ASSIGN(const StateDict hf, Make(config)->ToHf(native, {}));
    EXPECT_THAT(Names(hf), ElementsAre("thinker.model.norm.weight",
                                       "thinker.lm_head.weight"));
  }
}

}  // namespace
}  // namespace windlass
