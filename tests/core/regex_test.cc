#include "windlass/core/regex.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/testing/status_matchers.h"

namespace windlass {
namespace {

using ::testing::HasSubstr;

TEST(NameFilterTest, AnchorsAsPythonDoes) {
  const struct {
    const char* pattern;
    const char* name;
    bool match;
    bool search;
  } kCases[] = {
      {".*_extra_state.*", "a._extra_state", true, true},
      {"_extra_state", "a._extra_state", false, true},
      {"lm_head", "lm_head.weight", true, true},
      {"lm_head$", "lm_head.weight", false, false},
      {"^b", "a.b", false, false},
      {"x|b", "a.b", false, true},
      {"", "anything", false, false},
  };
  for (const auto& c : kCases) {
    ASSERT_OK_AND_ASSIGN(const NameFilter filter,
                         NameFilter::Create(c.pattern));
    EXPECT_EQ(filter.Matches(c.name), c.match) << c.pattern;
    EXPECT_EQ(filter.With(NameFilter::Anchor::kSearch).Matches(c.name),
              c.search)
        << c.pattern;
  }
}

TEST(NameFilterTest, DefaultMatchesNothing) {
  EXPECT_FALSE(NameFilter().Matches(""));
}

TEST(NameFilterTest, RefusesABadPattern) {
  EXPECT_THAT(NameFilter::Create("(a"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("(a")));
}

}  // namespace
}  // namespace windlass
