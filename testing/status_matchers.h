// Matchers for absl::Status and absl::StatusOr, which Abseil itself has only
// since 2023.

#ifndef WINDLASS_TESTING_STATUS_MATCHERS_H_
#define WINDLASS_TESTING_STATUS_MATCHERS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace windlass {

inline const absl::Status& StatusOf(const absl::Status& status) {
  return status;
}
template <typename T>
const absl::Status& StatusOf(const absl::StatusOr<T>& result) {
  return result.status();
}

MATCHER(IsOk, "is OK") {
  *result_listener << StatusOf(arg).ToString();
  return StatusOf(arg).ok();
}

// The code, and a matcher for the message: StatusIs(code, HasSubstr("x")).
MATCHER_P2(StatusIs, code, message, "") {
  *result_listener << StatusOf(arg).ToString();
  return StatusOf(arg).code() == code &&
         ::testing::ExplainMatchResult(
             message, std::string(StatusOf(arg).message()), result_listener);
}

// An OK StatusOr whose value matches.
MATCHER_P(IsOkAndHolds, value, "") {
  *result_listener << arg.status().ToString();
  return arg.ok() &&
         ::testing::ExplainMatchResult(value, *arg, result_listener);
}

}  // namespace windlass

#define ASSERT_OK(expression) ASSERT_THAT(expression, ::windlass::IsOk())
#define EXPECT_OK(expression) EXPECT_THAT(expression, ::windlass::IsOk())

#define WINDLASS_TEST_CONCAT_INNER(a, b) a##b
#define WINDLASS_TEST_CONCAT(a, b) WINDLASS_TEST_CONCAT_INNER(a, b)

// ASSERT_OK_AND_ASSIGN(Tensor t, Cast(...));
#define ASSERT_OK_AND_ASSIGN(left, expression)             \
  auto WINDLASS_TEST_CONCAT(or_, __LINE__) = (expression); \
  ASSERT_OK(WINDLASS_TEST_CONCAT(or_, __LINE__));          \
  left = *std::move(WINDLASS_TEST_CONCAT(or_, __LINE__))

#endif  // WINDLASS_TESTING_STATUS_MATCHERS_H_
