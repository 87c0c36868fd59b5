// StateDict: a model's tensors by name, in the order they were given.
//
//   StateDict dict;
//   absl::Status s = dict.Insert("lm_head.weight", tensor);
//   for (const auto& [name, tensor] : dict) ...
//
// The reference's name for the thing: state_dict, a Python dict of
// torch.Tensor. Unlike there, a name that comes twice is an error.

#ifndef WINDLASS_CORE_STATE_DICT_H_
#define WINDLASS_CORE_STATE_DICT_H_

#include <cstddef>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/hash/hash.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "windlass/core/tensor.h"

namespace windlass {

// A tensor with its fully qualified name (FQN).
struct NamedTensor {
  std::string name;
  Tensor tensor;
};

// Compatible with threads: const access from several is safe.
class StateDict {
 public:
  using const_iterator = std::deque<NamedTensor>::const_iterator;

  StateDict() = default;
  StateDict(StateDict&&) = default;
  StateDict& operator=(StateDict&&) = default;
  StateDict(const StateDict&) = delete;
  StateDict& operator=(const StateDict&) = delete;

  // Makes room for that many tensors in all.
  void Reserve(size_t count) { index_.reserve(count); }

  // Appends. AlreadyExists where the name is taken; nothing changes then.
  absl::Status Insert(std::string name, Tensor tensor);

  // The same tensors again; a dict does not copy itself by accident.
  StateDict Copy() const;

  // The tensor of that name, or null. Valid as long as this dict is.
  const Tensor* Find(absl::string_view name) const;
  bool Contains(absl::string_view name) const { return Find(name) != nullptr; }

  size_t size() const { return tensors_.size(); }
  bool empty() const { return tensors_.empty(); }

  // In insertion order.
  const_iterator begin() const { return tensors_.begin(); }
  const_iterator end() const { return tensors_.end(); }

 private:
  struct HashName {
    using is_transparent = void;
    size_t operator()(absl::string_view name) const {
      return absl::Hash<absl::string_view>()(name);
    }
    size_t operator()(const NamedTensor* named) const {
      return (*this)(named->name);
    }
  };
  struct EqualName {
    using is_transparent = void;
    static absl::string_view Name(absl::string_view name) { return name; }
    static absl::string_view Name(const NamedTensor* named) {
      return named->name;
    }
    template <typename A, typename B>
    bool operator()(const A& a, const B& b) const {
      return Name(a) == Name(b);
    }
  };

  std::deque<NamedTensor> tensors_;
  // Elements of tensors_, which never move.
  absl::flat_hash_set<const NamedTensor*, HashName, EqualName> index_;
};

// Collects tensors under new names, and remembers which name each comes from,
// so that two that would end as one are refused by both names.
class StateDictBuilder {
 public:
  // Makes room for that many tensors in all.
  void Reserve(size_t count) {
    dict_.Reserve(count);
    origins_.reserve(count);
  }

  // AlreadyExists where `name` is taken. `origin` must outlive the builder; it
  // is the tensor's name in the input.
  absl::Status Add(std::string name, Tensor tensor, absl::string_view origin);

  StateDict Build() && { return std::move(dict_); }

 private:
  StateDict dict_;
  std::vector<absl::string_view> origins_;  // in dict_'s order
};

}  // namespace windlass

#endif  // WINDLASS_CORE_STATE_DICT_H_
