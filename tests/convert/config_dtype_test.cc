#include "windlass/convert/config_dtype.h"

#include "gtest/gtest.h"

namespace windlass {
namespace {

TEST(ConfigDTypeTest, FollowsWhereverItStands) {
  const struct {
    const char* before;
    const char* after;
  } kCases[] = {
      {R"({"dtype": "float32"})", R"({"dtype": "bfloat16"})"},
      {R"({"torch_dtype":"torch.float16" , "a": 1})",
       R"({"torch_dtype":"bfloat16" , "a": 1})"},
      {R"({"a": 1, "text_config": {"dtype": "float32"}})",
       R"({"a": 1, "text_config": {"dtype": "bfloat16"}})"},
      {R"({"dtype": "float32", "vision_config": {"torch_dtype": "float32"}})",
       R"({"dtype": "bfloat16", "vision_config": {"torch_dtype": "bfloat16"}})"},
      {R"({"torch_dtype": null})", R"({"torch_dtype": "bfloat16"})"},
      // What is called otherwise, or is no dtype.
      {R"({"dtype": "float32", "mamba_ssm_dtype": "float32", "x": "dtype"})",
       R"({"dtype": "bfloat16", "mamba_ssm_dtype": "float32", "x": "dtype"})"},
      {R"({"dtype": "float32", "x": {"dtype": 3}})",
       R"({"dtype": "bfloat16", "x": {"dtype": 3}})"},
      // Where there is none.
      {"{\n  \"a\": 1\n}\n",
       "{\n  \"torch_dtype\": \"bfloat16\",\n  \"a\": 1\n}\n"},
      {R"({})", R"({"torch_dtype": "bfloat16"})"},
      {R"({"vision_config": {"dtype": "float32"}})",
       R"({"torch_dtype": "bfloat16","vision_config": {"dtype": "bfloat16"}})"},
  };
  for (const auto& [before, after] : kCases) {
    EXPECT_EQ(WithConfigDType(before, DType::kBF16), after);
  }
}

}  // namespace
}  // namespace windlass
