#include "windlass/core/conversion_summary.h"

#include <algorithm>
#include <map>
#include <optional>
#include <tuple>
#include <utility>

#include "absl/container/flat_hash_map.h"

namespace windlass {
namespace {

// Finds the input tensor that an extent belongs to, and keeps which were found.
class InputIndex {
 public:
  explicit InputIndex(const StateDict& in) {
    for (const NamedTensor& named : in) {
      const std::optional<Extent> extent = named.tensor.source()->Verbatim();
      if (!extent.has_value()) continue;
      by_source_[extent->source.get()].push_back(
          {extent->offset, extent->offset + extent->size, &named, false});
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
    --place;
    place->used = true;
    return place->tensor;
  }

  std::vector<std::string> Unused(const StateDict& in) const {
    std::vector<const NamedTensor*> unused;
    for (const auto& [source, places] : by_source_) {
      for (const Place& place : places) {
        if (!place.used) unused.push_back(place.tensor);
      }
    }
    std::vector<std::string> names;
    if (unused.empty()) return names;
    std::sort(unused.begin(), unused.end());
    for (const NamedTensor& named : in) {
      if (std::binary_search(unused.begin(), unused.end(), &named)) {
        names.push_back(named.name);
      }
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

}  // namespace windlass
