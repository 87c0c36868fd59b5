#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/model_config.h"
#include "windlass/core/state_dict.h"
#include "windlass/core/state_dict_adapter.h"
#include "windlass/testing/adapters.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/testing/tensors.h"

namespace windlass {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kGemma3[] =
    R"({"architectures": ["Gemma3ForConditionalGeneration"]})";

TEST(HfRenamesTest, Gemma3HasItsFiveRowsInTheirOrder) {
  const auto adapter = MakeAdapter(kGemma3);
  const StateDict hf = RandomDict({
      {"language_model.model.norm.weight", {1}},
      {"vision_tower.vision_model.embeddings.x", {1}},
      {"multi_modal_projector.y", {1}},
      {"language_model.lm_head.weight", {1}},
      {"language_model.other", {1}},
      {"old.language_model.model.norm.weight", {1}},
  });
  ASSERT_OK_AND_ASSIGN(const StateDict native, adapter->FromHf(hf, {}));
  EXPECT_THAT(Names(native),
              ElementsAre("model.language_model.norm.weight",
                          "model.vision_tower.embeddings.x",
                          "model.multi_modal_projector.y", "lm_head.weight",
                          "language_model.other",
                          "old.language_model.model.norm.weight"));
  ASSERT_OK_AND_ASSIGN(const StateDict back, adapter->ToHf(native, {}));
  EXPECT_EQ(Difference(back, hf), "");
  ASSERT_OK_AND_ASSIGN(
      const StateDict vision,
      adapter->FromHf(RandomDict({{"vision_tower.z", {1}}}), {}));
  EXPECT_THAT(Names(vision), ElementsAre("model.vision_tower.z"));
}

TEST(HfRenamesTest, OtherRenamesAreGivenAsTransformersHasThem) {
  const auto adapter = MakeAdapter(
      kGemma3, R"({"renames": ["^visual\\.=model.visual.", "^model\\.="]})");
  const StateDict hf =
      RandomDict({{"visual.x", {1}}, {"model.y", {1}}, {"visuals.z", {1}}});
  ASSERT_OK_AND_ASSIGN(const StateDict native, adapter->FromHf(hf, {}));
  EXPECT_THAT(Names(native), ElementsAre("model.visual.x", "y", "visuals.z"));
  ASSERT_OK_AND_ASSIGN(const StateDict back, adapter->ToHf(native, {}));
  EXPECT_THAT(Names(back),
              ElementsAre("visual.x", "model.y", "model.visuals.z"));
}

TEST(HfRenamesTest, RefusesExpressionsThatAreNoPrefixes) {
  ASSERT_OK_AND_ASSIGN(const ModelConfig config, ModelConfig::Parse(kGemma3));
  ASSERT_OK_AND_ASSIGN(const AdapterInfo* info,
                       AdapterRegistry::FindByConfig(config));
  for (const char* rename :
       {R"(visual\\.=model.)", R"(^visual=model.)", R"(^visual.=model.)",
        R"(^(a|b)\\.=model.)", R"(^a\\.b\\.)", R"(^a\\.=b)", R"(^a\\.={r*}.)",
        R"(^a\\.=b.=c.)", R"(^model(?!\\.x)\\.=y.)", "", R"(^a/=b.)"}) {
    const JsonFields options =
        JsonFields::Parse(std::string(R"({"renames": [")") + rename + "\"]}",
                          "options")
            .value();
    EXPECT_THAT(AdapterRegistry::Create(*info, config, options),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr("\"renames\""),
                               HasSubstr("expected prefixes such as"))))
        << rename;
  }
}

}  // namespace
}  // namespace windlass
