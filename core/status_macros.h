// Early return on error, for functions that return absl::Status or StatusOr.
//
//   WINDLASS_RETURN_IF_ERROR(file.Sync());
//   WINDLASS_ASSIGN_OR_RETURN(int64_t bytes, ByteSize(dtype, shape));

#ifndef WINDLASS_CORE_STATUS_MACROS_H_
#define WINDLASS_CORE_STATUS_MACROS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

#define WINDLASS_RETURN_IF_ERROR(expression)           \
  do {                                                 \
    absl::Status windlass_status = (expression);       \
    if (!windlass_status.ok()) return windlass_status; \
  } while (false)

#define WINDLASS_CONCAT_INNER(a, b) a##b
#define WINDLASS_CONCAT(a, b) WINDLASS_CONCAT_INNER(a, b)

#define WINDLASS_ASSIGN_OR_RETURN(left, expression)            \
  auto WINDLASS_CONCAT(windlass_or_, __LINE__) = (expression); \
  if (!WINDLASS_CONCAT(windlass_or_, __LINE__).ok()) {         \
    return WINDLASS_CONCAT(windlass_or_, __LINE__).status();   \
  }                                                            \
  left = *std::move(WINDLASS_CONCAT(windlass_or_, __LINE__))

namespace windlass {

// The same error with `where`, its parts one after the other, put before its
// message: "where: what". Costs nothing where the status is OK.
template <typename... Where>
absl::Status Annotate(const absl::Status& status, const Where&... where) {
  if (status.ok()) return status;
  return absl::Status(status.code(),
                      absl::StrCat(where..., ": ", status.message()));
}

}  // namespace windlass

#endif  // WINDLASS_CORE_STATUS_MACROS_H_
