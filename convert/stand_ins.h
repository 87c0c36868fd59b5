// Tensors without bytes in the place of others: what an adapter makes of them
// says which of those it is made of.

#ifndef WINDLASS_CONVERT_STAND_INS_H_
#define WINDLASS_CONVERT_STAND_INS_H_

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "windlass/core/state_dict.h"
#include "windlass/core/tensor.h"

namespace windlass {

class StandIns {
 public:
  StandIns();

  // One under this name, of the dtype and shape of `like`. AlreadyExists for a
  // name that is there.
  absl::Status Add(std::string name, const Tensor& like);

  // In the order of Add. Reading them fails.
  const StateDict& tensors() const { return tensors_; }

  // Which of them, by their numbers from 0, `made` reads; one may come again.
  void VisitUsed(const Tensor& made,
                 absl::FunctionRef<void(size_t number)> visit) const;

 private:
  class Places;

  std::shared_ptr<Places> places_;
  StateDict tensors_;
};

}  // namespace windlass

#endif  // WINDLASS_CONVERT_STAND_INS_H_
