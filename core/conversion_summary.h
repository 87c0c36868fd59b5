// What a conversion does to a model's tensors, for a report: how many keep
// their bytes under another name, how many are computed, and which are dropped.

#ifndef WINDLASS_CORE_CONVERSION_SUMMARY_H_
#define WINDLASS_CORE_CONVERSION_SUMMARY_H_

#include <cstdint>
#include <string>
#include <vector>

#include "windlass/core/state_dict.h"

namespace windlass {

struct ConversionSummary {
  int64_t tensors_in = 0;
  int64_t tensors_out = 0;
  int64_t renamed = 0;   // the same bytes under another name or shape
  int64_t computed = 0;  // cast, transposed, merged...
  // Inputs that no output takes bytes from.
  std::vector<std::string> dropped;
  int64_t bytes_in = 0;
  int64_t bytes_out = 0;
};

// `out` was made from `in`. Reads no bytes.
ConversionSummary Summarize(const StateDict& in, const StateDict& out);

}  // namespace windlass

#endif  // WINDLASS_CORE_CONVERSION_SUMMARY_H_
