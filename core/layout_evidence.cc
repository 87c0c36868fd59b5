#include "windlass/core/layout_evidence.h"

#include <algorithm>
#include <cstddef>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "absl/strings/string_view.h"
#include "windlass/core/layout_stage.h"
#include "windlass/core/layout_table.h"

namespace windlass {
namespace {

// The name with "#" for segments that are numbers.
void EraseNumbers(absl::string_view name, std::string* erased) {
  erased->clear();
  for (std::size_t begin = 0; begin < name.size();) {
    const std::size_t dot = std::min(name.find('.', begin), name.size());
    const absl::string_view segment = name.substr(begin, dot - begin);
    if (std::all_of(segment.begin(), segment.end(), absl::ascii_isdigit)) {
      erased->push_back('#');
    } else {
      erased->append(segment.data(), segment.size());
    }
    erased->push_back('.');
    begin = dot + 1;
  }
}

struct Change {
  bool any = false;
  bool known = false;  // by more than a rule for any name
};

Change ChangeOf(const std::vector<LayoutStage>& stages, bool to_hf,
                const std::string& name) {
  LayoutName taken(name);
  TakeName(stages, to_hf, &taken);
  const bool any = taken.dropped || taken.name != name;
  return {any, any && taken.known};
}

}  // namespace

LayoutEvidence FindLayoutEvidence(const StateDictAdapter& adapter,
                                  const StateDict& tensors) {
  LayoutEvidence evidence;
  const std::vector<LayoutStage>* const stages = adapter.stages();
  if (stages == nullptr || stages->empty()) return evidence;
  absl::flat_hash_set<std::string> seen;
  std::string erased;
  for (const NamedTensor& named : tensors) {
    EraseNumbers(named.name, &erased);
    if (!seen.insert(erased).second) continue;
    const Change from_hf = ChangeOf(*stages, /*to_hf=*/false, named.name);
    const Change from_native = ChangeOf(*stages, /*to_hf=*/true, named.name);
    // A native layout may put something before any name, be it HF's; what HF's
    // layout puts before any name tells nothing.
    if (from_hf.known && !from_native.known && evidence.hf == nullptr) {
      evidence.hf = &named;
    }
    if (from_native.any && !from_hf.any && evidence.native == nullptr) {
      evidence.native = &named;
    }
  }
  return evidence;
}

}  // namespace windlass
