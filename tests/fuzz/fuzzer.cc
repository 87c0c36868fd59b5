// libFuzzer's door to the target that FUZZ_TARGET names; without one, or with
// an unknown one, prints the names of all.

#include <sanitizer/allocator_interface.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "windlass/tests/fuzz/targets.h"

namespace {

const windlass::FuzzTarget* target = nullptr;

// Bytes that were allocated since the input came, and the most that were.
std::atomic<int64_t> live{0};
std::atomic<int64_t> peak{0};

void CountMalloc(const volatile void*, std::size_t size) {
  const int64_t now = live += static_cast<int64_t>(size);
  int64_t most = peak;
  while (now > most && !peak.compare_exchange_weak(most, now)) {
  }
}

void CountFree(const volatile void* at) {
  if (at == nullptr) return;
  live -= static_cast<int64_t>(
      __sanitizer_get_allocated_size(const_cast<const void*>(at)));
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  const char* const wanted = std::getenv("FUZZ_TARGET");
  for (const windlass::FuzzTarget& known : windlass::FuzzTargets()) {
    if (wanted != nullptr && std::string(wanted) == known.name) {
      target = &known;
    }
  }
  if (target == nullptr) {
    for (const windlass::FuzzTarget& known : windlass::FuzzTargets()) {
      std::printf("%s\n", known.name);
    }
    std::exit(wanted == nullptr ? 0 : 2);
  }
  __sanitizer_install_malloc_and_free_hooks(CountMalloc, CountFree);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  live = 0;
  peak = 0;
  target->run(std::string(reinterpret_cast<const char*>(data), size));
  if (peak > windlass::MostFuzzMemory(size)) {
    std::fprintf(stderr, "%lld bytes of memory for %zu bytes\n",
                 static_cast<long long>(peak), size);
    std::abort();
  }
  return 0;
}
