#include "windlass/core/adapter_registry.h"

#include <memory>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/testing/status_matchers.h"

namespace windlass {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

class NoAdapter : public StateDictAdapter {
 public:
  absl::StatusOr<StateDict> ToHf(const StateDict&,
                                 const ToHfOptions&) const override {
    return StateDict();
  }
  absl::StatusOr<StateDict> FromHf(const StateDict&,
                                   const FromHfOptions&) const override {
    return StateDict();
  }
  absl::StatusOr<std::vector<NamedTensor>> ConvertSingleTensorToHf(
      absl::string_view, const Tensor&, const ToHfOptions&) const override {
    return std::vector<NamedTensor>();
  }
};

AdapterInfo MakeInfo(const char* name, const char* architecture,
                     const char* model_type) {
  return {name,
          "test",
          "a test's",
          {architecture},
          {model_type},
          {{"depth", "1", "how deep"}},
          [](const ModelConfig&, const JsonFields&)
              -> absl::StatusOr<std::unique_ptr<StateDictAdapter>> {
            return std::make_unique<NoAdapter>();
          }};
}

const AdapterRegistrar first(MakeInfo("first", "FirstForCausalLM", "first_t"));
const AdapterRegistrar second(MakeInfo("second", "SecondForCausalLM",
                                       "second_t"));

std::string FoundBy(const char* config) {
  return (*AdapterRegistry::FindByConfig(ModelConfig::Parse(config).value()))
      ->name;
}

TEST(AdapterRegistryTest, TheFirstArchitectureAloneSelects) {
  EXPECT_EQ(FoundBy(R"({"architectures": ["FirstForCausalLM", "Other"],
                        "model_type": "second_t"})"),
            "first");
  EXPECT_EQ(FoundBy(R"({"model_type": "first_t"})"), "first");
  EXPECT_THAT(
      AdapterRegistry::FindByConfig(
          ModelConfig::Parse(R"({"architectures": ["Other", "FirstForCausalLM"],
                                 "model_type": "second_t"})")
              .value()),
      StatusIs(absl::StatusCode::kNotFound, HasSubstr("\"Other\"")));
}

TEST(AdapterRegistryTest, UnknownNamesGetNearOnes) {
  const auto not_found = absl::StatusCode::kNotFound;
  EXPECT_THAT(AdapterRegistry::FindByName("frist"),
              StatusIs(not_found, HasSubstr("did you mean first?")));
  EXPECT_THAT(AdapterRegistry::FindByName("zebra"),
              StatusIs(not_found, HasSubstr("known: ")));
  EXPECT_THAT(
      AdapterRegistry::FindByConfig(
          ModelConfig::Parse(R"({"architectures": ["FirstForCausalLn"]})")
              .value()),
      StatusIs(not_found, AllOf(HasSubstr("FirstForCausalLn"),
                                HasSubstr("did you mean FirstForCausalLM"))));
  EXPECT_THAT(AdapterRegistry::FindByConfig(ModelConfig()),
              StatusIs(not_found, HasSubstr("neither")));
}

TEST(AdapterRegistryTest, AMixtureIsNeverNearToADenseModel) {
  const auto found = AdapterRegistry::FindByConfig(
      ModelConfig::Parse(R"({"architectures": ["FirstMoeForCausalLM"]})")
          .value());
  EXPECT_THAT(found, StatusIs(absl::StatusCode::kNotFound,
                              Not(HasSubstr("did you mean"))));
}

TEST(AdapterRegistryTest, UnknownOptionsListTheKnown) {
  const AdapterInfo* info = *AdapterRegistry::FindByName("first");
  EXPECT_THAT(
      AdapterRegistry::Create(
          *info, ModelConfig(),
          JsonFields::Parse(R"({"width": 1})", "--adapter_options").value()),
      StatusIs(absl::StatusCode::kInvalidArgument,
               AllOf(HasSubstr("\"width\""), HasSubstr("takes depth"))));
  EXPECT_OK(AdapterRegistry::Create(
      *info, ModelConfig(), JsonFields::Parse(R"({"depth": 1})", "o").value()));
}

// Two that share an architecture, one for each depth; and one more for depth 3.
AdapterInfo OfDepth(const char* name, int64_t depth) {
  AdapterInfo info = MakeInfo(name, "SharedForCausalLM", "shared");
  info.supports = [depth](const ModelConfig& config) -> absl::StatusOr<bool> {
    const auto found = config.GetPositiveInt("depth");
    if (!found.ok()) return found.status();
    return *found == depth;
  };
  return info;
}
const AdapterRegistrar two(OfDepth("depth_two", 2), "two.cc");
const AdapterRegistrar three(OfDepth("depth_three", 3), "three.cc");
const AdapterRegistrar another(OfDepth("another_three", 3), "another.cc");
const AdapterRegistrar homonym(MakeInfo("homonym", "X", "x"), "one.cc");
const AdapterRegistrar other_homonym(
    [] {
      AdapterInfo info = MakeInfo("homonym", "Y", "y");
      info.framework = "other";
      return info;
    }(),
    "two.cc");

TEST(AdapterRegistryTest, ASharedArchitectureIsDecidedByTheConfig) {
  EXPECT_EQ(FoundBy(R"({"architectures": ["SharedForCausalLM"], "depth": 2})"),
            "depth_two");
  const auto find = [](const char* config) {
    return AdapterRegistry::FindByConfig(ModelConfig::Parse(config).value());
  };
  EXPECT_THAT(
      find(R"({"architectures": ["SharedForCausalLM"], "depth": 3})"),
      StatusIs(absl::StatusCode::kAlreadyExists,
               AllOf(HasSubstr("depth_three"), HasSubstr("three.cc"),
                     HasSubstr("another_three"), HasSubstr("another.cc"))));
  EXPECT_THAT(find(R"({"architectures": ["SharedForCausalLM"], "depth": 4})"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("Shared")));
  EXPECT_THAT(find(R"({"architectures": ["SharedForCausalLM"]})"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("depth")));
}

TEST(AdapterRegistryTest, AFrameworkTellsAdaptersOfOneNameApart) {
  EXPECT_THAT(AdapterRegistry::FindByName("homonym"),
              StatusIs(absl::StatusCode::kAlreadyExists,
                       AllOf(HasSubstr("one.cc"), HasSubstr("two.cc"))));
  EXPECT_EQ((*AdapterRegistry::FindByName("homonym", "other"))->framework,
            "other");
}

}  // namespace
}  // namespace windlass
