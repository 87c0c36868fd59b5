// Every folder below data/ that has a case.json.

#include <string>

#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/testing/golden_case.h"
#include "windlass/testing/status_matchers.h"

namespace windlass {
namespace {

constexpr char kRoot[] = "tests/golden/data";

class GoldenTest : public ::testing::TestWithParam<std::string> {};

TEST_P(GoldenTest, GivesExactlyWhatTheReferenceGave) {
  EXPECT_OK(RunGoldenCase(GetParam()));
}

INSTANTIATE_TEST_SUITE_P(All, GoldenTest,
                         ::testing::ValuesIn(FindGoldenCases(kRoot)),
                         [](const ::testing::TestParamInfo<std::string>& info) {
                           return absl::StrReplaceAll(
                               info.param.substr(sizeof(kRoot)),
                               {{"/", "_"}, {"-", "_"}, {".", "_"}});
                         });

}  // namespace
}  // namespace windlass
