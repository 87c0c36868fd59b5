"""The cc_* rules of this repository.

They add what every target of ours shares: the warnings, and the include prefix
(a header core/tensor.h is included as "windlass/core/tensor.h").
"""

load("@rules_cc//cc:defs.bzl", "cc_binary", "cc_library", "cc_test")

_COPTS = [
    "-Wall",
    "-Wextra",
]

def windlass_cc_library(name, copts = [], **kwargs):
    cc_library(
        name = name,
        copts = _COPTS + copts,
        include_prefix = "windlass",
        strip_include_prefix = "/",
        **kwargs
    )

def windlass_cc_binary(name, copts = [], **kwargs):
    cc_binary(
        name = name,
        copts = _COPTS + copts,
        **kwargs
    )

def windlass_cc_test(name, srcs = None, copts = [], deps = [], size = "small", **kwargs):
    """A GoogleTest; its source is NAME.cc, unless it is told, or [] for a suite's."""
    cc_test(
        name = name,
        size = size,
        srcs = [name + ".cc"] if srcs == None else srcs,
        copts = _COPTS + copts,
        deps = deps + [
            "@googletest//:gtest",
            "@googletest//:gtest_main",
        ],
        **kwargs
    )

def windlass_cc_benchmark(name, srcs = None, copts = [], deps = [], **kwargs):
    """A Google Benchmark; its source is NAME.cc."""
    cc_binary(
        name = name,
        testonly = True,
        srcs = srcs or [name + ".cc"],
        copts = _COPTS + copts,
        deps = deps + [
            "@google_benchmark//:benchmark",
            "@google_benchmark//:benchmark_main",
        ],
        **kwargs
    )
