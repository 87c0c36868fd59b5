#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/core/regex.h"
#include "windlass/core/state_dict.h"
#include "windlass/core/state_dict_adapter.h"
#include "windlass/testing/adapters.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/testing/tensors.h"

namespace windlass {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr char kConfig[] = R"({"architectures": ["LlamaBidirectionalModel"]})";

std::unique_ptr<StateDictAdapter> Make(const char* config = kConfig,
                                       const char* options = "{}") {
  return MakeAdapter(config, options);
}

TEST(EncoderTest, WrapsTheModelAndItsLora) {
  const StateDict hf =
      RandomDict({{"layers.0.x", {3}},
                  {"score.weight", {3}},
                  {"base_model.model.layers.0.x.lora_A.weight", {3}}});
  ASSERT_OK_AND_ASSIGN(const StateDict native, Make()->FromHf(hf, {}));
  EXPECT_THAT(Names(native),
              ElementsAre("model.layers.0.x", "model.score.weight",
                          "base_model.model.model.layers.0.x.lora_A.weight"));
  ASSERT_OK_AND_ASSIGN(const StateDict back, Make()->ToHf(native, {}));
  EXPECT_EQ(Difference(back, hf), "");
}

TEST(EncoderTest, HonoursAnExclusion) {
  ToHfOptions options;
  ASSERT_OK_AND_ASSIGN(options.exclude_key_regex,
                       NameFilter::Create(".*_extra_state.*"));
  ASSERT_OK_AND_ASSIGN(const StateDict hf,
                       Make()->ToHf(RandomDict({{"model.x._extra_state", {3}},
                                                {"model.norm.weight", {3}}}),
                                    options));
  EXPECT_THAT(Names(hf), ElementsAre("norm.weight"));
}

TEST(EncoderTest, WhatIsTheWrappersOwnHasNoHfName) {
  const StateDict native =
      RandomDict({{"linear_pooler.weight", {3}}, {"model.norm.weight", {3}}});
  ASSERT_OK_AND_ASSIGN(const StateDict hf, Make()->ToHf(native, {}));
  EXPECT_THAT(Names(hf), ElementsAre("norm.weight"));
  ASSERT_OK_AND_ASSIGN(const auto single,
                       Make()->ConvertSingleTensorToHf(
                           "linear_pooler.weight", native.begin()->tensor, {}));
  EXPECT_THAT(single, IsEmpty());
}

}  // namespace
}  // namespace windlass
