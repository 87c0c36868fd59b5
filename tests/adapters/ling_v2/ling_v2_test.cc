// What the golden cases of Ling 2 do not show.

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/core/dtype.h"
#include "windlass/core/regex.h"
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

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

// Four heads, two of keys and values, of two elements each.
std::unique_ptr<StateDictAdapter> Adapter(
    const std::string& head_dim = R"(, "head_dim": 2)") {
  return MakeAdapter(absl::StrCat(
      R"({"architectures": ["BailingMoeV2ForCausalLM"], "num_experts": 2,
          "moe_intermediate_size": 4, "hidden_size": 8,
          "num_attention_heads": 4, "num_key_value_heads": 2)",
      head_dim, "}"));
}

const std::string kHf = "model.layers.3.attention.";
const std::string kNative = "model.layers.3.self_attn.";

TEST(LingV2Test, QueriesKeysAndValuesAreJoinedBehindAllElse) {
  const StateDict native = RandomDict({{kNative + "v_proj.weight", {4, 8}},
                                       {kNative + "q_proj.weight", {8, 8}},
                                       {kNative + "k_proj.weight", {4, 8}},
                                       {"model.norm.weight", {8}}});
  for (const char* head_dim : {"", R"(, "head_dim": 2)"}) {
    const auto adapter = Adapter(head_dim);
    ASSERT_OK_AND_ASSIGN(const StateDict hf, adapter->ToHf(native, {}));
    EXPECT_THAT(Names(hf), ElementsAre("model.norm.weight",
                                       kHf + "query_key_value.weight"));
    ASSERT_OK_AND_ASSIGN(const StateDict back, adapter->FromHf(hf, {}));
    EXPECT_EQ(Difference(Sorted(back), Sorted(native)), "");
  }
}

TEST(LingV2Test, OneOfTheThreeHasANameOfItsOwn) {
  const auto adapter = Adapter();
  for (const std::string name : {"q_proj", "k_proj", "v_proj"}) {
    const StateDict native = RandomDict({{kNative + name + ".weight", {4, 8}}});
    ASSERT_OK_AND_ASSIGN(const auto hf,
                         adapter->ConvertSingleTensorToHf(
                             native.begin()->name, native.begin()->tensor, {}));
    ASSERT_EQ(hf.size(), 1u);
    EXPECT_EQ(hf[0].name, kHf + name + ".weight");
    ASSERT_OK_AND_ASSIGN(
        const StateDict back,
        adapter->FromHf(RandomDict({{hf[0].name, {4, 8}}}), {}));
    EXPECT_THAT(Names(back), ElementsAre(kNative + name + ".weight"));
  }
}

TEST(LingV2Test, RefusesAModelThatLacksOneOfThem) {
  EXPECT_THAT(Adapter()->ToHf(RandomDict({{kNative + "q_proj.weight", {8, 8}},
                                          {kNative + "k_proj.weight", {4, 8}}}),
                              {}),
              StatusIs(kInvalid, HasSubstr(kNative + "v_proj.weight")));
}

TEST(LingV2Test, RefusesAMatrixOfAnotherModelsHeads) {
  EXPECT_THAT(
      Adapter()->FromHf(RandomDict({{kHf + "query_key_value.weight", {24, 8}}}),
                        {}),
      StatusIs(kInvalid, AllOf(HasSubstr(kHf + "query_key_value.weight"),
                               HasSubstr("[24, 8]"), HasSubstr("expected 16"),
                               HasSubstr("num_key_value_heads"))));
  EXPECT_THAT(Adapter()->ToHf(RandomDict({{kNative + "q_proj.weight", {8, 8}},
                                          {kNative + "k_proj.weight", {4, 8}},
                                          {kNative + "v_proj.weight", {2, 8}}}),
                              {}),
              StatusIs(kInvalid, HasSubstr(kNative)));
}

TEST(LingV2Test, BiasesAndLoraKeepTheirNames) {
  const StateDict hf = RandomDict(
      {{kHf + "query_key_value.bias", {16}},
       {"base_model.model." + kNative + "q_proj.lora_A.weight", {2, 8}}});
  ASSERT_OK_AND_ASSIGN(const StateDict native, Adapter()->FromHf(hf, {}));
  EXPECT_EQ(Difference(native, hf), "");
}

TEST(LingV2Test, NamesAreExcludedByAnyPart) {
  ToHfOptions options;
  ASSERT_OK_AND_ASSIGN(options.exclude_key_regex, NameFilter::Create("norm"));
  ASSERT_OK_AND_ASSIGN(
      const StateDict hf,
      Adapter()->ToHf(RandomDict({{"model.norm.weight", {8}},
                                  {"model.embed_tokens.weight", {4, 8}}}),
                      options));
  EXPECT_THAT(Names(hf), ElementsAre("model.word_embeddings.weight"));
}

}  // namespace
}  // namespace windlass
