// Run-time dispatch for the kernels.

#ifndef WINDLASS_CORE_KERNELS_DISPATCH_H_
#define WINDLASS_CORE_KERNELS_DISPATCH_H_

// Before a function's definition: it is compiled for AVX2 and AVX-512 too, and
// the loader takes what the machine has. Fused multiply-adds, which round
// differently, are switched off where this is used (BUILD.bazel). The loader
// asks before a sanitizer is ready, so there it is compiled once. It is never
// inlined (floating_point_mode.h needs that); Clang knows that of clones, and
// does not want to be told. Others than GCC 12 do not know all of AVX-512 by
// one name.
#if !defined(__x86_64__) || !defined(__gnu_linux__) || \
    defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define WINDLASS_DISPATCH __attribute__((noinline))
#elif defined(__clang__)
#define WINDLASS_DISPATCH __attribute__((target_clones("avx2", "default")))
#elif __GNUC__ < 12
#define WINDLASS_DISPATCH \
  __attribute__((noinline, target_clones("avx2", "default")))
#else
#define WINDLASS_DISPATCH \
  __attribute__((noinline, target_clones("arch=x86-64-v4", "avx2", "default")))
#endif

#endif  // WINDLASS_CORE_KERNELS_DISPATCH_H_
