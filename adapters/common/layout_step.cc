#include "windlass/adapters/common/layout_step.h"

#include "windlass/core/status_macros.h"

namespace windlass {

absl::Status LayoutStep::ToHf(const NamedTensor& native, const ToHfOptions&,
                              std::vector<NamedTensor>* hf) const {
  hf->push_back(native);
  return absl::OkStatus();
}

std::string OneToOneStep::HfName(absl::string_view native) const {
  return std::string(native);
}

std::string OneToOneStep::NativeName(absl::string_view hf) const {
  return std::string(hf);
}

absl::StatusOr<Tensor> OneToOneStep::Convert(absl::string_view,
                                             const Tensor& tensor) const {
  return tensor;
}

absl::Status OneToOneStep::ToHf(const NamedTensor& native, const ToHfOptions&,
                                std::vector<NamedTensor>* hf) const {
  std::string name = HfName(native.name);
  WINDLASS_ASSIGN_OR_RETURN(Tensor tensor, Convert(name, native.tensor));
  hf->push_back({std::move(name), std::move(tensor)});
  return absl::OkStatus();
}

absl::StatusOr<StateDict> OneToOneStep::FromHf(const StateDict& hf,
                                               const FromHfOptions&) const {
  StateDictBuilder native;
  native.Reserve(hf.size());
  for (const auto& [hf_name, hf_tensor] : hf) {
    std::string name = NativeName(hf_name);
    WINDLASS_ASSIGN_OR_RETURN(Tensor tensor, Convert(name, hf_tensor));
    WINDLASS_RETURN_IF_ERROR(
        native.Add(std::move(name), std::move(tensor), hf_name));
  }
  return std::move(native).Build();
}

absl::StatusOr<std::vector<NamedTensor>> StepAdapter::ConvertSingleTensorToHf(
    absl::string_view fqn, const Tensor& tensor,
    const ToHfOptions& options) const {
  std::vector<NamedTensor> tensors = {{std::string(fqn), tensor}};
  for (const auto& step : steps_) {
    std::vector<NamedTensor> next;
    for (const NamedTensor& named : tensors) {
      WINDLASS_RETURN_IF_ERROR(
          Annotate(step->ToHf(named, options, &next), "tensor \"", fqn, "\""));
    }
    tensors = std::move(next);
  }
  const NameFilter excluded =
      options.exclude_key_regex.With(traits_.exclude_anchor);
  std::vector<NamedTensor> kept;
  for (NamedTensor& named : tensors) {
    if (!excluded.Matches(named.name)) kept.push_back(std::move(named));
  }
  return kept;
}

absl::StatusOr<StateDict> StepAdapter::ToHf(const StateDict& state_dict,
                                            const ToHfOptions& options) const {
  StateDictBuilder hf;
  for (const auto& [name, tensor] : state_dict) {
    WINDLASS_ASSIGN_OR_RETURN(std::vector<NamedTensor> tensors,
                              ConvertSingleTensorToHf(name, tensor, options));
    for (NamedTensor& named : tensors) {
      WINDLASS_RETURN_IF_ERROR(
          hf.Add(std::move(named.name), std::move(named.tensor), name));
    }
  }
  return std::move(hf).Build();
}

absl::StatusOr<StateDict> StepAdapter::FromHf(
    const StateDict& hf_state_dict, const FromHfOptions& options) const {
  const StateDict* current = &hf_state_dict;
  StateDict dict;
  for (auto step = steps_.rbegin(); step != steps_.rend(); ++step) {
    WINDLASS_ASSIGN_OR_RETURN(StateDict next,
                              (*step)->FromHf(*current, options));
    dict = std::move(next);
    current = &dict;
  }
  if (!steps_.empty()) return dict;
  StateDictBuilder copy;
  for (const auto& [name, tensor] : hf_state_dict) {
    WINDLASS_RETURN_IF_ERROR(copy.Add(name, tensor, name));
  }
  return std::move(copy).Build();
}

}  // namespace windlass
