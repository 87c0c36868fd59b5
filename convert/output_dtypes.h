// Which dtypes tensors are written in.

#ifndef WINDLASS_CONVERT_OUTPUT_DTYPES_H_
#define WINDLASS_CONVERT_OUTPUT_DTYPES_H_

#include <optional>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "windlass/core/dtype.h"
#include "windlass/core/state_dict.h"

namespace windlass {

// Whether numbers of the dtype are values, and not codes that need a scale:
// floats of more than eight bits.
bool IsValue(DType dtype);

// The first word that counts is `asked`, then `like`, then `published`. Values
// alone are cast, and to dtypes of values.
struct OutputDTypes {
  // What all values are cast to...
  std::optional<DType> asked;
  // ...but for these, which an adapter forces, and for those that were
  // published in F32, which the reference keeps so, too.
  absl::flat_hash_map<std::string, DType> forced;
  // Another checkpoint; null for none.
  const StateDict* like = nullptr;
  absl::flat_hash_map<std::string, DType> published;
  // These are cast where it is asked for, and stay as they are otherwise.
  absl::flat_hash_set<absl::string_view> as_they_are;

  bool empty() const {
    return !asked.has_value() && like == nullptr && published.empty();
  }
};

// Errors are Cast's, by the tensor's name.
absl::StatusOr<StateDict> CastTensors(const StateDict& tensors,
                                      const OutputDTypes& dtypes);

// A tensor that is in codes that need a config's word to be read; null for
// none.
const NamedTensor* FindPacked(const StateDict& tensors);

// A tensor that is in codes, or tells how to read some, by what stands beside
// it: floats there may be scales. Null for none; floats of eight bits that have
// no scale are values of few digits.
const NamedTensor* FindCodes(const StateDict& tensors);

}  // namespace windlass

#endif  // WINDLASS_CONVERT_OUTPUT_DTYPES_H_
