// What a conversion does to a model's tensors, for a report: how many keep
// their bytes under another name, how many are computed, and which are dropped.

#ifndef WINDLASS_CORE_CONVERSION_SUMMARY_H_
#define WINDLASS_CORE_CONVERSION_SUMMARY_H_

#include <cstdint>
#include <string>
#include <vector>

#include "windlass/core/dtype.h"
#include "windlass/core/state_dict.h"

namespace windlass {

// How many tensors were cast from one dtype to another.
struct DTypeCast {
  DType from;
  DType to;
  int64_t count;
};

struct ConversionSummary {
  int64_t tensors_in = 0;
  int64_t tensors_out = 0;
  int64_t renamed = 0;   // the same bytes under another name or shape
  int64_t computed = 0;  // cast, transposed, merged...
  // Inputs that no output takes bytes from, in the input's order.
  std::vector<std::string> dropped;
  // Outputs by their dtype and that of the inputs that give their bytes, where
  // the two differ. An output of several (a weight and its scale) counts once,
  // by the first.
  std::vector<DTypeCast> casts;
  int64_t bytes_in = 0;
  int64_t bytes_out = 0;
};

// `out` was made from `in`. Reads no bytes.
ConversionSummary Summarize(const StateDict& in, const StateDict& out);

// What a conversion and its inverse do not give back, for one reason.
struct Loss {
  // "cast", "dequantised", "dropped", "synthesised"; "stored otherwise" for
  // tensors that come back under other names or in other shapes (experts that
  // were stacked).
  std::string reason;
  // 0 where the reason is none of a tensor: why there is no way back at all.
  int64_t count = 0;
  // The first five, in the input's order.
  std::vector<std::string> names;
};

// What is lost or added on the way from `in` to `out` in the other layout and
// to `back` again; empty where all names, dtypes and shapes are the same and
// nothing is rounded in between. `summary` is that of `in` and `out`. Reads no
// bytes.
std::vector<Loss> FindLosses(const StateDict& in, const StateDict& out,
                             const ConversionSummary& summary,
                             const StateDict& back);

// "reversible", or "not reversible: 3 tensors cast ("a", "b", "c")".
std::string DescribeLosses(const std::vector<Loss>& losses);

}  // namespace windlass

#endif  // WINDLASS_CORE_CONVERSION_SUMMARY_H_
