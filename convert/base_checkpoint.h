// Another checkpoint of the model that is converted, in the layout that is
// written: the one that it was trained from, as a rule.

#ifndef WINDLASS_CONVERT_BASE_CHECKPOINT_H_
#define WINDLASS_CONVERT_BASE_CHECKPOINT_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "windlass/core/state_dict.h"

namespace windlass {

// `tensors`, and behind them those of `base` whose names are not there, as they
// are; the names of these go to `filled`. InvalidArgument names what is part of
// a quantised model where `tensors` are not.
absl::StatusOr<StateDict> FillFrom(const StateDict& base,
                                   const StateDict& tensors,
                                   std::vector<std::string>* filled);

// `tensors` in the order of their namesakes in `base`; those without one stand
// behind the rest.
absl::StatusOr<StateDict> InOrderOf(const StateDict& base,
                                    const StateDict& tensors);

// What differs in more than an ordinary float's dtype, a line each: a tensor
// that one of the two has alone, another shape, codes where values are.
std::vector<std::string> DifferencesFrom(const StateDict& base,
                                         const StateDict& tensors);

}  // namespace windlass

#endif  // WINDLASS_CONVERT_BASE_CHECKPOINT_H_
