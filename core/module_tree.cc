#include "windlass/core/module_tree.h"

#include <algorithm>
#include <cstddef>
#include <memory>

#include "absl/algorithm/container.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/ascii.h"

namespace windlass {
namespace {

// A module while tensors are being added to it.
struct Node {
  Module module;
  absl::flat_hash_map<absl::string_view, std::unique_ptr<Node>> children;

  void Add(const Tensor& tensor) {
    module.totals.Add(tensor);
    module.by_dtype[static_cast<int>(tensor.dtype())].Add(tensor);
  }

  Module Finish() && {
    for (auto& [name, child] : children) {
      module.children.push_back(std::move(*child).Finish());
    }
    absl::c_sort(module.children, [](const Module& a, const Module& b) {
      return NaturalLess(a.name, b.name);
    });
    return std::move(module);
  }
};

// The number that `text` starts with, without leading zeros, which is taken
// off.
absl::string_view TakeNumber(absl::string_view* text) {
  size_t end = 0;
  while (end < text->size() && absl::ascii_isdigit((*text)[end])) ++end;
  absl::string_view number = text->substr(0, end);
  text->remove_prefix(end);
  while (number.size() > 1 && number[0] == '0') number.remove_prefix(1);
  return number;
}

bool StartsWithDigit(absl::string_view text) {
  return !text.empty() && absl::ascii_isdigit(text[0]);
}

}  // namespace

void TensorTotals::Add(const Tensor& tensor) {
  ++tensors;
  elements += ElementCount(tensor.shape()).value();
  bytes += tensor.bytes();
}

bool Module::IsLike(const Module& other) const {
  return totals == other.totals && by_dtype == other.by_dtype &&
         absl::c_equal(children, other.children,
                       [](const Module& a, const Module& b) {
                         return a.name == b.name && a.IsLike(b);
                       });
}

Module BuildModuleTree(absl::Span<const TensorByName> tensors, int depth) {
  Node root;
  for (const auto& [name, tensor] : tensors) {
    Node* node = &root;
    node->Add(*tensor);
    absl::string_view rest = name;
    for (int level = 0; level < depth; ++level) {
      const size_t dot = rest.find('.');
      if (dot == rest.npos) break;
      const absl::string_view segment = rest.substr(0, dot);
      rest.remove_prefix(dot + 1);
      std::unique_ptr<Node>& child = node->children[segment];
      if (child == nullptr) {
        child = std::make_unique<Node>();
        child->module.name = std::string(segment);
      }
      node = child.get();
      node->Add(*tensor);
    }
  }
  return std::move(root).Finish();
}

bool NaturalLess(absl::string_view a, absl::string_view b) {
  const absl::string_view whole_a = a, whole_b = b;
  while (!a.empty() && !b.empty()) {
    if (StartsWithDigit(a) && StartsWithDigit(b)) {
      const absl::string_view x = TakeNumber(&a), y = TakeNumber(&b);
      if (x.size() != y.size()) return x.size() < y.size();
      if (x != y) return x < y;
      continue;
    }
    if (a[0] != b[0]) return a[0] < b[0];
    a.remove_prefix(1);
    b.remove_prefix(1);
  }
  if (a.empty() != b.empty()) return a.empty();
  return whole_a < whole_b;
}

}  // namespace windlass
