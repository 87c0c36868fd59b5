// What fuzzers feed with bytes that anybody may have written. Each target reads
// them as one format and then all that came of it; it returns whatever the
// bytes are. What was accepted must agree with itself: sizes add up, and what
// is written of it is read as the same. A target that finds otherwise ends the
// program; for all else there are sanitizers and a limit of memory.

#ifndef WINDLASS_TESTS_FUZZ_TARGETS_H_
#define WINDLASS_TESTS_FUZZ_TARGETS_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/types/span.h"

namespace windlass {

struct FuzzTarget {
  const char* name;
  void (*run)(std::string bytes);
};

absl::Span<const FuzzTarget> FuzzTargets();

// The most memory that a target may have at a time for so many bytes: what a
// file takes is bounded by its size, not by the numbers in it. Objects of a
// pickle take the most, some hundred bytes for two.
constexpr int64_t MostFuzzMemory(size_t bytes) {
  return (int64_t{4} << 20) + 256 * static_cast<int64_t>(bytes);
}

}  // namespace windlass

#endif  // WINDLASS_TESTS_FUZZ_TARGETS_H_
