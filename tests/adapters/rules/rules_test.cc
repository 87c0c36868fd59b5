#include "windlass/adapters/rules/rules.h"

#include <cstdint>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
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

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

std::string Example(const std::string& name) {
  std::ifstream file("examples/rules/" + name);
  EXPECT_TRUE(file.good()) << name;
  return std::string(std::istreambuf_iterator<char>(file), {});
}

absl::StatusOr<std::unique_ptr<StateDictAdapter>> Make(
    const std::string& rules, const std::string& config = "{}",
    const std::string& options = "{}") {
  const absl::StatusOr<AdapterInfo> info = ParseRules(rules, "my.json");
  if (!info.ok()) return info.status();
  return AdapterRegistry::Create(*info, ModelConfig::Parse(config).value(),
                                 JsonFields::Parse(options, "options").value());
}

class RulesTest : public ::testing::Test {
 protected:
  void Add(const std::string& name, Shape shape) {
    ASSERT_OK(hf_.Insert(
        name, RandomTensor(DType::kBF16, std::move(shape), &random_)));
  }

  // To native and back, with names of native; the same comes back.
  void ExpectThereAndBack(const StateDictAdapter& adapter,
                          const std::vector<std::string>& native_names) {
    ASSERT_OK_AND_ASSIGN(const StateDict native, adapter.FromHf(hf_, {}));
    EXPECT_THAT(Names(native), ::testing::ElementsAreArray(native_names));
    ASSERT_OK_AND_ASSIGN(const StateDict back, adapter.ToHf(native, {}));
    EXPECT_EQ(Difference(Sorted(back), Sorted(hf_)), "");
  }

  std::mt19937 random_{7};
  StateDict hf_;
};

TEST_F(RulesTest, MergesMixtralsExperts) {
  const std::string layer = "model.layers.0.block_sparse_moe.";
  Add(layer + "gate.weight", {2, 6});
  for (int e = 0; e < 2; ++e) {
    for (const char* w : {"w1", "w2", "w3"}) {
      Add(absl::StrCat(layer, "experts.", e, ".", w, ".weight"),
          w[1] == '2' ? Shape{6, 4} : Shape{4, 6});
    }
  }
  const std::string config =
      R"({"num_local_experts": 2, "intermediate_size": 4})";
  ASSERT_OK_AND_ASSIGN(const auto adapter,
                       Make(Example("mixtral.json"), config));
  ExpectThereAndBack(*adapter,
                     {"model.layers.0.mlp.gate.weight",
                      "model.layers.0.mlp.experts.down_projs",
                      "model.layers.0.mlp.experts.gate_and_up_projs"});
  // An option comes before the config.
  ASSERT_OK_AND_ASSIGN(const auto three,
                       Make(Example("mixtral.json"), config, R"({"E": 3})"));
  EXPECT_THAT(three->FromHf(hf_, {}),
              StatusIs(kInvalid, AllOf(HasSubstr("experts.2.w1"),
                                       HasSubstr("option \"E\""))));
  EXPECT_THAT(Make(Example("mixtral.json")),
              StatusIs(absl::StatusCode::kNotFound,
                       AllOf(HasSubstr("my.json"),
                             HasSubstr("\"num_local_experts\""))));
}

TEST_F(RulesTest, RenamesAsGemma3) {
  Add("language_model.model.norm.weight", {2});
  Add("language_model.lm_head.weight", {2});
  Add("vision_tower.vision_model.norm.weight", {3});
  ASSERT_OK_AND_ASSIGN(const auto adapter, Make(Example("gemma3.json")));
  ExpectThereAndBack(*adapter,
                     {"model.language_model.norm.weight", "lm_head.weight",
                      "model.vision_tower.norm.weight"});
}

TEST_F(RulesTest, CutsAFusedMatrix) {
  Add("model.layers.3.self_attn.qkv_proj.weight", {8, 3});
  Add("model.layers.3.self_attn.qkv_proj.bias", {8});
  const std::string config = R"({"text_config": {"num_attention_heads": 2,
      "num_key_value_heads": 1, "head_dim": 2}})";
  ASSERT_OK_AND_ASSIGN(const auto adapter,
                       Make(Example("fused_qkv.json"), config));
  ASSERT_OK_AND_ASSIGN(const StateDict native, adapter->FromHf(hf_, {}));
  EXPECT_EQ(native.Find("model.layers.3.self_attn.q_proj.weight")->shape(),
            (Shape{4, 3}));
  EXPECT_EQ(native.Find("model.layers.3.self_attn.v_proj.bias")->shape(),
            (Shape{2}));
  ASSERT_OK_AND_ASSIGN(const StateDict back, adapter->ToHf(native, {}));
  EXPECT_EQ(Difference(back, hf_), "");
}

TEST_F(RulesTest, StripsAPrefix) {
  Add("language_model.model.norm.weight", {2});
  ASSERT_OK_AND_ASSIGN(const auto adapter, Make(Example("strip_prefix.json")));
  ExpectThereAndBack(*adapter, {"model.norm.weight"});
}

TEST_F(RulesTest, WritesTheFormThatAnOptionNames) {
  const std::string rules = R"({"name": "m", "rows": [
      {"one_of": "form", "export": "long", "forms": {
         "long": [{"rename": "long.{r*}", "to": "x.{r*}"}],
         "short": [{"rename": "s.{r*}", "to": "x.{r*}"}]}},
      {"drop_hf": "old.{r*}"}, "else", {"rename": "{r*}", "to": "y.{r*}"}]})";
  Add("long.a", {1});
  Add("s.b", {1});
  Add("old.c", {1});
  Add("d", {1});
  ASSERT_OK_AND_ASSIGN(const auto adapter, Make(rules));
  ASSERT_OK_AND_ASSIGN(const StateDict native, adapter->FromHf(hf_, {}));
  EXPECT_THAT(Names(native), ElementsAre("x.a", "x.b", "y.d"));
  ASSERT_OK_AND_ASSIGN(const auto other,
                       Make(rules, "{}", R"({"form": "short"})"));
  ASSERT_OK_AND_ASSIGN(const StateDict back, other->ToHf(native, {}));
  EXPECT_THAT(Names(back), ElementsAre("s.a", "s.b", "d"));
}

TEST_F(RulesTest, SaysWhereAMistakeIs) {
  const struct {
    const char* rules;
    const char* message;
  } kCases[] = {
      {R"({"rows": []})", "line 1, column 1: found no \"name\""},
      {R"({"name": "m"})", "expected either \"rows\" or \"stages\""},
      {R"({"name": "m", "row": []})", "column 22: found the field \"row\""},
      {R"({"name": "m", "rows": [{"rename": "a"}]})",
       "column 24: found no \"to\""},
      {"{\"name\": \"m\", \"rows\": [\n {\"rename\": \"a\", \"to\": 1}]}",
       "line 2, column 24: found 1, expected a string"},
      {R"({"name": "m", "rows": [{"hf": "a", "native": "b", "ops": ["turn"]}]})",
       "found \"turn\", expected an operation: shapes, transpose"},
      {R"({"name": "m", "rows": [{"hf": "a", "native": "b",
           "ops": [{"cast": "half"}]}]})",
       "line 2, column 29: found \"half\", expected a dtype's name"},
      {R"({"name": "m", "rows": [{"hf": "a", "native": "b",
           "ops": [{"concat": 0, "widths": ["Q"]}]}]})",
       "line 2, column 45: found \"Q\", expected a number, or the name of"},
      // What the table itself refuses.
      {"{\"name\": \"m\", \"rows\": [{\"rename\": \"a.{p*}\", \"to\": \"b\"},\n"
       "  {\"rename\": \"c.{p*}\", \"to\": \"d.{q*}\"}]}",
       "line 1, column 24: row a.{p*} -> b"},
      {"{\"name\": \"m\", \"rows\": [{\"rename\": \"a.{p*}\", \"to\": "
       "\"b.{p*}\"},\n"
       "  {\"rename\": \"a.b.{p*}\", \"to\": \"c.{p*}\"}]}",
       "HF names match two rows"},
      {R"({"name": "m", "stages": [{"names_to_native": [
           {"regex": "(", "replace": ""}]}]})",
       "line 1, column 46: "},
  };
  for (const auto& c : kCases) {
    EXPECT_THAT(Make(c.rules), StatusIs(kInvalid, AllOf(HasSubstr("my.json: "),
                                                        HasSubstr(c.message))))
        << c.rules;
  }
}

TEST_F(RulesTest, AParameterIsANumberOrADType) {
  const std::string rules = R"({"name": "m", "parameters": {"I":
      {"config": "a.b.size", "default": 4}}, "rows": [
      {"hf": "a", "native": "b", "ops": [{"shapes": [["2*I", "X"]]}]}]})";
  Add("a", {8, 3});
  ASSERT_OK_AND_ASSIGN(const auto adapter, Make(rules));
  EXPECT_OK(adapter->FromHf(hf_, {}));
  ASSERT_OK_AND_ASSIGN(const auto five,
                       Make(rules, R"({"a": {"b": {"size": 5}}})"));
  EXPECT_THAT(
      five->FromHf(hf_, {}),
      StatusIs(kInvalid, AllOf(HasSubstr("10"), HasSubstr("\"a.b.size\""))));
  EXPECT_THAT(Make(rules, R"({"a": {"b": {"size": -1}}})"),
              StatusIs(kInvalid, HasSubstr("expected a whole number above")));
  EXPECT_THAT(Make(rules, R"({"a": {"b": {"size": 5000000000000000000}}})"),
              StatusIs(kInvalid, HasSubstr("a product below 2^63")));
}

}  // namespace
}  // namespace windlass
