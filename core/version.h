// The release that this is; MODULE.bazel says the same.

#ifndef WINDLASS_CORE_VERSION_H_
#define WINDLASS_CORE_VERSION_H_

namespace windlass {

inline constexpr char kVersion[] = "0.1.0";

}  // namespace windlass

#endif  // WINDLASS_CORE_VERSION_H_
