// The door by which libFuzzer feeds a target; WINDLASS_FUZZ_TARGET is its name.

#include <cstddef>
#include <cstdint>
#include <string>

#include "windlass/tests/fuzz/targets.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  windlass::WINDLASS_FUZZ_TARGET(
      std::string(reinterpret_cast<const char*>(data), size));
  return 0;
}
