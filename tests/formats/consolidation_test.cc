// A training job's files become those that its model was published as: cases
// that NeMo Automodel's own consolidation has answered.

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/convert/conversion.h"
#include "windlass/core/json.h"
#include "windlass/io/checkpoint.h"
#include "windlass/io/storage/storage.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/testing/tensors.h"
#include "windlass/tests/testing/files.h"

namespace windlass {
namespace {

using ::testing::UnorderedElementsAreArray;

constexpr char kRoot[] = "tests/formats/data/consolidation/";

class ConsolidationTest : public ::testing::TestWithParam<const char*> {};

TEST_P(ConsolidationTest, GivesTheFilesThatTheReferenceGives) {
  const std::string folder = absl::StrCat(kRoot, GetParam(), "/");
  const Json json = ParseJson(ReadTestFile(folder + "case.json")).value();
  ConversionRequest request;
  request.input = folder + json["input"].get<std::string>();
  request.output = absl::StrCat("mem://consolidation/", GetParam());
  request.to = Layout::kSame;
  ASSERT_OK(Convert(request));
  ASSERT_OK_AND_ASSIGN(const Checkpoint found, OpenCheckpoint(request.output));
  ASSERT_OK_AND_ASSIGN(
      const Checkpoint expected,
      OpenCheckpoint(folder + json["expected"].get<std::string>()));
  EXPECT_EQ(Difference(Sorted(found.tensors), Sorted(expected.tensors)), "");
  const Json& notes = json["notes"];
  std::vector<std::string> names = {"model.safetensors.index.json"};
  for (const auto& [name, tensors] : notes["files"].items()) {
    names.push_back(name);
  }
  for (const Json& name : notes["side_files"]) names.push_back(name);
  const Location& output = found.folder;
  EXPECT_THAT(ListNames(output).value(), UnorderedElementsAreArray(names));
  const Json index =
      ParseJson(ReadFile(*output.storage,
                         JoinPath(output.path, "model.safetensors.index.json"),
                         1 << 20)
                    .value())
          .value();
  EXPECT_EQ(index["weight_map"], notes["weight_map"]);
  EXPECT_EQ(index["metadata"]["total_size"], notes["total_size"]);
}

INSTANTIATE_TEST_SUITE_P(All, ConsolidationTest,
                         ::testing::Values("dtype_map", "two_files"));

}  // namespace
}  // namespace windlass
