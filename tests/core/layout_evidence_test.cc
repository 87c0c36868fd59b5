#include "windlass/core/layout_evidence.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/core/layout_table.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/testing/tensors.h"

namespace windlass {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

StateDict Dict(const std::vector<std::string>& names) {
  StateDict dict;
  for (const std::string& name : names) {
    EXPECT_OK(dict.Insert(name, MakeTensor<float>(DType::kF32, {1}, {1})));
  }
  return dict;
}

// The names that tell of HF and of native, "" for none.
std::pair<std::string, std::string> Evidence(
    std::vector<LayoutStage> stages, const std::vector<std::string>& names) {
  const auto adapter = MakeLayoutAdapter(std::move(stages)).value();
  const StateDict dict = Dict(names);
  const LayoutEvidence evidence = FindLayoutEvidence(*adapter, dict);
  return {evidence.hf == nullptr ? "" : evidence.hf->name,
          evidence.native == nullptr ? "" : evidence.native->name};
}

LayoutTable Shared() {
  LayoutTable table;
  table.Rename("{p*}shared_expert.{r*}", "{p*}shared_experts.{r*}");
  return table;
}

TEST(LayoutEvidenceTest, IsWhatChangesOnOneWayAlone) {
  EXPECT_THAT(Evidence({Shared()}, {"a", "m.1.shared_expert.w"}),
              Pair("m.1.shared_expert.w", ""));
  EXPECT_THAT(Evidence({Shared()}, {"a", "m.1.shared_experts.w"}),
              Pair("", "m.1.shared_experts.w"));
  EXPECT_THAT(Evidence({Shared()}, {"a", "b.c"}), Pair("", ""));
  EXPECT_THAT(Evidence({Shared()}, {"x.shared_experts.w", "shared_expert.w"}),
              Pair("shared_expert.w", "x.shared_experts.w"));
  EXPECT_THAT(Evidence({}, {"a"}), Pair("", ""));
}

TEST(LayoutEvidenceTest, GoesThroughAllStages) {
  NameRules rules;
  rules.to_native =
      KeyRewriter::Create({KeyRewriter::Regex("^gate$", "held.gate")}).value();
  rules.to_hf =
      KeyRewriter::Create({KeyRewriter::Regex("^held\\.gate$", "gate")})
          .value();
  const Under under = {"text.", "model.", {Shared(), rules}};
  EXPECT_THAT(Evidence({under}, {"text.gate"}), Pair("text.gate", ""));
  EXPECT_THAT(Evidence({under}, {"model.held.gate"}),
              Pair("", "model.held.gate"));
}

// What stands before all names of one layout tells of it, unless the other has
// a rule for any name as well.
TEST(LayoutEvidenceTest, TakesARuleForAnyNameForNone) {
  LayoutTable thinker;
  thinker.Rename("thinker.{r*}", "{r*}");
  EXPECT_THAT(Evidence({thinker}, {"thinker.a"}), Pair("thinker.a", ""));
  EXPECT_THAT(Evidence({thinker}, {"a"}), Pair("", "a"));
  LayoutTable wrapped;
  wrapped.Rename("{r*}", "model.{r*}");
  EXPECT_THAT(Evidence({wrapped}, {"a", "model.a"}), Pair("", ""));
}

// What is dropped from HF may be native, too.
TEST(LayoutEvidenceTest, TakesNoDropForAName) {
  LayoutTable table;
  table.DropHf("{p*}mtp.{r*}");
  EXPECT_THAT(Evidence({table}, {"model.mtp.w"}), Pair("", ""));
}

// They are looked at as one, so a name of another kind is found behind many.
TEST(LayoutEvidenceTest, NumbersAreAllAlike) {
  std::vector<std::string> names;
  for (int i = 0; i < 100; ++i) {
    names.push_back("layers." + std::to_string(i) + ".w");
    names.push_back(std::to_string(i));
  }
  names.push_back("layers.7.shared_expert.w1");
  EXPECT_THAT(Evidence({Shared()}, names),
              Pair("layers.7.shared_expert.w1", ""));
}

TEST(ForcedDTypesTest, AreKnownOfBothLayouts) {
  LayoutTable table;
  table.Map({"{p*}bias"}, {"{p*}gate.bias"}, {layout::Hold(DType::kF32)});
  NameRules rules;
  rules.to_native =
      KeyRewriter::Create({KeyRewriter::Regex("^A$", "held.A")}).value();
  rules.to_hf =
      KeyRewriter::Create({KeyRewriter::Regex("^held\\.A$", "A")}).value();
  rules.held_names =
      NameFilter::Create("A$", NameFilter::Anchor::kSearch).value();
  const auto adapter = MakeLayoutAdapter({table, rules}).value();
  EXPECT_THAT(adapter->ForcedHfDtypeMapping(Dict({"x.bias", "w", "A"})),
              ElementsAre(Pair("x.bias", DType::kF32), Pair("A", DType::kF32)));
  EXPECT_THAT(
      adapter->ForcedNativeDtypeMapping(Dict({"x.gate.bias", "w", "held.A"})),
      ElementsAre(Pair("x.gate.bias", DType::kF32),
                  Pair("held.A", DType::kF32)));
}

}  // namespace
}  // namespace windlass
