// What an optimizer keeps of a model's parameters, brought to the other layout
// as they are.
//
//   optim.state.<parameter>.exp_avg, ...     moments: as large as the parameter
//   optim.state.<parameter>.step             one number a parameter
//   optim.param_groups.<parameter>.lr, ...   settings, objects most of them
//
// Each kind of moment is a state dict by the parameters' names, which goes
// through the adapter by itself. Numbers and settings go to each parameter that
// has elements of theirs; where parameters are joined, all of them must be the
// same.

#ifndef WINDLASS_CONVERT_OPTIMIZER_STATE_H_
#define WINDLASS_CONVERT_OPTIMIZER_STATE_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "windlass/convert/wrapper_names.h"
#include "windlass/core/state_dict.h"

namespace windlass {

// Whether a tensor of this name is a moment of a parameter's.
bool IsMomentName(absl::string_view name);

struct OptimizerState {
  StateDict tensors;
  // What is no tensor: its bytes, U8, as Checkpoint::object_bytes has them.
  StateDict objects;
  // Names of objects that stand for nobody's parameter any more (groups by
  // number, settings of parameters without state).
  std::vector<std::string> left_out;
  // Parameters whose names lost those of wrappers.
  int64_t unwrapped = 0;
};

// An adapter in one direction, with the option optimizer_state. It is given
// stand-ins for all parameters first, then each kind of moment.
using LayoutChange =
    std::function<absl::StatusOr<StateDict>(const StateDict& parameters)>;

// Moments come first, kind by kind, then numbers; parameters as the adapter
// orders them. InvalidArgument names a tensor that is no state of a parameter,
// has another shape than the parameter's other moments, is no float, or whose
// like another part of a joined parameter lacks; and what `change` says. That
// joined numbers are the same is seen when they are read.
absl::StatusOr<OptimizerState> ConvertOptimizerState(
    const StateDict& tensors, const StateDict& objects,
    const WrapperNames& wrapper_names, const LayoutChange& change);

}  // namespace windlass

#endif  // WINDLASS_CONVERT_OPTIMIZER_STATE_H_
