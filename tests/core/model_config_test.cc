#include "windlass/core/model_config.h"

#include <optional>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/core/dtype.h"
#include "windlass/testing/status_matchers.h"

namespace windlass {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

ModelConfig Parse(const char* text) {
  return ModelConfig::Parse(text, "m/config.json").value();
}

TEST(ModelConfigTest, LooksInTextConfigFirst) {
  const ModelConfig config =
      Parse(R"({"n": 1, "m": 5, "text_config": {"n": 2, "m": null}})");
  EXPECT_EQ(config.GetPositiveInt("n").value(), 2);
  EXPECT_EQ(config.GetPositiveInt("m").value(), 5);
}

TEST(ModelConfigTest, NamesTheFieldAndWhatWasFound) {
  const ModelConfig config =
      Parse(R"({"a": "x", "b": 1.5, "c": 0, "d": 1, "torch_dtype": "float7"})");
  const auto invalid = absl::StatusCode::kInvalidArgument;
  EXPECT_THAT(config.GetPositiveInt("z"),
              StatusIs(absl::StatusCode::kNotFound,
                       HasSubstr("m/config.json: field \"z\" is missing")));
  EXPECT_THAT(config.GetPositiveInt("a"),
              StatusIs(invalid, AllOf(HasSubstr("\"a\""), HasSubstr("\"x\""))));
  EXPECT_THAT(config.GetPositiveInt("b"), StatusIs(invalid, HasSubstr("1.5")));
  EXPECT_THAT(config.GetPositiveInt("c"), StatusIs(invalid, HasSubstr("zero")));
  EXPECT_THAT(config.GetBoolOr("d", true),
              StatusIs(invalid, HasSubstr("true or false")));
  EXPECT_THAT(config.GetDType(), StatusIs(invalid, HasSubstr("float7")));
}

TEST(ModelConfigTest, ReadsTheDTypeUnderEitherName) {
  EXPECT_EQ(Parse(R"({"dtype": "float16"})").GetDType().value(), DType::kF16);
  EXPECT_EQ(Parse(R"({"torch_dtype": "float32"})").GetDType().value(),
            DType::kF32);
  EXPECT_EQ(
      Parse(R"({"text_config": {"dtype": "float32"}})").GetDType().value(),
      DType::kF32);
  EXPECT_EQ(Parse("{}").GetDType().value(), DType::kBF16);
  // The newer name first, and the top before the section.
  EXPECT_EQ(Parse(R"({"dtype": "float16", "torch_dtype": "float32"})")
                .GetDType()
                .value(),
            DType::kF16);
  EXPECT_EQ(Parse(R"({"torch_dtype": "float16",
                      "text_config": {"dtype": "float32"}})")
                .GetDType()
                .value(),
            DType::kF16);
}

TEST(ModelConfigTest, FindsTheDTypeByNameThenByPlace) {
  struct Row {
    const char* json;
    std::optional<DType> dtype;
  };
  const Row rows[] = {
      {"{}", std::nullopt},
      {R"({"dtype": null, "text_config": {"torch_dtype": null}})",
       std::nullopt},
      {R"({"text_config": 3})", std::nullopt},
      {R"({"dtype": "float16"})", DType::kF16},
      {R"({"dtype": "torch.float16"})", DType::kF16},
      {R"({"torch_dtype": "float32"})", DType::kF32},
      {R"({"torch_dtype": "float32", "dtype": "float16"})", DType::kF16},
      {R"({"torch_dtype": "float32", "dtype": null})", DType::kF32},
      {R"({"text_config": {"torch_dtype": "float32"}})", DType::kF32},
      {R"({"text_config": {"torch_dtype": "float32", "dtype": "float16"}})",
       DType::kF16},
      // The place goes before the name.
      {R"({"torch_dtype": "float32", "text_config": {"dtype": "float16"}})",
       DType::kF32},
      {R"({"dtype": "bfloat16", "text_config": {"dtype": "float16"}})",
       DType::kBF16},
  };
  for (const Row& row : rows) {
    EXPECT_THAT(Parse(row.json).FindDType(), IsOkAndHolds(row.dtype))
        << row.json;
  }
}

TEST(ModelConfigTest, ADTypeThatIsNoneHidesNoOther) {
  for (const char* json :
       {R"({"dtype": "float7", "torch_dtype": "float32"})",
        R"({"dtype": 16, "text_config": {"dtype": "float32"}})",
        R"({"dtype": "", "torch_dtype": "float32"})"}) {
    EXPECT_THAT(Parse(json).FindDType(),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("field \"dtype\"")))
        << json;
  }
}

TEST(ModelConfigTest, ASectionIsAConfigOfItsOwn) {
  const ModelConfig config = Parse(
      R"({"n": 1, "dtype": "float16", "text_config": {"n": 2},
          "thinker_config": {"m": 3, "dtype": "float32",
                             "text_config": {"n": 4, "deep": {"n": 5}}}})");
  const ModelConfig thinker = config.Section("thinker_config");
  EXPECT_EQ(thinker.GetPositiveInt("m").value(), 3);
  // Its own text_config goes first, as at the top.
  EXPECT_EQ(thinker.GetPositiveInt("n").value(), 4);
  EXPECT_EQ(thinker.GetDType().value(), DType::kF32);
  EXPECT_EQ(config.Section("thinker_config.text_config.deep")
                .GetPositiveInt("n")
                .value(),
            5);
  // Nothing of what is around it shows through.
  EXPECT_EQ(thinker.Section("text_config").FindDType().value(), std::nullopt);
  EXPECT_THAT(
      thinker.GetPositiveInt("x"),
      StatusIs(absl::StatusCode::kNotFound,
               HasSubstr("m/config.json: thinker_config: field \"x\"")));
}

TEST(ModelConfigTest, ASectionThatIsMissingHasNoField) {
  const ModelConfig config =
      Parse(R"({"n": 1, "list": [1], "text_config": {"n": 2}})");
  for (const char* path :
       {"none", "n", "list", "none.text_config", "text_config.none"}) {
    const ModelConfig section = config.Section(path);
    EXPECT_FALSE(section.Has("n")) << path;
    EXPECT_FALSE(section.AnnouncesExperts()) << path;
    EXPECT_THAT(section.GetPositiveInt("n"),
                StatusIs(absl::StatusCode::kNotFound, HasSubstr("missing")))
        << path;
  }
}

TEST(ModelConfigTest, ReadsArchitecturesAndModelType) {
  const ModelConfig config =
      Parse(R"({"architectures": ["A", "B"], "model_type": "t"})");
  EXPECT_THAT(config.Architectures().value(), ElementsAre("A", "B"));
  EXPECT_EQ(config.ModelType().value(), "t");
  EXPECT_THAT(Parse("{}").Architectures().value(), IsEmpty());
  EXPECT_THAT(
      Parse(R"({"architectures": "A"})").Architectures(),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("architectures")));
}

TEST(ModelConfigTest, RefusesWhatIsNoObject) {
  const std::string deep(5000, '[');
  for (const std::string& text :
       {std::string(""), std::string("[]"), std::string("{\"a\":"),
        std::string("{} x"), std::string("{\"a\": \"\xff\"}"), deep}) {
    EXPECT_THAT(ModelConfig::Parse(text, "m/config.json"),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("m/config.json")));
  }
}

}  // namespace
}  // namespace windlass
