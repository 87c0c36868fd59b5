"""Windlass's dependencies for repositories that use WORKSPACE.

    load("@windlass//bazel:deps.bzl", "windlass_deps")
    windlass_deps()

For Bazel 6, and 7 without modules. A repository that is already defined keeps its
definition. Modules (bzlmod) get the same dependencies from MODULE.bazel and need
nothing of this file; Debian's Bazel 4 gets them from tools/bazel.
"""

load("@bazel_tools//tools/build_defs/repo:http.bzl", "http_archive")

def _archive(name, **kwargs):
    if not native.existing_rule(name):
        http_archive(name = name, **kwargs)

def windlass_deps():
    """What the library and the tools need."""
    _archive(
        name = "platforms",
        sha256 = "29742e87275809b5e598dc2f04d86960cc7a55b3067d97221c9abbc9926bff0f",
        url = "https://github.com/bazelbuild/platforms/releases/download/0.0.11/platforms-0.0.11.tar.gz",
    )
    _archive(
        name = "bazel_skylib",
        sha256 = "bc283cdfcd526a52c3201279cda4bc298652efa898b10b4db0837dc51652756f",
        url = "https://github.com/bazelbuild/bazel-skylib/releases/download/1.7.1/bazel-skylib-1.7.1.tar.gz",
    )
    _archive(
        name = "rules_cc",
        # Later ones load @com_google_protobuf, which nothing here needs.
        sha256 = "2037875b9a4456dce4a79d112a8ae885bbc4aad968e6587dca6e64f3a0900cdf",
        strip_prefix = "rules_cc-0.0.9",
        url = "https://github.com/bazelbuild/rules_cc/archive/refs/tags/0.0.9.tar.gz",
    )
    _archive(
        # BoringSSL's build files load it.
        name = "rules_license",
        sha256 = "26d4021f6898e23b82ef953078389dd49ac2b5618ac564ade4ef87cced147b38",
        url = "https://github.com/bazelbuild/rules_license/releases/download/1.0.0/rules_license-1.0.0.tar.gz",
    )
    _archive(
        name = "abseil-cpp",
        sha256 = "16242f394245627e508ec6bb296b433c90f8d914f73b9c026fddb905e27276e8",
        strip_prefix = "abseil-cpp-20250127.0",
        url = "https://github.com/abseil/abseil-cpp/releases/download/20250127.0/abseil-cpp-20250127.0.tar.gz",
    )

    # The name by which older repositories know Abseil. Whoever uses both links one
    # of them twice: map one onto the other with repo_mapping.
    _archive(
        name = "com_google_absl",
        sha256 = "16242f394245627e508ec6bb296b433c90f8d914f73b9c026fddb905e27276e8",
        strip_prefix = "abseil-cpp-20250127.0",
        url = "https://github.com/abseil/abseil-cpp/releases/download/20250127.0/abseil-cpp-20250127.0.tar.gz",
    )
    _archive(
        name = "re2",
        sha256 = "a835fe55fbdcd8e80f38584ab22d0840662c67f2feb36bd679402da9641dc71e",
        strip_prefix = "re2-2024-07-02",
        url = "https://github.com/google/re2/releases/download/2024-07-02/re2-2024-07-02.zip",
    )
    _archive(
        name = "nlohmann_json",
        build_file = "@windlass//third_party:nlohmann_json.BUILD.bazel",
        sha256 = "a22461d13119ac5c78f205d3df1db13403e58ce1bb1794edc9313677313f4a9d",
        url = "https://github.com/nlohmann/json/releases/download/v3.11.3/include.zip",
    )
    _archive(
        name = "simdjson",
        build_file = "@windlass//third_party:simdjson.BUILD.bazel",
        sha256 = "dfc032b7f3dd86991a67b920eb77b65987e11e01fa2e5a7baa9d9384326bd128",
        url = "https://github.com/simdjson/simdjson/releases/download/v3.13.0/singleheader.zip",
    )
    _archive(
        name = "xxhash",
        build_file = "@windlass//third_party:xxhash.BUILD.bazel",
        sha256 = "aae608dfe8213dfd05d909a57718ef82f30722c392344583d3f39050c7f29a80",
        strip_prefix = "xxHash-0.8.3",
        url = "https://github.com/Cyan4973/xxHash/archive/refs/tags/v0.8.3.tar.gz",
    )
    _archive(
        name = "zlib",
        build_file = "@windlass//third_party:zlib.BUILD.bazel",
        sha256 = "9a93b2b7dfdac77ceba5a558a580e74667dd6fede4585b91eefb60f03b72df23",
        strip_prefix = "zlib-1.3.1",
        url = "https://github.com/madler/zlib/releases/download/v1.3.1/zlib-1.3.1.tar.gz",
    )
    _archive(
        name = "cli11",
        build_file = "@windlass//third_party:cli11.BUILD.bazel",
        sha256 = "f2d893a65c3b1324c50d4e682c0cdc021dd0477ae2c048544f39eed6654b699a",
        strip_prefix = "CLI11-2.4.2",
        url = "https://github.com/CLIUtils/CLI11/archive/refs/tags/v2.4.2.tar.gz",
    )
    _archive(
        name = "boringssl",
        sha256 = "ef73e453c2f60f37a8f1d30e0458da76ed6695f44768fb20067624205b076df6",
        strip_prefix = "boringssl-0.20250311.0",
        url = "https://github.com/google/boringssl/releases/download/0.20250311.0/boringssl-0.20250311.0.tar.gz",
    )

def windlass_test_deps():
    """What @windlass//testing needs besides."""
    _archive(
        name = "googletest",
        sha256 = "7b42b4d6ed48810c5362c265a17faebe90dc2373c885e5216439d37927f02926",
        strip_prefix = "googletest-1.15.2",
        url = "https://github.com/google/googletest/releases/download/v1.15.2/googletest-1.15.2.tar.gz",
    )

def windlass_dev_deps():
    """What only Windlass's own tests and benchmarks need."""
    windlass_test_deps()
    _archive(
        name = "google_benchmark",
        sha256 = "32131c08ee31eeff2c8968d7e874f3cb648034377dfc32a4c377fa8796d84981",
        strip_prefix = "benchmark-1.9.1",
        url = "https://github.com/google/benchmark/archive/refs/tags/v1.9.1.tar.gz",
    )
