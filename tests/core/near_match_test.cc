#include "windlass/core/near_match.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace windlass {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(NearMatchTest, FindsTypingErrorsNearestFirst) {
  const std::vector<std::string> known = {"--adapter", "--adapter_options",
                                          "--threads", "--to"};
  EXPECT_THAT(NearMatches("--adaptor", known), ElementsAre("--adapter"));
  EXPECT_THAT(NearMatches("--THREAD", known), ElementsAre("--threads"));
  EXPECT_THAT(NearMatches("--nothing_like_it", known), IsEmpty());
}

TEST(NearMatchTest, AsksInOneSentence) {
  EXPECT_EQ(DidYouMean("abd", {"abc", "abe"}), "; did you mean abc or abe?");
  EXPECT_EQ(DidYouMean("completely", {"different"}), "");
}

}  // namespace
}  // namespace windlass
