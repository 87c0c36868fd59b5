#include "windlass/core/layout_evidence.h"

#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "absl/strings/string_view.h"
#include "windlass/core/layout_stage.h"
#include "windlass/core/layout_table.h"

namespace windlass {
namespace {

// The name without digits that follow a dot: that is, without numbers. It lies
// in `room`.
absl::string_view WithoutNumbers(absl::string_view name, std::string* room) {
  if (room->size() < name.size()) room->resize(name.size());
  char* end = &(*room)[0];
  bool in_number = false;
  char before = '.';
  for (const char c : name) {
    in_number = absl::ascii_isdigit(c) && (in_number || before == '.');
    *end = c;
    end += in_number ? 0 : 1;
    before = c;
  }
  return absl::string_view(room->data(), end - room->data());
}

struct Change {
  bool any = false;
  bool known = false;  // to another name, by more than a rule for any name
};

Change ChangeOf(const std::vector<LayoutStage>& stages, bool to_hf,
                const std::string& name) {
  LayoutName taken(name);
  TakeName(stages, to_hf, &taken);
  const bool any = taken.dropped || taken.name != name;
  return {any, any && taken.known && !taken.dropped};
}

}  // namespace

LayoutEvidence FindLayoutEvidence(const StateDictAdapter& adapter,
                                  const StateDict& tensors) {
  LayoutEvidence evidence;
  const std::vector<LayoutStage>* const stages = adapter.stages();
  if (stages == nullptr || stages->empty()) return evidence;
  absl::flat_hash_set<std::string> seen;
  std::string room;
  for (const NamedTensor& named : tensors) {
    const absl::string_view kind = WithoutNumbers(named.name, &room);
    if (seen.contains(kind)) continue;
    seen.emplace(kind);
    const Change from_hf = ChangeOf(*stages, /*to_hf=*/false, named.name);
    const Change from_native = ChangeOf(*stages, /*to_hf=*/true, named.name);
    // On the way to HF, a rule may change any name, be it HF's already. What is
    // dropped on the way from HF may just as well be native.
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
