#include "windlass/adapters/rules/write_rules.h"

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/adapters/rules/rules.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/model_config.h"
#include "windlass/core/state_dict.h"
#include "windlass/core/state_dict_adapter.h"
#include "windlass/testing/layout_example.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/testing/tensors.h"

namespace windlass {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

std::unique_ptr<StateDictAdapter> BuiltIn(const std::string& name) {
  const AdapterInfo* info = AdapterRegistry::FindByName(name).value();
  const bool quantises = absl::c_any_of(info->options, [](const auto& option) {
    return option.name == "quantize_experts";
  });
  return AdapterRegistry::Create(
             *info, ModelConfig::Parse(info->example_config).value(),
             JsonFields::Parse(
                 quantises ? R"({"quantize_experts": false})" : "{}", "options")
                 .value())
      .value();
}

std::unique_ptr<StateDictAdapter> OfRules(const std::string& text) {
  const AdapterInfo info = ParseRules(text, "rules").value();
  return AdapterRegistry::Create(info, ModelConfig(), JsonFields()).value();
}

// Whether the file lacks nothing but expert LoRA.
bool IsWhole(const WrittenRules& rules) {
  return absl::c_all_of(rules.left_out, [](const auto& what) {
    return absl::StrContains(what, "lora") ||
           absl::StrContains(what, "peft_layout") ||
           absl::StartsWith(what, "which layers");
  });
}

class WriteRulesTest : public ::testing::TestWithParam<std::string> {};

std::vector<std::string> AllNames() {
  std::vector<std::string> names;
  for (const AdapterInfo* info : AdapterRegistry::All()) {
    names.push_back(info->name);
  }
  return names;
}

// What both make of a model that the built-in one's tables describe.
TEST_P(WriteRulesTest, TheFileConvertsAsTheAdapterDoes) {
  const auto adapter = BuiltIn(GetParam());
  const WrittenRules rules = WriteRules(GetParam(), "", *adapter);
  const auto own = OfRules(rules.text);
  // Once more, it says the same.
  EXPECT_EQ(WriteRules(GetParam(), "", *own).text, rules.text);
  // Where more than LoRA is left out, the file is another adapter; what is left
  // out was named.
  if (!IsWhole(rules)) return;
  std::mt19937 random(3);
  ASSERT_OK_AND_ASSIGN(const StateDict hf,
                       ExampleHf(*own->stages(), /*shares=*/true, &random));
  ASSERT_OK_AND_ASSIGN(const StateDict native, adapter->FromHf(hf, {}));
  ASSERT_OK_AND_ASSIGN(const StateDict own_native, own->FromHf(hf, {}));
  EXPECT_EQ(Difference(own_native, native), "");
  ASSERT_OK_AND_ASSIGN(const StateDict back, adapter->ToHf(native, {}));
  ASSERT_OK_AND_ASSIGN(const StateDict own_back, own->ToHf(native, {}));
  EXPECT_EQ(Difference(own_back, back), "");
}

INSTANTIATE_TEST_SUITE_P(Adapters, WriteRulesTest,
                         ::testing::ValuesIn(AllNames()),
                         [](const auto& info) { return info.param; });

TEST(LeftOutTest, NamesWhatNoFileCanSay) {
  for (const char* name : {"qwen3_5", "llama", "glm4_moe", "deepseek_v3"}) {
    EXPECT_TRUE(IsWhole(WriteRules(name, "", *BuiltIn(name)))) << name;
  }
  EXPECT_THAT(WriteRules("glm4_moe", "", *BuiltIn("glm4_moe")).left_out,
              Contains(HasSubstr("lora_")));
  EXPECT_THAT(WriteRules("qwen3_vl_moe", "", *BuiltIn("qwen3_vl_moe")).left_out,
              Contains(HasSubstr("how an input's or a model's \"root\"")));
}

}  // namespace
}  // namespace windlass
