// What the golden cases of Muse Glimmer do not show.

#include <cmath>
#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"
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

std::string Config(const std::string& text, const std::string& vision) {
  return absl::StrCat(
      R"({"architectures": ["MuseGlimmerForConditionalGeneration"],
          "text_config": {)",
      text, R"(}, "vision_config": {)", vision, "}}");
}

constexpr char kText[] = R"("rope_theta": 10000, "head_dim": 4)";
constexpr char kVision[] =
    R"("rope_theta": 100, "hidden_size": 32, "num_attention_heads": 2)";

TEST(MuseGlimmerTest, VectorsAreMadeOfVisionAlone) {
  ASSERT_OK_AND_ASSIGN(
      const StateDict native,
      MakeAdapter(Config(kText, kVision))
          ->FromHf(RandomDict({{"model.vision_tower.ln_pre.weight", {2}}}),
                   {}));
  EXPECT_THAT(Names(native),
              ElementsAre("model.vision_encoder.ln_pre.weight",
                          "model.rotary_emb.freqs",
                          "model.vision_encoder.rotary_emb.inv_freq"));
  ASSERT_OK_AND_ASSIGN(const std::string text,
                       ReadAll(*native.Find("model.rotary_emb.freqs")));
  ASSERT_EQ(text.size(), 2 * sizeof(float));
  float freqs[2];
  std::memcpy(freqs, text.data(), text.size());
  EXPECT_EQ(freqs[0], 1.0f);
  EXPECT_EQ(freqs[1], 1.0f / 100.0f);
  // 8 dimensions: half of a head's 16.
  EXPECT_EQ(native.Find("model.vision_encoder.rotary_emb.inv_freq")->ToString(),
            "F32 [4]");
}

TEST(MuseGlimmerTest, AVectorOfTextThatAFileHasIsKept) {
  const StateDict hf =
      RandomDict({{"model.language_model.rotary_emb.freqs", {2}},
                  {"model.vision_tower.rotary_emb.inv_freq", {4}}});
  ASSERT_OK_AND_ASSIGN(const StateDict native,
                       MakeAdapter(Config(kText, kVision))->FromHf(hf, {}));
  EXPECT_THAT(Names(native),
              ElementsAre("model.rotary_emb.freqs",
                          "model.vision_encoder.rotary_emb.inv_freq"));
  EXPECT_EQ(native.Find("model.rotary_emb.freqs")->source(),
            hf.Find("model.language_model.rotary_emb.freqs")->source());
  EXPECT_NE(native.Find("model.vision_encoder.rotary_emb.inv_freq")->source(),
            hf.Find("model.vision_tower.rotary_emb.inv_freq")->source());
}

TEST(MuseGlimmerTest, NativeNamesInAFileAreLeftAlone) {
  const StateDict hf =
      RandomDict({{"model.layers.0.post_attention_layernorm.weight", {2}}});
  ASSERT_OK_AND_ASSIGN(const StateDict native,
                       MakeAdapter(Config(kText, kVision))->FromHf(hf, {}));
  EXPECT_EQ(Difference(native, hf), "");
}

TEST(MuseGlimmerTest, RefusesAConfigThatSaysNoFrequencies) {
  const struct {
    std::string config;
    const char* said;
  } kRows[] = {
      {Config(R"("head_dim": 4)", kVision), "\"rope_theta\""},
      {Config(R"("rope_theta": 10000)", kVision), "\"hidden_size\""},
      {Config(R"("rope_theta": 0, "head_dim": 4)", kVision), "rope_theta 0"},
      {Config(R"("rope_theta": 10000, "head_dim": 1)", kVision),
       "1 rotary dimensions of the text model"},
      {Config(R"("rope_theta": 10000, "head_dim": 9223372036854775807)",
              kVision),
       "of the text model"},
      {Config(kText, R"("hidden_size": 32, "num_attention_heads": 2)"),
       "\"rope_theta\""},
      {Config(kText, R"("rope_theta": 100, "hidden_size": 32)"),
       "\"num_attention_heads\""},
      {Config(kText, R"("rope_theta": 100, "hidden_size": 4,
                        "num_attention_heads": 2)"),
       "of the vision model"},
  };
  for (const auto& row : kRows) {
    ASSERT_OK_AND_ASSIGN(const ModelConfig config,
                         ModelConfig::Parse(row.config));
    ASSERT_OK_AND_ASSIGN(const AdapterInfo* info,
                         AdapterRegistry::FindByConfig(config));
    const auto adapter = AdapterRegistry::Create(*info, config, {});
    ASSERT_FALSE(adapter.ok()) << row.config;
    EXPECT_THAT(std::string(adapter.status().message()), HasSubstr(row.said));
  }
}

}  // namespace
}  // namespace windlass
