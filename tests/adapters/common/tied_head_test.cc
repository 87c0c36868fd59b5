#include "windlass/adapters/common/tied_head.h"

#include <memory>
#include <random>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/core/state_dict_adapter.h"
#include "windlass/core/tensor.h"
#include "windlass/testing/adapters.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/testing/tensors.h"

namespace windlass {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kEmbedding[] = "model.embed_tokens.weight";
constexpr char kDrop[] = R"({"drop_tied_head": true})";

std::string Config(const std::string& architecture, const std::string& tied) {
  return R"({"architectures": [")" + architecture +
         R"("], "tie_word_embeddings": )" + tied + "}";
}

StateDict Model(const std::string& embedding, const Tensor& weight,
                const Tensor& head) {
  StateDict model;
  EXPECT_OK(model.Insert(embedding, weight));
  EXPECT_OK(model.Insert(kHead, head));
  return model;
}

TEST(TiedHeadTest, IsLeftOutWhereItIsAsked) {
  std::mt19937 random(1);
  const Tensor weight = RandomTensor(DType::kBF16, {4, 2}, &random);
  const struct {
    const char* architecture;
    const char* embedding;
  } kCases[] = {
      {"LlamaForCausalLM", kEmbedding},
      {"Qwen2ForCausalLM", kEmbedding},
      {"Qwen3ForCausalLM", kEmbedding},
      {"Qwen3_5ForCausalLM", kEmbedding},
      {"Qwen3_5ForConditionalGeneration",
       "model.language_model.embed_tokens.weight"},
  };
  for (const auto& [architecture, embedding] : kCases) {
    SCOPED_TRACE(architecture);
    const StateDict native = Model(embedding, weight, weight);
    const auto convert = [&](const char* tied, const char* options) {
      return Names(MakeAdapter(Config(architecture, tied), options)
                       ->ToHf(native, {})
                       .value());
    };
    EXPECT_THAT(convert("true", kDrop), ElementsAre(embedding));
    EXPECT_THAT(convert("true", "{}"), ElementsAre(embedding, kHead));
    // What is not tied is two parameters, equal or not.
    EXPECT_THAT(convert("false", kDrop), ElementsAre(embedding, kHead));
  }
}

TEST(TiedHeadTest, WhatHasNoHeadOrNoEmbeddingStays) {
  std::mt19937 random(1);
  const auto adapter = MakeAdapter(Config("Qwen3ForCausalLM", "true"), kDrop);
  for (const char* name : {kEmbedding, kHead}) {
    StateDict native;
    ASSERT_OK(native.Insert(name, RandomTensor(DType::kF32, {4}, &random)));
    ASSERT_OK_AND_ASSIGN(const StateDict hf, adapter->ToHf(native, {}));
    EXPECT_THAT(Names(hf), ElementsAre(name));
  }
}

TEST(TiedHeadTest, AnEqualCopyIsLeftOutAndAnotherHeadIsRefused) {
  std::mt19937 random(1);
  const auto adapter = MakeAdapter(Config("Qwen3ForCausalLM", "true"), kDrop);
  const Tensor weight = RandomTensor(DType::kF32, {4, 2}, &random);
  ASSERT_OK_AND_ASSIGN(const std::string bytes, ReadAll(weight));
  ASSERT_OK_AND_ASSIGN(const Tensor copy,
                       Tensor::FromBytes(DType::kF32, {4, 2}, bytes));
  ASSERT_OK_AND_ASSIGN(const StateDict same,
                       adapter->ToHf(Model(kEmbedding, weight, copy), {}));
  EXPECT_THAT(Names(same), ElementsAre(kEmbedding));
  EXPECT_EQ(*ReadAll(*same.Find(kEmbedding)), bytes);
  const Tensor other = RandomTensor(DType::kF32, {4, 2}, &random);
  ASSERT_OK_AND_ASSIGN(const StateDict differs,
                       adapter->ToHf(Model(kEmbedding, weight, other), {}));
  EXPECT_THAT(ReadAll(*differs.Find(kEmbedding)),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("\"lm_head.weight\": found different")));
  const Tensor larger = RandomTensor(DType::kF32, {5, 2}, &random);
  EXPECT_THAT(
      adapter->ToHf(Model(kEmbedding, weight, larger), {}),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("F32 [5, 2]")));
}

// Nothing that lies in one place is read to see that it is equal.
TEST(TiedHeadTest, WhatIsOneTensorIsCopiedAsItLies) {
  const auto file = std::make_shared<CountedSource>(std::string(32, 'x'));
  const auto at = [&file] {
    return Tensor::FromExtent(DType::kF32, {4, 2}, Extent{file, 0, 32}).value();
  };
  const auto adapter = MakeAdapter(Config("Qwen3ForCausalLM", "true"), kDrop);
  ASSERT_OK_AND_ASSIGN(const StateDict hf,
                       adapter->ToHf(Model(kEmbedding, at(), at()), {}));
  EXPECT_TRUE(hf.Find(kEmbedding)->source()->Verbatim().has_value());
  EXPECT_EQ(file->reads(), 0);
}

}  // namespace
}  // namespace windlass
