#include "windlass/tests/testing/work.h"

#include <malloc.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <new>

namespace windlass {
namespace {

thread_local Work counted;
thread_local int64_t live = 0;
thread_local bool counting = false;

void* Allocate(std::size_t size, std::size_t alignment) {
  void* const at =
      alignment <= alignof(std::max_align_t)
          ? std::malloc(size)
          : std::aligned_alloc(alignment,
                               (size + alignment - 1) / alignment * alignment);
  if (at == nullptr) throw std::bad_alloc();
  if (counting) {
    ++counted.allocations;
    counted.largest = std::max<int64_t>(counted.largest, size);
    live += malloc_usable_size(at);
    counted.peak = std::max(counted.peak, live);
  }
  return at;
}

void Free(void* at) {
  if (counting && at != nullptr) live -= malloc_usable_size(at);
  std::free(at);
}

int Compare(const void* a, const void* b, std::size_t size) {
  if (counting) ++counted.comparisons;
  const auto* left = static_cast<const unsigned char*>(a);
  const auto* right = static_cast<const unsigned char*>(b);
  for (std::size_t i = 0; i < size; ++i) {
    if (left[i] != right[i]) return left[i] < right[i] ? -1 : 1;
  }
  return 0;
}

}  // namespace

WorkCounter::WorkCounter() {
  counted = Work();
  live = 0;
  counting = true;
}

WorkCounter::~WorkCounter() { counting = false; }

Work WorkCounter::work() const { return counted; }

}  // namespace windlass

extern "C" {

int memcmp(const void* a, const void* b, std::size_t size) {
  return windlass::Compare(a, b, size);
}

int bcmp(const void* a, const void* b, std::size_t size) {
  return windlass::Compare(a, b, size);
}

}  // extern "C"

// All forms: those that the library would send through these are a sanitizer's
// own otherwise.
void* operator new(std::size_t size) { return windlass::Allocate(size, 1); }

void* operator new[](std::size_t size) { return windlass::Allocate(size, 1); }

void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return windlass::Allocate(size, 1);
}

void* operator new[](std::size_t size, const std::nothrow_t&) noexcept {
  return windlass::Allocate(size, 1);
}

void* operator new(std::size_t size, std::align_val_t alignment) {
  return windlass::Allocate(size, static_cast<std::size_t>(alignment));
}

void operator delete(void* at) noexcept { windlass::Free(at); }

void operator delete[](void* at) noexcept { windlass::Free(at); }

void operator delete[](void* at, std::size_t) noexcept { windlass::Free(at); }

void operator delete(void* at, std::size_t) noexcept { windlass::Free(at); }

void operator delete(void* at, std::align_val_t) noexcept {
  windlass::Free(at);
}

void operator delete(void* at, std::size_t, std::align_val_t) noexcept {
  windlass::Free(at);
}
