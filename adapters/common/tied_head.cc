#include "windlass/adapters/common/tied_head.h"

#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "windlass/adapters/common/equal_tensors.h"
#include "windlass/core/layout_op.h"
#include "windlass/core/state_dict.h"
#include "windlass/core/status_macros.h"
#include "windlass/core/tensor.h"

namespace windlass {
namespace {

constexpr char kDropTiedHead[] = "drop_tied_head";
constexpr char kKeep[] = "keep";

bool AreOne(const Tensor& a, const Tensor& b) {
  const std::optional<Extent> at = a.source()->Verbatim();
  const std::optional<Extent> other = b.source()->Verbatim();
  return at.has_value() && other.has_value() && at->source == other->source &&
         at->offset == other->offset && at->size == other->size &&
         a.dtype() == b.dtype() && a.shape() == b.shape();
}

// An embedding and its head to the embedding; the way back is never taken.
LayoutOp DropHead() {
  const auto twice = [](const LayoutContext&, std::vector<Tensor>* tensors) {
    tensors->push_back(tensors->front());
    return absl::OkStatus();
  };
  const auto once = [](const LayoutContext& context,
                       std::vector<Tensor>* tensors) -> absl::Status {
    Tensor& embedding = (*tensors)[0];
    const Tensor& head = (*tensors)[1];
    if (!AreOne(embedding, head)) {
      WINDLASS_ASSIGN_OR_RETURN(
          embedding, Equal(embedding, std::string(context.names[0]), head,
                           std::string(context.names[1])));
    }
    tensors->resize(1);
    return absl::OkStatus();
  };
  return layout::OneWay("drop head", /*takes=*/1, /*gives=*/2, twice, once);
}

}  // namespace

AdapterOption DropTiedHeadOption() {
  return {kDropTiedHead, "false",
          "whether a head that config.json ties to the embedding, and that is "
          "equal to it, is left out on the way to HF"};
}

absl::StatusOr<LayoutTable> TiedHeadTable(
    const JsonFields& options, bool tied,
    const std::vector<std::string>& embeddings) {
  WINDLASS_ASSIGN_OR_RETURN(const bool drop,
                            options.GetBoolOr(kDropTiedHead, false));
  LayoutTable table;
  if (!drop || !tied) return table;
  LayoutChoice choice;
  choice.name = kDropTiedHead;
  choice.on_export = kKeep;
  choice.detect_on_export = [embeddings](const StateDict& native) {
    for (const std::string& embedding : embeddings) {
      if (native.Contains(kHead) && native.Contains(embedding)) {
        return embedding;
      }
    }
    return std::string(kKeep);
  };
  std::vector<std::pair<std::string, LayoutTable>> forms;
  for (const std::string& embedding : embeddings) {
    LayoutTable form;
    form.Map({embedding}, {embedding, kHead}, {DropHead()}).OnlyToHf();
    forms.emplace_back(embedding, std::move(form));
  }
  table.OneOf(std::move(choice), std::move(forms));
  return table;
}

}  // namespace windlass
