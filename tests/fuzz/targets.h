// What fuzzers feed with bytes that anybody may have written. Each target reads
// them as one format and then all that came of it; it returns whatever the
// bytes are, and whoever watches (sanitizers, a limit of memory) says what is
// wrong.

#ifndef WINDLASS_TESTS_FUZZ_TARGETS_H_
#define WINDLASS_TESTS_FUZZ_TARGETS_H_

#include <string>

namespace windlass {

void FuzzPickle(std::string bytes);
void FuzzZip(std::string bytes);
// Zip and legacy.
void FuzzTorch(std::string bytes);
void FuzzDcpMetadata(std::string bytes);

}  // namespace windlass

#endif  // WINDLASS_TESTS_FUZZ_TARGETS_H_
