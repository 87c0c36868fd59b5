#include "windlass/core/state_dict.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "windlass/core/status_macros.h"

namespace windlass {

absl::Status StateDict::Insert(std::string name, Tensor tensor) {
  if (index_.contains(name)) {
    return absl::AlreadyExistsError(
        absl::StrCat("tensor \"", name, "\": the name is given twice"));
  }
  tensors_.push_back({std::move(name), std::move(tensor)});
  index_.emplace(tensors_.back().name, &tensors_.back().tensor);
  return absl::OkStatus();
}

const Tensor* StateDict::Find(absl::string_view name) const {
  auto it = index_.find(name);
  return it == index_.end() ? nullptr : it->second;
}

absl::Status StateDictBuilder::Add(std::string name, Tensor tensor,
                                   absl::string_view origin) {
  if (const Tensor* taken = dict_.Find(name)) {
    return absl::AlreadyExistsError(
        absl::StrCat("tensors \"", origins_.at(taken), "\" and \"", origin,
                     "\" would both be named \"", name, "\""));
  }
  WINDLASS_RETURN_IF_ERROR(dict_.Insert(std::move(name), std::move(tensor)));
  origins_.emplace(&(dict_.end() - 1)->tensor, origin);
  return absl::OkStatus();
}

}  // namespace windlass
