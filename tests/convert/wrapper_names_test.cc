#include "windlass/convert/wrapper_names.h"

#include <random>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/testing/tensors.h"

namespace windlass {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

StateDict Named(const std::vector<std::string>& names) {
  std::mt19937 random(1);
  StateDict dict;
  for (const std::string& name : names) {
    dict.Insert(name, RandomTensor(DType::kBF16, {2}, &random)).IgnoreError();
  }
  return dict;
}

TEST(WrapperNamesTest, StripsWholeSegments) {
  const struct {
    const char* name;
    const char* stripped;
  } kCases[] = {
      {"_orig_mod.model.norm.weight", "model.norm.weight"},
      {"module.model.norm.weight", "model.norm.weight"},
      {"module._orig_mod.model.norm.weight", "model.norm.weight"},
      {"_orig_mod.module.model.norm.weight", "model.norm.weight"},
      {"model.layers.0._checkpoint_wrapped_module._orig_mod.mlp.weight",
       "model.layers.0.mlp.weight"},
      {"_fsdp_wrapped_module.model._fsdp_wrapped_module.x", "model.x"},
      {"model.module.x", "model.module.x"},
      {"model.my_orig_mod.x", "model.my_orig_mod.x"},
      {"model._orig_mod", "model._orig_mod"},
      {"modules.x", "modules.x"},
      {"x", "x"},
  };
  for (const auto& test : kCases) {
    ASSERT_OK_AND_ASSIGN(
        const StateDict stripped,
        StripWrapperNames(Named({test.name, "_orig_mod.other"}), {}));
    EXPECT_THAT(Names(stripped), ElementsAre(test.stripped, "other"));
  }
}

TEST(WrapperNamesTest, HasNothingToDoWhereNothingIsWrapped) {
  ASSERT_OK_AND_ASSIGN(const StateDict stripped,
                       StripWrapperNames(Named({"model.x", "y"}), {}));
  EXPECT_TRUE(stripped.empty());
  WrapperNames keep;
  keep.keep = true;
  ASSERT_OK_AND_ASSIGN(const StateDict kept,
                       StripWrapperNames(Named({"_orig_mod.x"}), keep));
  EXPECT_TRUE(kept.empty());
}

TEST(WrapperNamesTest, StripsPrefixesThatAreAskedFor) {
  WrapperNames names;
  names.prefixes = {"actor", "policy.model."};
  ASSERT_OK_AND_ASSIGN(
      const StateDict stripped,
      StripWrapperNames(Named({"_orig_mod.actor.policy.model.x", "actors.y",
                               "policy.model.z"}),
                        names));
  EXPECT_THAT(Names(stripped), ElementsAre("x", "actors.y", "z"));
  names.prefixes = {"actor", "critic"};
  EXPECT_THAT(StripWrapperNames(Named({"actor.x"}), names),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("whose name starts with \"critic.\"")));
}

TEST(WrapperNamesTest, RefusesTwoTensorsThatBecomeOne) {
  EXPECT_THAT(StripWrapperNames(Named({"x", "_orig_mod.x"}), {}),
              StatusIs(absl::StatusCode::kAlreadyExists,
                       HasSubstr("\"x\" and \"_orig_mod.x\" would both")));
}

}  // namespace
}  // namespace windlass
