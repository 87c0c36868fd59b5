#include "windlass/adapters/common/expert_members.h"

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"

namespace windlass {

absl::Status ExpertMembers::Sort() {
  const auto before = [](const Member& a, const Member& b) {
    return a.expert < b.expert;
  };
  if (!absl::c_is_sorted(members_, before)) {
    absl::c_stable_sort(members_, before);
  }
  const auto twice = absl::c_adjacent_find(
      members_,
      [](const Member& a, const Member& b) { return a.expert == b.expert; });
  if (twice == members_.end()) return absl::OkStatus();
  return absl::AlreadyExistsError(
      absl::StrCat("tensors \"", twice[0].name, "\" and \"", twice[1].name,
                   "\" would both be expert ", twice->expert));
}

std::vector<int64_t> ExpertMembers::Missing(int64_t begin, int64_t end,
                                            size_t limit) const {
  std::vector<int64_t> missing;
  auto next = members_.begin();
  for (int64_t expert = begin; expert < end && missing.size() < limit;
       ++expert) {
    if (next != members_.end() && next->expert == expert) {
      ++next;
    } else {
      missing.push_back(expert);
    }
  }
  return missing;
}

std::vector<Tensor> ExpertMembers::Tensors() const {
  std::vector<Tensor> tensors;
  tensors.reserve(members_.size());
  for (const Member& member : members_) tensors.push_back(member.tensor);
  return tensors;
}

}  // namespace windlass
