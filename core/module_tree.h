// What a model's tensors amount to, module by module: names are paths, whose
// segments stand between dots.

#ifndef WINDLASS_CORE_MODULE_TREE_H_
#define WINDLASS_CORE_MODULE_TREE_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "windlass/core/dtype.h"
#include "windlass/core/tensor.h"

namespace windlass {

struct TensorTotals {
  int64_t tensors = 0;
  int64_t elements = 0;
  int64_t bytes = 0;

  void Add(const Tensor& tensor);
  bool operator==(const TensorTotals& other) const {
    return tensors == other.tensors && elements == other.elements &&
           bytes == other.bytes;
  }
};

struct Module {
  std::string name;  // one segment; empty for the root
  TensorTotals totals;
  std::array<TensorTotals, kDTypeCount> by_dtype;
  std::vector<Module> children;  // numbers by their value, before names

  // Whether both hold the same, by whatever name.
  bool IsLike(const Module& other) const;
};

struct TensorByName {
  absl::string_view name;
  const Tensor* tensor = nullptr;
};

// The modules down to `depth` segments below the root. A tensor's last segment
// is its own name, not a module's.
Module BuildModuleTree(absl::Span<const TensorByName> tensors, int depth);

// "layers.2" before "layers.10": digits are compared as numbers. For sorting.
bool NaturalLess(absl::string_view a, absl::string_view b);

}  // namespace windlass

#endif  // WINDLASS_CORE_MODULE_TREE_H_
