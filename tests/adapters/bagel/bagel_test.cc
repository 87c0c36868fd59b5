// What the golden cases of BAGEL do not show.

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

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kConfig[] =
    R"({"architectures": ["BagelForConditionalGeneration"],
        "model_type": "bagel"})";

StateDict Model() {
  return RandomDict({{"model.latent_pos_embed.pos_embed", {1}},
                     {"model.vit_pos_embed.pos_embed", {1}},
                     {"vae2llm.bias", {1}},
                     {"language_model.lm_head.weight", {1}},
                     {"connector.fc1._extra_state", {1}}});
}

TEST(BagelTest, TheStageIsAnOptionAndElseTheConfigs) {
  const struct {
    const char* config;
    const char* options;
    bool generation;
  } kRows[] = {
      {kConfig, "{}", true},
      {kConfig, R"({"stage": "stage1"})", false},
      {R"({"architectures": ["BagelForUnifiedMultimodal"],
           "model_type": "bagel", "visual_gen": false})",
       "{}", false},
      {R"({"architectures": ["BagelForUnifiedMultimodal"],
           "model_type": "bagel", "visual_gen": false})",
       R"({"stage": "stage2"})", true},
  };
  for (const auto& row : kRows) {
    ASSERT_OK_AND_ASSIGN(
        const StateDict native,
        MakeAdapter(row.config, row.options)->FromHf(Model(), {}));
    if (row.generation) {
      EXPECT_THAT(Names(native),
                  ElementsAre("model.vit_pos_embed.pos_embed",
                              "model.language_model.lm_head.weight",
                              "model.latent_pos_embed.pos_embed",
                              "model.vae2llm.bias"));
    } else {
      EXPECT_THAT(Names(native),
                  ElementsAre("model.vit_pos_embed.pos_embed",
                              "model.language_model.lm_head.weight"));
    }
  }
}

TEST(BagelTest, AnUnknownNameIsRefusedOrDropped) {
  for (const char* name :
       {"connector.fc3.weight", "language_model.model.layers.0.mlp.x.weight",
        "language_model.model.layers.0.self_attn.o_proj.bias",
        "time_embedder.mlp.1.weight", "base_model.model.x.lora_A.weight"}) {
    const StateDict hf = RandomDict({{name, {1}}});
    EXPECT_THAT(MakeAdapter(kConfig)->FromHf(hf, {}),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(name)));
    ASSERT_OK_AND_ASSIGN(
        const StateDict native,
        MakeAdapter(kConfig, R"({"strict": false})")->FromHf(hf, {}));
    EXPECT_TRUE(native.empty()) << name;
  }
}

TEST(BagelTest, OneRootIsTakenOffAnyNativeName) {
  ASSERT_OK_AND_ASSIGN(
      const StateDict hf,
      MakeAdapter(kConfig)->ToHf(
          RandomDict({{"model.model.x", {1}}, {"y", {1}}}), {}));
  EXPECT_THAT(Names(hf), ElementsAre("model.x", "y"));
}

TEST(BagelTest, RefusesAnotherStageAndAnotherModelType) {
  ASSERT_OK_AND_ASSIGN(const ModelConfig config, ModelConfig::Parse(kConfig));
  ASSERT_OK_AND_ASSIGN(const AdapterInfo* info,
                       AdapterRegistry::FindByConfig(config));
  EXPECT_THAT(
      AdapterRegistry::Create(
          *info, config,
          JsonFields::Parse(R"({"stage": "3"})", "options").value()),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("stage1")));
  EXPECT_THAT(AdapterRegistry::FindByConfig(
                  ModelConfig::Parse(
                      R"({"architectures": ["BagelForConditionalGeneration"],
                  "model_type": "other"})")
                      .value()),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("no adapter")));
}

}  // namespace
}  // namespace windlass
