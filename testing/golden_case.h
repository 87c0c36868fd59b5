// A golden case: a folder with case.json and tensors, which says what the
// reference adapter made of an input (README.md has the format).

#ifndef WINDLASS_TESTING_GOLDEN_CASE_H_
#define WINDLASS_TESTING_GOLDEN_CASE_H_

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace windlass {

// Folders below `root` that hold a case.json, sorted.
std::vector<std::string> FindGoldenCases(const std::string& root);

// OK where Windlass makes of every input exactly what the case expects.
absl::Status RunGoldenCase(const std::string& folder);

}  // namespace windlass

#endif  // WINDLASS_TESTING_GOLDEN_CASE_H_
