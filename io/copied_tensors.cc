#include "windlass/io/copied_tensors.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <tuple>

#include "absl/algorithm/container.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/types/span.h"

namespace windlass {
namespace {

// Bytes [begin, end) of a source, and a tensor, by its place in the dict, that
// has some of them.
struct Range {
  const ByteSource* source = nullptr;
  int64_t begin = 0;
  int64_t end = 0;
  size_t tensor = 0;
  // It has all of them; a view may leave some out.
  bool whole = false;

  std::tuple<const ByteSource*, int64_t, int64_t> place() const {
    return {source, begin, end};
  }
};

using Place = std::tuple<const ByteSource*, int64_t, int64_t>;

// What is put together of several places has all of each.
void AddRanges(const Tensor& tensor, size_t index, std::vector<Range>* ranges) {
  const size_t first = ranges->size();
  tensor.source()->VisitInputs([&](const Extent& extent) {
    if (extent.size == 0) return true;
    Range range;
    range.source = extent.source.get();
    range.begin = extent.offset;
    range.end = extent.offset + extent.size;
    range.tensor = index;
    range.whole = true;
    ranges->push_back(range);
    return true;
  });
  if (ranges->size() != first + 1) return;
  ranges->back().whole = tensor.source()->Verbatim().has_value();
}

// False where each tensor lies behind the one before it in its file, as formats
// without views have them: that is found out quickly.
bool MayShare(const StateDict& tensors) {
  absl::flat_hash_map<const ByteSource*, int64_t> ends;
  const ByteSource* source = nullptr;
  int64_t* end = nullptr;
  for (const NamedTensor& named : tensors) {
    const auto extent = named.tensor.source()->Verbatim();
    if (!extent.has_value()) return true;
    if (extent->source.get() != source) {
      source = extent->source.get();
      end = &ends[source];
    }
    if (extent->offset < *end) return true;
    *end = extent->offset + extent->size;
  }
  return false;
}

// What stands in the plan once for several names.
absl::flat_hash_set<Place> FindShared(const TransferPlan& plan) {
  absl::flat_hash_set<Place> shared;
  for (const PlannedFile& file : plan.files) {
    for (const Piece& piece : file.pieces) {
      const PlannedTensor* const tensor = piece.tensor();
      if (tensor == nullptr || tensor->aliases.empty()) continue;
      const auto extent = tensor->tensor.source()->Verbatim();
      if (!extent.has_value()) continue;
      shared.emplace(extent->source.get(), extent->offset,
                     extent->offset + extent->size);
    }
  }
  return shared;
}

// Ranges that touch each other, in the tensors' order: all but the first are
// copies. Views alone may lie between each other.
void AddCopied(absl::Span<Range> group,
               const absl::flat_hash_set<Place>& shared,
               std::vector<size_t>* copied) {
  if (group.size() < 2 ||
      absl::c_none_of(group, [](const Range& range) { return range.whole; })) {
    return;
  }
  absl::c_sort(group, [](const Range& a, const Range& b) {
    return a.tensor < b.tensor;
  });
  absl::flat_hash_set<Place> written;
  for (size_t i = 0; i < group.size(); ++i) {
    const bool is_shared = group[i].whole && shared.contains(group[i].place());
    const bool is_new = written.insert(group[i].place()).second;
    if (group[i].tensor == group[0].tensor || (is_shared && !is_new)) continue;
    copied->push_back(group[i].tensor);
  }
}

}  // namespace

std::vector<std::string> FindCopied(const StateDict& tensors,
                                    const TransferPlan& plan) {
  if (!MayShare(tensors)) return {};
  std::vector<Range> ranges;
  ranges.reserve(tensors.size());
  size_t index = 0;
  for (const NamedTensor& named : tensors) {
    AddRanges(named.tensor, index++, &ranges);
  }
  absl::c_sort(ranges, [](const Range& a, const Range& b) {
    return a.place() < b.place();
  });
  const absl::flat_hash_set<Place> shared = FindShared(plan);
  std::vector<size_t> copied;
  for (size_t first = 0; first < ranges.size();) {
    size_t next = first + 1;
    for (int64_t end = ranges[first].end;
         next < ranges.size() && ranges[next].source == ranges[first].source &&
         ranges[next].begin < end;
         ++next) {
      end = std::max(end, ranges[next].end);
    }
    AddCopied(absl::MakeSpan(ranges).subspan(first, next - first), shared,
              &copied);
    first = next;
  }
  absl::c_sort(copied);
  copied.erase(std::unique(copied.begin(), copied.end()), copied.end());
  std::vector<std::string> names;
  index = 0;
  auto at = tensors.begin();
  for (const size_t wanted : copied) {
    for (; index < wanted; ++index) ++at;
    names.push_back(at->name);
  }
  return names;
}

}  // namespace windlass
