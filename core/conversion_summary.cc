#include "windlass/core/conversion_summary.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <optional>
#include <tuple>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"

namespace windlass {
namespace {

// Finds the input tensor that an extent belongs to, and keeps which were found.
class InputIndex {
 public:
  explicit InputIndex(const StateDict& in) {
    for (const NamedTensor& named : in) {
      // One that is put together, of a rank's part each, has several places.
      named.tensor.source()->VisitInputs([&](const Extent& extent) {
        by_source_[extent.source.get()].push_back(
            {extent.offset, extent.offset + extent.size, &named, false});
        return true;
      });
    }
    for (auto& [source, places] : by_source_) {
      std::sort(places.begin(), places.end(),
                [](const Place& a, const Place& b) {
                  return std::tie(a.begin, a.end) < std::tie(b.begin, b.end);
                });
    }
  }

  // The tensor that holds the extent's first byte, marked as used; null where
  // there is none. `name` is that of the output which needs it.
  const NamedTensor* Use(const Extent& extent, const std::string& name) {
    auto it = by_source_.find(extent.source.get());
    if (it == by_source_.end()) return nullptr;
    std::vector<Place>& places = it->second;
    if (extent.size == 0) return UseEmpty(extent.offset, name, &places);
    auto place = std::upper_bound(places.begin(), places.end(), extent.offset,
                                  [](int64_t offset, const Place& place) {
                                    return offset < place.begin;
                                  });
    if (place == places.begin()) return nullptr;
    Place* const found = PreferExact(extent, name, &places, place);
    found->used = true;
    return found->tensor;
  }

  std::vector<std::string> Unused(const StateDict& in) const {
    absl::flat_hash_set<const NamedTensor*> unused;
    for (const auto& [source, places] : by_source_) {
      for (const Place& place : places) {
        if (!place.used) unused.insert(place.tensor);
      }
    }
    std::vector<std::string> names;
    if (unused.empty()) return names;
    for (const auto& [source, places] : by_source_) {
      for (const Place& place : places) {
        if (place.used) unused.erase(place.tensor);
      }
    }
    for (const NamedTensor& named : in) {
      if (unused.contains(&named)) names.push_back(named.name);
    }
    return names;
  }

 private:
  struct Place {
    int64_t begin;
    int64_t end;
    const NamedTensor* tensor;
    bool used;
  };

  // Several tensors may share bytes: one that has just these is meant, first
  // one that keeps its name, then one that nobody has needed. `end` is behind
  // the last place that begins at the extent or before it.
  static Place* PreferExact(const Extent& extent, const std::string& name,
                            std::vector<Place>* places,
                            std::vector<Place>::iterator end) {
    Place* const last = &*std::prev(end);
    Place* exact = nullptr;
    for (auto it = end; it != places->begin();) {
      --it;
      if (it->begin != extent.offset) break;
      if (it->end != extent.offset + extent.size) continue;
      if (it->tensor->name == name) return &*it;
      if (exact == nullptr || exact->used) exact = &*it;
    }
    return exact != nullptr ? exact : last;
  }

  // Several empty tensors may stand at one place: one that keeps its name is
  // meant first.
  static const NamedTensor* UseEmpty(int64_t offset, const std::string& name,
                                     std::vector<Place>* places) {
    auto first = std::lower_bound(places->begin(), places->end(), offset,
                                  [](const Place& place, int64_t offset) {
                                    return place.begin < offset;
                                  });
    Place* found = nullptr;
    for (auto it = first; it != places->end() && it->end == offset; ++it) {
      if (it->used) continue;
      if (found == nullptr) found = &*it;
      if (it->tensor->name != name) continue;
      found = &*it;
      break;
    }
    if (found == nullptr) return nullptr;
    found->used = true;
    return found->tensor;
  }

  absl::flat_hash_map<const ByteSource*, std::vector<Place>> by_source_;
};

}  // namespace

ConversionSummary Summarize(const StateDict& in, const StateDict& out) {
  ConversionSummary summary;
  summary.tensors_in = in.size();
  summary.tensors_out = out.size();
  for (const auto& [name, tensor] : in) summary.bytes_in += tensor.bytes();
  InputIndex inputs(in);
  std::map<std::pair<DType, DType>, int64_t> casts;
  for (const NamedTensor& named : out) {
    const Tensor& tensor = named.tensor;
    summary.bytes_out += tensor.bytes();
    const NamedTensor* origin = nullptr;
    tensor.source()->VisitInputs([&](const Extent& extent) {
      const NamedTensor* used = inputs.Use(extent, named.name);
      if (origin == nullptr) origin = used;
      return true;
    });
    if (origin != nullptr && origin->tensor.dtype() != tensor.dtype()) {
      ++casts[{origin->tensor.dtype(), tensor.dtype()}];
    }
    if (!tensor.source()->Verbatim().has_value()) {
      ++summary.computed;
    } else if (origin != nullptr && origin->name != named.name) {
      ++summary.renamed;
    }
  }
  summary.dropped = inputs.Unused(in);
  for (const auto& [dtypes, count] : casts) {
    summary.casts.push_back({dtypes.first, dtypes.second, count});
  }
  return summary;
}

namespace {

class Losses {
 public:
  void Add(const char* reason, const std::string& name) {
    auto loss = absl::c_find_if(
        losses_, [reason](const Loss& l) { return l.reason == reason; });
    if (loss == losses_.end()) {
      loss = losses_.insert(losses_.end(), Loss{reason, 0, {}});
    }
    constexpr size_t kShown = 5;
    if (loss->names.size() < kShown) loss->names.push_back(name);
    ++loss->count;
  }

  std::vector<Loss> Take() && { return std::move(losses_); }

 private:
  std::vector<Loss> losses_;
};

// Codes, scales, and what else describes a packed weight: no weight is of one
// dimension of whole numbers or named so.
bool IsPacking(const NamedTensor& named) {
  return DTypeBits(named.tensor.dtype()) <= 8 ||
         !IsFloat(named.tensor.dtype()) ||
         absl::StrContains(named.name, "scale");
}

// Codes and scales that come back, but not as those that they were.
bool IsComputedAnew(const Tensor& tensor, const Tensor& back) {
  if (back.bytes() == 0 || back.source()->Verbatim().has_value()) return false;
  if (DTypeBits(tensor.dtype()) <= 8 || !IsFloat(tensor.dtype())) return true;
  bool constant = true;
  back.source()->VisitInputs([&constant](const Extent&) {
    constant = false;
    return false;
  });
  return constant;
}

// Why `named` is not what it was; null where it is.
const char* LossOf(const NamedTensor& named, const StateDict& back) {
  const Tensor* tensor = back.Find(named.name);
  if (tensor == nullptr) {
    return IsPacking(named) ? "dequantised" : "stored otherwise";
  }
  if (tensor->dtype() != named.tensor.dtype()) {
    return DTypeBits(named.tensor.dtype()) <= 8 ? "dequantised" : "cast";
  }
  if (tensor->shape() != named.tensor.shape()) return "stored otherwise";
  return IsComputedAnew(named.tensor, *tensor) ? "dequantised" : nullptr;
}

bool Rounds(DType from, DType to) {
  return IsFloat(from) && from != to &&
         (!IsFloat(to) || DTypeBits(to) <= DTypeBits(from));
}

// Inputs whose values an output does not have all of.
absl::flat_hash_set<const NamedTensor*> FindRounded(
    const StateDict& in, const StateDict& out,
    const ConversionSummary& summary) {
  absl::flat_hash_set<const NamedTensor*> rounded;
  if (absl::c_none_of(summary.casts, [](const DTypeCast& cast) {
        return Rounds(cast.from, cast.to);
      })) {
    return rounded;
  }
  InputIndex inputs(in);
  for (const NamedTensor& named : out) {
    named.tensor.source()->VisitInputs([&](const Extent& extent) {
      const NamedTensor* used = inputs.Use(extent, named.name);
      if (used != nullptr &&
          Rounds(used->tensor.dtype(), named.tensor.dtype())) {
        rounded.insert(used);
      }
      return true;
    });
  }
  return rounded;
}

}  // namespace

std::vector<Loss> FindLosses(const StateDict& in, const StateDict& out,
                             const ConversionSummary& summary,
                             const StateDict& back) {
  Losses losses;
  const absl::flat_hash_set<absl::string_view> gone(summary.dropped.begin(),
                                                    summary.dropped.end());
  const auto rounded = FindRounded(in, out, summary);
  for (const NamedTensor& named : in) {
    const char* reason =
        gone.contains(named.name) ? "dropped" : LossOf(named, back);
    if (reason == nullptr && rounded.contains(&named)) reason = "cast";
    if (reason != nullptr) losses.Add(reason, named.name);
  }
  std::optional<InputIndex> inputs;
  for (const NamedTensor& named : back) {
    if (in.Contains(named.name)) continue;
    if (!inputs.has_value()) inputs.emplace(in);
    const NamedTensor* origin = nullptr;
    named.tensor.source()->VisitInputs([&](const Extent& extent) {
      origin = inputs->Use(extent, named.name);
      return false;
    });
    // Otherwise it is what was counted under its own name.
    if (origin == nullptr || back.Contains(origin->name)) {
      losses.Add("synthesised", named.name);
    }
  }
  return std::move(losses).Take();
}

std::string DescribeLosses(const std::vector<Loss>& losses) {
  if (losses.empty()) return "reversible";
  return absl::StrCat(
      "not reversible: ",
      absl::StrJoin(losses, ", ", [](std::string* out, const Loss& loss) {
        if (loss.count == 0) {
          absl::StrAppend(out, loss.reason);
          return;
        }
        absl::StrAppend(
            out, loss.count, loss.count == 1 ? " tensor " : " tensors ",
            loss.reason, " (",
            absl::StrJoin(loss.names, ", ",
                          [](std::string* list, const std::string& name) {
                            absl::StrAppend(list, "\"", name, "\"");
                          }),
            loss.count > static_cast<int64_t>(loss.names.size()) ? ", ...)"
                                                                 : ")");
      }));
}

}  // namespace windlass
