#include "windlass/core/module_tree.h"

#include <algorithm>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/core/dtype.h"
#include "windlass/core/tensor.h"

namespace windlass {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

const Tensor& Bf16() {
  static const auto* const tensor = new Tensor(
      Tensor::FromBytes(DType::kBF16, {2, 3}, std::string(12, '\0')).value());
  return *tensor;
}
const Tensor& F32() {
  static const auto* const tensor = new Tensor(
      Tensor::FromBytes(DType::kF32, {5}, std::string(20, '\0')).value());
  return *tensor;
}

std::vector<std::string> NamesOf(const std::vector<Module>& modules) {
  std::vector<std::string> names;
  for (const Module& module : modules) names.push_back(module.name);
  return names;
}

TEST(ModuleTreeTest, AddsUpWhatLiesBelow) {
  const std::vector<TensorByName> tensors = {
      {"model.layers.0.a.weight", &Bf16()},
      {"model.layers.1.a.weight", &F32()},
      {"model.norm", &F32()},
      {"scale", &Bf16()},
  };
  const Module root = BuildModuleTree(tensors, 2);
  EXPECT_EQ(root.totals.tensors, 4);
  EXPECT_EQ(root.totals.elements, 22);
  EXPECT_EQ(root.totals.bytes, 64);
  EXPECT_EQ(root.by_dtype[static_cast<int>(DType::kF32)].bytes, 40);
  EXPECT_EQ(root.by_dtype[static_cast<int>(DType::kF16)].tensors, 0);
  // "scale" is a tensor of the root's own, "norm" one of model's.
  ASSERT_THAT(NamesOf(root.children), ElementsAre("model"));
  const Module& model = root.children[0];
  EXPECT_EQ(model.totals.tensors, 3);
  ASSERT_THAT(NamesOf(model.children), ElementsAre("layers"));
  EXPECT_EQ(model.children[0].totals.bytes, 32);
  EXPECT_THAT(model.children[0].children, IsEmpty());
  EXPECT_THAT(BuildModuleTree(tensors, 0).children, IsEmpty());
  EXPECT_EQ(BuildModuleTree({}, 3).totals.tensors, 0);
}

TEST(ModuleTreeTest, NumbersStandInTheirOrder) {
  const std::vector<TensorByName> tensors = {
      {"l.10.w", &F32()},
      {"l.9.w", &F32()},
      {"l.x.w", &F32()},
      {"l.0.w", &F32()},
  };
  EXPECT_THAT(NamesOf(BuildModuleTree(tensors, 2).children[0].children),
              ElementsAre("0", "9", "10", "x"));
}

TEST(ModuleTreeTest, ModulesAreAlikeByWhatTheyHold) {
  const std::vector<TensorByName> tensors = {
      {"0.a.w", &F32()},  {"1.a.w", &F32()}, {"2.b.w", &F32()},
      {"3.a.w", &Bf16()}, {"4.a.w", &F32()}, {"4.a.v", &F32()},
  };
  const std::vector<Module> modules = BuildModuleTree(tensors, 2).children;
  ASSERT_EQ(modules.size(), 5u);
  EXPECT_TRUE(modules[0].IsLike(modules[1]));
  EXPECT_FALSE(modules[0].IsLike(modules[2]));  // another name below
  EXPECT_FALSE(modules[0].IsLike(modules[3]));  // another dtype
  EXPECT_FALSE(modules[0].IsLike(modules[4]));  // more
}

TEST(ModuleTreeTest, NamesAreSortedByTheirNumbers) {
  std::vector<std::string> names = {"l.10.b", "l.2.b", "l.2.a",  "l.02.a",
                                    "l",      "a.1",   "l.2.a1", "m"};
  std::sort(names.begin(), names.end(),
            [](const std::string& a, const std::string& b) {
              return NaturalLess(a, b);
            });
  EXPECT_THAT(names, ElementsAre("a.1", "l", "l.02.a", "l.2.a", "l.2.a1",
                                 "l.2.b", "l.10.b", "m"));
}

}  // namespace
}  // namespace windlass
