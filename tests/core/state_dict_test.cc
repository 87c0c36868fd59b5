#include "windlass/core/state_dict.h"

#include <random>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/testing/tensors.h"

namespace windlass {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class StateDictTest : public ::testing::Test {
 protected:
  const Tensor tensor_ = MakeTensor<float>(DType::kF32, {1}, {1.0f});
};

TEST_F(StateDictTest, KeepsTheOrderGiven) {
  StateDict dict;
  for (const char* name : {"b", "a", "c"})
    ASSERT_OK(dict.Insert(name, tensor_));
  EXPECT_THAT(Names(dict), ElementsAre("b", "a", "c"));
  EXPECT_EQ(dict.size(), 3u);
}

TEST_F(StateDictTest, FindsByName) {
  StateDict dict;
  ASSERT_OK(dict.Insert("a", tensor_));
  const StateDict moved = std::move(dict);
  ASSERT_NE(moved.Find("a"), nullptr);
  EXPECT_EQ(moved.Find("a")->source(), tensor_.source());
  EXPECT_EQ(moved.Find("b"), nullptr);
  EXPECT_TRUE(moved.Contains("a"));
}

TEST_F(StateDictTest, RefusesANameTwice) {
  StateDict dict;
  ASSERT_OK(dict.Insert("a", tensor_));
  EXPECT_THAT(dict.Insert("a", tensor_),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("\"a\"")));
  EXPECT_EQ(dict.size(), 1u);
}

TEST_F(StateDictTest, BuilderNamesBothOrigins) {
  StateDictBuilder builder;
  ASSERT_OK(builder.Add("new", tensor_, "first"));
  EXPECT_THAT(builder.Add("new", tensor_, "second"),
              StatusIs(absl::StatusCode::kAlreadyExists,
                       AllOf(HasSubstr("\"first\""), HasSubstr("\"second\""),
                             HasSubstr("\"new\""))));
}

}  // namespace
}  // namespace windlass
