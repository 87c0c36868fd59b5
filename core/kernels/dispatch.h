// Run-time dispatch for the kernels.

#ifndef WINDLASS_CORE_KERNELS_DISPATCH_H_
#define WINDLASS_CORE_KERNELS_DISPATCH_H_

// Before a function's definition: it is compiled for AVX2 too, and the loader
// takes what the machine has. Not FMA, which rounds differently. The loader
// asks before a sanitizer is ready, so there it is compiled once. It is never
// inlined (floating_point_mode.h needs that); Clang knows that of clones, and
// does not want to be told.
#if defined(__x86_64__) && defined(__gnu_linux__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#ifdef __clang__
#define WINDLASS_DISPATCH __attribute__((target_clones("avx2", "default")))
#else
#define WINDLASS_DISPATCH \
  __attribute__((noinline, target_clones("avx2", "default")))
#endif
#else
#define WINDLASS_DISPATCH __attribute__((noinline))
#endif

#endif  // WINDLASS_CORE_KERNELS_DISPATCH_H_
