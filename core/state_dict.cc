#include "windlass/core/state_dict.h"

#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"

namespace windlass {

absl::Status StateDict::Insert(std::string name, Tensor tensor) {
  tensors_.push_back({std::move(name), std::move(tensor)});
  const NamedTensor& added = tensors_.back();
  if (index_.insert(&added).second) return absl::OkStatus();
  absl::Status taken = absl::AlreadyExistsError(
      absl::StrCat("tensor \"", added.name, "\": the name is given twice"));
  tensors_.pop_back();
  return taken;
}

StateDict StateDict::Copy() const {
  StateDict copy;
  copy.Reserve(size());
  // No name comes twice.
  for (const auto& [name, tensor] : *this) {
    copy.Insert(name, tensor).IgnoreError();
  }
  return copy;
}

const Tensor* StateDict::Find(absl::string_view name) const {
  auto it = index_.find(name);
  return it == index_.end() ? nullptr : &(*it)->tensor;
}

absl::Status StateDictBuilder::Add(std::string name, Tensor tensor,
                                   absl::string_view origin) {
  if (const Tensor* taken = dict_.Find(name)) {
    const auto it = absl::c_find_if(dict_, [taken](const NamedTensor& named) {
      return &named.tensor == taken;
    });
    return absl::AlreadyExistsError(
        absl::StrCat("tensors \"", origins_[it - dict_.begin()], "\" and \"",
                     origin, "\" would both be named \"", name, "\""));
  }
  origins_.push_back(origin);
  return dict_.Insert(std::move(name), std::move(tensor));
}

}  // namespace windlass
