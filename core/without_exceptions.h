// No exception leaves the library: what the standard library throws, for want
// of memory above all, becomes a status at the doors and at the start of every
// thread.

#ifndef WINDLASS_CORE_WITHOUT_EXCEPTIONS_H_
#define WINDLASS_CORE_WITHOUT_EXCEPTIONS_H_

#include <exception>
#include <new>

#include "absl/status/status.h"

namespace windlass {

// What `work` returns, an absl::Status or absl::StatusOr; ResourceExhausted
// where memory ran out, Internal for any other exception.
template <typename Work>
auto WithoutExceptions(const Work& work) -> decltype(work()) {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("out of memory");
  } catch (const std::exception& error) {
    return absl::InternalError(error.what());
  }
}

}  // namespace windlass

#endif  // WINDLASS_CORE_WITHOUT_EXCEPTIONS_H_
