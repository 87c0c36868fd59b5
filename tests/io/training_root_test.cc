#include "windlass/io/training_root.h"

#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/io/checkpoint.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/tests/testing/files.h"

namespace windlass {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

namespace fs = std::filesystem;

class TrainingRootTest : public ::testing::Test {
 protected:
  TrainingRootTest() {
    for (const char* step : {"epoch_0_step_9", "epoch_0_step_10"}) {
      fs::create_directories(Path(absl::StrCat(step, "/model")));
      fs::create_directories(Path(absl::StrCat(step, "/optim")));
    }
    // What a job makes before it gives it its name.
    fs::create_directories(Path("epoch_1_step_20.reserving-5f/model"));
    WriteTestFile(Path("epoch_1_step_30"), "no folder");
  }
  ~TrainingRootTest() override { fs::remove_all(root_); }

  std::string Path(const std::string& name) const { return root_ + "/" + name; }
  absl::StatusOr<std::string> Resolve(
      const std::string& name, TrainingPart part = TrainingPart::kModel) const {
    const auto location = ResolveLocation(name.empty() ? root_ : Path(name));
    const auto resolved = ResolveTrainingRoot(*location, part);
    if (!resolved.ok()) return resolved.status();
    return fs::relative(resolved->path, root_).string();
  }

  const std::string root_ = MakeTestFolder();
};

TEST_F(TrainingRootTest, ARootIsItsHighestStepWhereNothingSaysOtherwise) {
  EXPECT_EQ(Resolve("").value(), "epoch_0_step_10/model");
  EXPECT_EQ(Resolve("", TrainingPart::kOptimizer).value(),
            "epoch_0_step_10/optim");
  // Steps count on from epoch to epoch.
  fs::create_directories(Path("epoch_1_step_8/model"));
  EXPECT_EQ(Resolve("").value(), "epoch_0_step_10/model");
}

TEST_F(TrainingRootTest, ACheckpointIsItsPart) {
  EXPECT_EQ(Resolve("epoch_0_step_9").value(), "epoch_0_step_9/model");
  EXPECT_EQ(Resolve("epoch_0_step_9/").value(), "epoch_0_step_9/model");
  EXPECT_EQ(Resolve("epoch_0_step_9", TrainingPart::kOptimizer).value(),
            "epoch_0_step_9/optim");
  EXPECT_EQ(Resolve("epoch_0_step_9/model").value(), "epoch_0_step_9/model");
  fs::rename(Path("epoch_0_step_9"), Path("best"));
  EXPECT_EQ(Resolve("best").value(), "best/model");
}

TEST_F(TrainingRootTest, LatestSaysWhichOneIsMeant) {
  fs::create_directory_symlink("epoch_0_step_9", Path("LATEST"));
  WriteTestFile(Path("LATEST.txt"), "epoch_0_step_10");
  EXPECT_EQ(Resolve("").value(), "epoch_0_step_9/model");
  EXPECT_EQ(Resolve("LATEST").value(), "epoch_0_step_9/model");
  fs::remove(Path("LATEST"));
  fs::create_directory_symlink("epoch_0_step_99", Path("LATEST"));
  EXPECT_THAT(Resolve("").status(),
              StatusIs(absl::StatusCode::kNotFound,
                       HasSubstr("LATEST: found a link that leads nowhere")));
}

TEST_F(TrainingRootTest, LatestMayBeATextThatNamesIt) {
  for (const char* text :
       {"epoch_0_step_9\n", "epoch_0_step_9/", "/gone/job/epoch_0_step_9"}) {
    WriteTestFile(Path("LATEST.txt"), text);
    EXPECT_EQ(Resolve("").value(), "epoch_0_step_9/model") << text;
  }
  for (const char* text : {"", "..", "epoch_0_step_99", "epoch_1_step_30"}) {
    WriteTestFile(Path("LATEST.txt"), text);
    EXPECT_THAT(Resolve("").status(), StatusIs(absl::StatusCode::kNotFound,
                                               HasSubstr("LATEST.txt: found")))
        << text;
  }
}

TEST_F(TrainingRootTest, WhatIsUnfinishedIsRefused) {
  const auto refused =
      StatusIs(absl::StatusCode::kFailedPrecondition,
               HasSubstr("epoch_0_step_10: found .incomplete, expected a "
                         "checkpoint that was written to its end"));
  WriteTestFile(Path("epoch_0_step_10/.incomplete"), "");
  EXPECT_THAT(Resolve("").status(), refused);
  EXPECT_THAT(Resolve("epoch_0_step_10").status(), refused);
  EXPECT_THAT(Resolve("epoch_0_step_10/model").status(), refused);
  EXPECT_THAT(Resolve("epoch_0_step_10/optim/").status(), refused);
  // One that is meant by name is not in the way of another.
  EXPECT_EQ(Resolve("epoch_0_step_9").value(), "epoch_0_step_9/model");
  fs::create_directory_symlink("epoch_0_step_9", Path("LATEST"));
  EXPECT_EQ(Resolve("").value(), "epoch_0_step_9/model");
}

TEST_F(TrainingRootTest, APartThatIsNotThereIsNamed) {
  fs::remove_all(Path("epoch_0_step_10/optim"));
  EXPECT_THAT(Resolve("", TrainingPart::kOptimizer).status(),
              StatusIs(absl::StatusCode::kNotFound,
                       HasSubstr("epoch_0_step_10: found no optim")));
}

TEST_F(TrainingRootTest, OtherFoldersAreWhatTheyAre) {
  for (const char* name : {"a/model", "c", "d"}) {
    fs::create_directories(Path(name));
  }
  WriteTestFile(Path("d/LATEST"), "a note");
  WriteTestFile(Path("d/LATEST.txt"), "a note");
  for (const char* name : {"a", "c", "d"}) {
    EXPECT_EQ(Resolve(name).value(), name);
  }
}

TEST_F(TrainingRootTest, AConfigLiesWithTheWeights) {
  const auto paths = [](const std::string& folder) {
    return ConfigPaths(*ResolveLocation(folder));
  };
  EXPECT_THAT(
      paths("j/model"),
      ElementsAre("j/model/config.json", "j/model/.hf_metadata/config.json"));
  EXPECT_THAT(
      paths("j/optim"),
      ElementsAre("j/optim/config.json", "j/optim/.hf_metadata/config.json",
                  "j/model/config.json", "j/model/.hf_metadata/config.json"));
}

TEST_F(TrainingRootTest, CheckpointsAreOpenedThroughTheirRoot) {
  WriteTestCheckpoint(Path("epoch_0_step_10/model"), std::vector<StateDict>(1),
                      "{}");
  ASSERT_OK_AND_ASSIGN(const Checkpoint checkpoint, OpenCheckpoint(root_));
  EXPECT_THAT(checkpoint.folder.path, HasSubstr("epoch_0_step_10/model"));
}

}  // namespace
}  // namespace windlass
