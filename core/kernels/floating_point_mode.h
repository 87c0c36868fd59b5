// Results do not depend on how the host process has set up floating point:
// frameworks flush subnormal numbers to zero, for speed.

#ifndef WINDLASS_CORE_KERNELS_FLOATING_POINT_MODE_H_
#define WINDLASS_CORE_KERNELS_FLOATING_POINT_MODE_H_

#ifdef __SSE2__
#include <emmintrin.h>
#else
#include <cfenv>
#endif

namespace windlass {

// While it lives the thread rounds to nearest even and keeps subnormal numbers,
// whatever the mode was; that comes back afterwards. What is computed must
// stand in a function of its own that is not inlined (WINDLASS_DISPATCH):
// compilers do not know that arithmetic depends on the mode.
class DefaultFloatingPointMode {
 public:
#ifdef __SSE2__
  DefaultFloatingPointMode() : saved_(_mm_getcsr()) {
    if (IsOther()) _mm_setcsr(kDefault);
  }
  ~DefaultFloatingPointMode() {
    if (IsOther()) _mm_setcsr(saved_);
  }
#else
  DefaultFloatingPointMode() {
    std::fegetenv(&saved_);
    std::fesetenv(FE_DFL_ENV);
  }
  ~DefaultFloatingPointMode() { std::fesetenv(&saved_); }
#endif
  DefaultFloatingPointMode(const DefaultFloatingPointMode&) = delete;
  DefaultFloatingPointMode& operator=(const DefaultFloatingPointMode&) = delete;

 private:
#ifdef __SSE2__
  // All exceptions masked, to nearest even, no flushing. The low six bits only
  // tell what has happened.
  static constexpr unsigned kDefault = 0x1F80;
  bool IsOther() const { return (saved_ & ~0x3Fu) != kDefault; }

  const unsigned saved_;
#else
  std::fenv_t saved_;
#endif
};

}  // namespace windlass

#endif  // WINDLASS_CORE_KERNELS_FLOATING_POINT_MODE_H_
