#include "windlass/core/key_rewriter.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/testing/tensors.h"

namespace windlass {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(KeyRewriterTest, AppliesRulesInOrder) {
  ASSERT_OK_AND_ASSIGN(
      const KeyRewriter rewriter,
      KeyRewriter::Create({
          KeyRewriter::Prefix({{"visual.", "model.visual."},
                               {"model.", "model.language_model."}}),
          KeyRewriter::Exact({{"lm_head.weight", "head"}}),
          KeyRewriter::Substring({{".shared_expert.", ".shared_experts."}}),
          KeyRewriter::Regex(R"(layers\.(\d+)\.)", R"(blocks.\1.)"),
      }));
  const std::pair<const char*, const char*> kCases[] = {
      {"visual.x", "model.visual.x"},
      {"model.x", "model.language_model.x"},
      {"lm_head.weight", "head"},
      {"my.lm_head.weight", "my.lm_head.weight"},
      {"a.shared_expert.b.shared_expert.c",
       "a.shared_experts.b.shared_experts.c"},
      {"model.layers.3.layers.4.w", "model.language_model.blocks.3.blocks.4.w"},
      {"", ""},
  };
  for (const auto& [from, to] : kCases) {
    EXPECT_EQ(rewriter.Rewrite(from), to);
  }
}

TEST(KeyRewriterTest, RefusesBadRules) {
  const auto invalid = absl::StatusCode::kInvalidArgument;
  EXPECT_THAT(KeyRewriter::Create({KeyRewriter::Regex("(a", "b")}),
              StatusIs(invalid, HasSubstr("(a")));
  EXPECT_THAT(KeyRewriter::Create({KeyRewriter::Regex("a", R"(\1)")}),
              StatusIs(invalid, HasSubstr("\\1")));
  EXPECT_THAT(
      KeyRewriter::Create({KeyRewriter::Exact({{"a", "b"}, {"a", "c"}})}),
      StatusIs(invalid, HasSubstr("\"a\"")));
}

TEST(KeyRewriterTest, RewritesADictInItsOrder) {
  const Tensor tensor = MakeTensor<float>(DType::kF32, {1}, {1.0f});
  StateDict dict;
  ASSERT_OK(dict.Insert("b", tensor));
  ASSERT_OK(dict.Insert("a", tensor));
  ASSERT_OK_AND_ASSIGN(const KeyRewriter rewriter,
                       KeyRewriter::Create({KeyRewriter::Exact({{"b", "z"}})}));
  ASSERT_OK_AND_ASSIGN(const StateDict out, rewriter.RewriteAll(dict));
  EXPECT_THAT(Names(out), ElementsAre("z", "a"));
}

TEST(KeyRewriterTest, RefusesTwoKeysThatEndAsOne) {
  const Tensor tensor = MakeTensor<float>(DType::kF32, {1}, {1.0f});
  StateDict dict;
  ASSERT_OK(dict.Insert("a", tensor));
  ASSERT_OK(dict.Insert("b", tensor));
  ASSERT_OK_AND_ASSIGN(const KeyRewriter rewriter,
                       KeyRewriter::Create({KeyRewriter::Exact({{"b", "a"}})}));
  EXPECT_THAT(rewriter.RewriteAll(dict),
              StatusIs(absl::StatusCode::kAlreadyExists,
                       AllOf(HasSubstr("\"a\""), HasSubstr("\"b\""))));
}

}  // namespace
}  // namespace windlass
