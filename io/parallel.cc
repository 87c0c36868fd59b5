#include "windlass/io/parallel.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "windlass/core/without_exceptions.h"

namespace windlass {

void RunOnThreads(int count, absl::FunctionRef<void()> work) {
  std::vector<std::thread> threads;
  const absl::Cleanup join = [&threads] {
    for (std::thread& thread : threads) thread.join();
  };
  try {
    for (int i = 1; i < count; ++i) threads.emplace_back(work);
  } catch (const std::exception&) {
    // Fewer will do.
  }
  work();
}

absl::Status ParallelFor(int count, absl::FunctionRef<absl::Status(int)> turn) {
  std::atomic<int> next{0};
  std::mutex mutex;
  absl::Status first;
  int first_turn = count;
  auto work = [&] {
    for (int i = next++; i < count; i = next++) {
      absl::Status status = WithoutExceptions([&] { return turn(i); });
      if (status.ok()) continue;
      const std::lock_guard<std::mutex> lock(mutex);
      if (i > first_turn) continue;
      first_turn = i;
      first = std::move(status);
    }
  };
  const int cores = std::thread::hardware_concurrency();
  RunOnThreads(std::min({cores, count, 8}), work);
  return first;
}

}  // namespace windlass
