#include "windlass/core/adapter_registry.h"

#include <memory>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/tests/testing/status_matchers.h"

namespace windlass {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

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

TEST(AdapterRegistryTest, ArchitecturesComeBeforeModelType) {
  EXPECT_EQ(FoundBy(R"({"architectures": ["Other", "FirstForCausalLM"],
                        "model_type": "second_t"})"),
            "first");
  EXPECT_EQ(
      FoundBy(R"({"architectures": ["Other"], "model_type": "second_t"})"),
      "second");
  EXPECT_EQ(FoundBy(R"({"model_type": "first_t"})"), "first");
}

TEST(AdapterRegistryTest, UnknownNamesGetNearOnes) {
  const auto not_found = absl::StatusCode::kNotFound;
  EXPECT_THAT(AdapterRegistry::FindByName("frist"),
              StatusIs(not_found, HasSubstr("did you mean first?")));
  EXPECT_THAT(AdapterRegistry::FindByName("zebra"),
              StatusIs(not_found, HasSubstr("known: first, second")));
  EXPECT_THAT(
      AdapterRegistry::FindByConfig(
          ModelConfig::Parse(R"({"architectures": ["FirstForCausalLn"]})")
              .value()),
      StatusIs(not_found, AllOf(HasSubstr("FirstForCausalLn"),
                                HasSubstr("did you mean FirstForCausalLM"))));
  EXPECT_THAT(AdapterRegistry::FindByConfig(ModelConfig()),
              StatusIs(not_found, HasSubstr("neither")));
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

TEST(AdapterRegistryDeathTest, ASecondClaimNamesBothFiles) {
  EXPECT_DEATH(AdapterRegistrar(MakeInfo("first", "X", "x"), "b.cc"),
               "adapter \"first\" is registered by .*test.cc and by b.cc");
  EXPECT_DEATH(AdapterRegistrar(MakeInfo("x", "FirstForCausalLM", "x"), "b.cc"),
               "FirstForCausalLM");
}

}  // namespace
}  // namespace windlass
