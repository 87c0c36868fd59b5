// An adapter as a list of steps, each of which does one thing both ways.
//
// From native to HF a step turns one tensor into none, one or many, so that
// ConvertSingleTensorToHf and ToHf are the same code. From HF to native it
// sees the whole state dict, because merging experts needs all of them.

#ifndef WINDLASS_ADAPTERS_COMMON_LAYOUT_STEP_H_
#define WINDLASS_ADAPTERS_COMMON_LAYOUT_STEP_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "windlass/core/key_rewriter.h"
#include "windlass/core/regex.h"
#include "windlass/core/state_dict.h"
#include "windlass/core/state_dict_adapter.h"
#include "windlass/core/tensor.h"

namespace windlass {

// Immutable and thread-safe, as the adapters made of them.
class LayoutStep {
 public:
  virtual ~LayoutStep() = default;

  // Appends what the HF side has for this native tensor: the same, unless a
  // step says otherwise.
  virtual absl::Status ToHf(const NamedTensor& native,
                            const ToHfOptions& options,
                            std::vector<NamedTensor>* hf) const;

  virtual absl::StatusOr<StateDict> FromHf(
      const StateDict& hf, const FromHfOptions& options) const = 0;
};

// A step that keeps every tensor, under another name or in another dtype.
class OneToOneStep : public LayoutStep {
 public:
  virtual std::string HfName(absl::string_view native) const;
  virtual std::string NativeName(absl::string_view hf) const;

  // Called in both directions, with the name that the tensor ends with.
  virtual absl::StatusOr<Tensor> Convert(absl::string_view name,
                                         const Tensor& tensor) const;

  absl::Status ToHf(const NamedTensor& native, const ToHfOptions& options,
                    std::vector<NamedTensor>* hf) const final;
  absl::StatusOr<StateDict> FromHf(const StateDict& hf,
                                   const FromHfOptions& options) const final;
};

// Names exchanged by two tables.
class RenameStep : public OneToOneStep {
 public:
  RenameStep(KeyRewriter to_hf, KeyRewriter from_hf)
      : to_hf_(std::move(to_hf)), from_hf_(std::move(from_hf)) {}

  std::string HfName(absl::string_view native) const override {
    return to_hf_.Rewrite(native);
  }
  std::string NativeName(absl::string_view hf) const override {
    return from_hf_.Rewrite(hf);
  }

 private:
  const KeyRewriter to_hf_;
  const KeyRewriter from_hf_;
};

// The adapter that its steps make. Derive from it only to add what is not a
// matter of steps (ForcedHfDtypeMapping).
class StepAdapter : public StateDictAdapter {
 public:
  struct Traits {
    // How the reference's adapter applies exclude_key_regex to HF keys.
    NameFilter::Anchor exclude_anchor = NameFilter::Anchor::kMatch;
    bool write_through = false;
  };

  // Steps stand in the order from native to HF.
  StepAdapter(std::vector<std::unique_ptr<LayoutStep>> steps, Traits traits)
      : steps_(std::move(steps)), traits_(traits) {}

  absl::StatusOr<StateDict> ToHf(const StateDict& state_dict,
                                 const ToHfOptions& options) const override;
  absl::StatusOr<StateDict> FromHf(const StateDict& hf_state_dict,
                                   const FromHfOptions& options) const override;
  absl::StatusOr<std::vector<NamedTensor>> ConvertSingleTensorToHf(
      absl::string_view fqn, const Tensor& tensor,
      const ToHfOptions& options) const override;
  bool SupportsWriteThroughCheckpointLoad() const override {
    return traits_.write_through;
  }

 private:
  const std::vector<std::unique_ptr<LayoutStep>> steps_;
  const Traits traits_;
};

}  // namespace windlass

#endif  // WINDLASS_ADAPTERS_COMMON_LAYOUT_STEP_H_
