// Counts work where time would say nothing: a program that links this counts
// every allocation and every comparison of bytes that it makes.
//
//   WorkCounter counter;
//   ParseSomething(...);
//   EXPECT_LT(counter.work().compared, ...);

#ifndef WINDLASS_TESTS_TESTING_WORK_H_
#define WINDLASS_TESTS_TESTING_WORK_H_

#include <cstdint>

namespace windlass {

struct Work {
  int64_t comparisons = 0;  // calls of memcmp and bcmp
  int64_t allocations = 0;  // calls of operator new
  int64_t largest = 0;      // bytes of the largest of them
  int64_t peak = 0;         // bytes allocated at a time, beyond those before
};

// What this thread does from its construction on. One at a time.
class WorkCounter {
 public:
  WorkCounter();
  ~WorkCounter();
  WorkCounter(const WorkCounter&) = delete;
  WorkCounter& operator=(const WorkCounter&) = delete;

  Work work() const;
};

}  // namespace windlass

#endif  // WINDLASS_TESTS_TESTING_WORK_H_
