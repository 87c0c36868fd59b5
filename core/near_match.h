// "Did you mean ...?"

#ifndef WINDLASS_CORE_NEAR_MATCH_H_
#define WINDLASS_CORE_NEAR_MATCH_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace windlass {

// The candidates that are near to `name`, nearest first, three at most: those
// that a few typing errors explain.
std::vector<std::string> NearMatches(absl::string_view name,
                                     absl::Span<const std::string> candidates);

// "; did you mean X or Y?", or empty where nothing is near.
std::string DidYouMean(absl::string_view name,
                       absl::Span<const std::string> candidates);

}  // namespace windlass

#endif  // WINDLASS_CORE_NEAR_MATCH_H_
