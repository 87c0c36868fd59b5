#include "windlass/adapters/common/model_prefix.h"

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace windlass {

LayoutTable ModelRootTable(const std::vector<std::string>& kept) {
  LayoutTable rooted;
  rooted.Rename("model.{r*}", "model.{r*}")
      .Rename("lm_head.{r*}", "lm_head.{r*}");
  for (const std::string& prefix : kept) {
    rooted.Rename(absl::StrCat(prefix, "{r*}"), absl::StrCat(prefix, "{r*}"));
  }
  rooted.Else().Rename("{r*}", "model.{r*}");

  LayoutChoice root;
  root.name = "root";
  root.on_export = "as it is";
  root.detect = [](const StateDict& hf) -> absl::StatusOr<std::string> {
    return std::string(absl::c_any_of(hf,
                                      [](const NamedTensor& named) {
                                        return absl::StartsWith(named.name,
                                                                "model.");
                                      })
                           ? "model"
                           : "as it is");
  };
  LayoutTable table;
  table.OneOf(std::move(root), {{"model", rooted}, {"as it is", {}}});
  return table;
}

LayoutTable ThinkerTable() {
  LayoutTable table;
  table.Rename("base_model.model.thinker.{r*}", "base_model.model.{r*}")
      .Else()
      .Rename("thinker.{r*}", "{r*}");
  return table;
}

}  // namespace windlass
