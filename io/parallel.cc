#include "windlass/io/parallel.h"

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

namespace windlass {

void ParallelFor(int count, absl::FunctionRef<void(int)> turn) {
  std::atomic<int> next{0};
  auto work = [&] {
    for (int i = next++; i < count; i = next++) turn(i);
  };
  const int cores = std::thread::hardware_concurrency();
  std::vector<std::thread> threads;
  for (int i = 1; i < std::min({cores, count, 8}); ++i) {
    threads.emplace_back(work);
  }
  work();
  for (std::thread& thread : threads) thread.join();
}

}  // namespace windlass
