#include "windlass/core/model_config.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
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
