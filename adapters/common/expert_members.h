// One projection's matrices, an expert each, as they arrive.

#ifndef WINDLASS_ADAPTERS_COMMON_EXPERT_MEMBERS_H_
#define WINDLASS_ADAPTERS_COMMON_EXPERT_MEMBERS_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "windlass/core/tensor.h"

namespace windlass {

// Takes as much memory as what was added: how many experts config.json
// announces reserves nothing. Not thread-safe.
class ExpertMembers {
 public:
  // `name` outlives this object; it is for messages.
  void Add(int64_t expert, absl::string_view name, Tensor tensor) {
    members_.push_back({expert, name, std::move(tensor)});
  }

  int64_t size() const { return static_cast<int64_t>(members_.size()); }

  // Puts the experts in order. AlreadyExists names both tensors where two
  // names ("experts.1." and "experts.01.") mean one expert.
  absl::Status Sort();

  // Of the experts [begin, end), the first `limit` that are not there. Those
  // that are lie in that range and are sorted.
  std::vector<int64_t> Missing(int64_t begin, int64_t end, size_t limit) const;

  // The tensor at a place in order.
  const Tensor& operator[](int64_t i) const { return members_[i].tensor; }
  std::vector<Tensor> Tensors() const;

 private:
  struct Member {
    int64_t expert;
    absl::string_view name;
    Tensor tensor;
  };
  std::vector<Member> members_;
};

}  // namespace windlass

#endif  // WINDLASS_ADAPTERS_COMMON_EXPERT_MEMBERS_H_
