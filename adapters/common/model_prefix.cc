#include "windlass/adapters/common/model_prefix.h"

#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace windlass {

LayoutTable ModelRootTable(std::vector<std::string> kept) {
  kept.insert(kept.end(), {"model.", "lm_head."});
  LayoutTable rooted;
  for (const std::string& prefix : kept) {
    const std::string pattern = absl::StrCat(prefix, "{r*}");
    rooted.Rename(pattern, pattern);
  }
  rooted.Else().Rename("{r*}", "model.{r*}").OnlyToNative();

  LayoutChoice root;
  root.name = "root";
  root.on_export = "as it is";
  // Where all names are whole, there is nothing to do.
  root.detect = [kept](const StateDict& hf) -> absl::StatusOr<std::string> {
    const auto whole = [&kept](const NamedTensor& named) {
      return absl::c_any_of(kept, [&named](const std::string& prefix) {
        return absl::StartsWith(named.name, prefix);
      });
    };
    const auto has_root = [](const NamedTensor& named) {
      return absl::StartsWith(named.name, "model.");
    };
    const bool mixed =
        !absl::c_all_of(hf, whole) && absl::c_any_of(hf, has_root);
    return std::string(mixed ? "model" : "as it is");
  };
  LayoutTable table;
  table.OneOf(std::move(root), {{"model", rooted}, {"as it is", {}}});
  return table;
}

LayoutTable PrefixTable(const std::string& prefix) {
  LayoutTable table;
  table
      .Rename(absl::StrCat("base_model.model.", prefix, "{r*}"),
              "base_model.model.{r*}")
      .Else()
      .Rename(absl::StrCat(prefix, "{r*}"), "{r*}");
  return table;
}

LayoutTable ThinkerTable() { return PrefixTable("thinker."); }

}  // namespace windlass
