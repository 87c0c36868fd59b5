#include "windlass/convert/same_layout.h"

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "windlass/convert/output_dtypes.h"
#include "windlass/convert/stand_ins.h"
#include "windlass/core/dtype.h"
#include "windlass/core/status_macros.h"
#include "windlass/core/tensor.h"

namespace windlass {
namespace {

absl::StatusOr<StandIns> StandInsFor(const StateDict& tensors) {
  StandIns stand_ins;
  for (const auto& [name, tensor] : tensors) {
    WINDLASS_RETURN_IF_ERROR(stand_ins.Add(name, tensor));
  }
  return stand_ins;
}

bool IsLora(absl::string_view name) { return absl::StrContains(name, "lora_"); }

bool MayBeWrittenOtherwise(absl::string_view name, const AskedChanges& asked) {
  return asked.unpack || (IsLora(name) ? asked.lora : asked.others);
}

// What takes the place of a tensor: names in the round trip's result.
using Successors = absl::flat_hash_map<size_t, std::vector<std::string>>;

// By the index of a tensor, those that stand in its place; none for one whose
// successors stand in that of another. What comes of tensors that stay, or of
// none, is an addition that nobody asked for.
Successors FindSuccessors(const StateDict& tensors, const StateDict& back,
                          const StandIns& stand_ins,
                          const AskedChanges& asked) {
  std::vector<const std::string*> names;
  absl::flat_hash_map<absl::string_view, size_t> indices;
  for (const NamedTensor& named : tensors) {
    indices.emplace(named.name, names.size());
    names.push_back(&named.name);
  }
  Successors successors;
  for (const NamedTensor& named : back) {
    if (!MayBeWrittenOtherwise(named.name, asked)) continue;
    const Tensor* const same = tensors.Find(named.name);
    // Another dtype is that of a weight whose scale is no longer needed.
    if (same != nullptr && same->dtype() != named.tensor.dtype()) continue;
    std::vector<size_t> replaced;
    stand_ins.VisitUsed(named.tensor, [&](size_t index) {
      if (!back.Contains(*names[index])) replaced.push_back(index);
    });
    if (replaced.empty()) continue;
    if (same != nullptr) replaced.push_back(indices.at(named.name));
    for (const size_t index : replaced) successors[index];
    successors[*std::min_element(replaced.begin(), replaced.end())].push_back(
        named.name);
  }
  return successors;
}

// Whether one that keeps its name is taken as the round trip gives it.
bool IsTaken(const NamedTensor& named, const Tensor& back,
             const AskedChanges& asked) {
  if (asked.lora && IsLora(named.name)) return true;
  return asked.casts && back.dtype() != named.tensor.dtype() &&
         IsValue(named.tensor.dtype()) && IsValue(back.dtype());
}

bool ReplacesCodes(const StateDict& tensors, const Successors& successors) {
  size_t index = 0;
  return absl::c_any_of(tensors, [&](const NamedTensor& named) {
    return successors.contains(index++) &&
           DTypeBits(named.tensor.dtype()) <= 8 &&
           named.tensor.dtype() != DType::kBool;
  });
}

}  // namespace

absl::StatusOr<StateDict> RewriteInSameLayout(
    const StateDict& tensors, const AskedChanges& asked,
    absl::FunctionRef<absl::StatusOr<StateDict>(const StateDict&)> round_trip) {
  WINDLASS_ASSIGN_OR_RETURN(const StandIns stand_ins, StandInsFor(tensors));
  WINDLASS_ASSIGN_OR_RETURN(StateDict back, round_trip(stand_ins.tensors()));
  const Successors successors = FindSuccessors(tensors, back, stand_ins, asked);
  const bool unpack = asked.unpack || ReplacesCodes(tensors, successors);
  const auto is_taken = [&](const NamedTensor& named) {
    const Tensor* const same = back.Find(named.name);
    return same != nullptr && (unpack || IsTaken(named, *same, asked));
  };
  if (!successors.empty() || absl::c_any_of(tensors, is_taken)) {
    WINDLASS_ASSIGN_OR_RETURN(back, round_trip(tensors));
  }
  StateDict rewritten;
  rewritten.Reserve(back.size());
  size_t index = 0;
  for (const NamedTensor& named : tensors) {
    const auto found = successors.find(index++);
    if (found != successors.end()) {
      for (const std::string& name : found->second) {
        WINDLASS_RETURN_IF_ERROR(rewritten.Insert(name, *back.Find(name)));
      }
    } else if (is_taken(named)) {
      WINDLASS_RETURN_IF_ERROR(
          rewritten.Insert(named.name, *back.Find(named.name)));
    } else if (back.Contains(named.name) ||
               !(unpack || asked.excluded.Matches(named.name))) {
      WINDLASS_RETURN_IF_ERROR(rewritten.Insert(named.name, named.tensor));
    }
  }
  return rewritten;
}

}  // namespace windlass
