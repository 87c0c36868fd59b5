// Which format a checkpoint is in, and which one it is written in, with two
// formats of the test's own beside safetensors.

#include <filesystem>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/core/status_macros.h"
#include "windlass/io/checkpoint.h"
#include "windlass/io/save.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/testing/tensors.h"
#include "windlass/tests/testing/files.h"

namespace windlass {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Key;
using ::testing::UnorderedElementsAre;

// Files NAME.SUFFIX of one tensor's bytes: likely its own; "sure.SUFFIX" is for
// certain.
class BareFormat : public CheckpointFormat {
 public:
  explicit BareFormat(std::string name) : name_(std::move(name)) {}

  absl::string_view name() const override { return name_; }

  Certainty Detect(const std::vector<std::string>& names) const override {
    Certainty certainty = Certainty::kNone;
    for (const std::string& name : names) {
      if (!absl::EndsWith(name, Suffix())) continue;
      if (name == "sure" + Suffix()) return Certainty::kCertain;
      certainty = Certainty::kLikely;
    }
    return certainty;
  }

  bool IsFileName(absl::string_view name) const override {
    return absl::EndsWith(name, Suffix());
  }

  absl::StatusOr<Checkpoint> Open(const Location& folder,
                                  const std::vector<std::string>& names,
                                  const std::string& file,
                                  const OpenOptions&) const override {
    Checkpoint checkpoint;
    for (const std::string& name : names) {
      if (!absl::EndsWith(name, Suffix())) continue;
      if (!file.empty() && name != file) continue;
      WINDLASS_ASSIGN_OR_RETURN(
          auto bytes, folder.storage->OpenForRead(JoinPath(folder.path, name)));
      WINDLASS_ASSIGN_OR_RETURN(
          Tensor tensor, Tensor::FromExtent(DType::kU8, {bytes->size()},
                                            Extent{bytes, 0, bytes->size()}));
      WINDLASS_RETURN_IF_ERROR(
          checkpoint.tensors.Insert(name, std::move(tensor)));
      checkpoint.shards.push_back({name, bytes, {}});
    }
    return checkpoint;
  }

  absl::StatusOr<TransferPlan> Plan(
      const StateDict& tensors, const Checkpoint&,
      const LayOutOptions& options) const override {
    TransferPlan plan;
    for (const NamedTensor& named : tensors) {
      PlannedFile file;
      file.name = !options.file.empty() ? options.file : named.name + Suffix();
      file.Append(PlannedTensor{named.name, named.tensor, {}});
      plan.files.push_back(std::move(file));
    }
    return plan;
  }

  absl::StatusOr<CheckpointFiles> FindFiles(
      const Location& folder) const override {
    CheckpointFiles files;
    WINDLASS_ASSIGN_OR_RETURN(const std::vector<std::string> names,
                              ListNames(folder));
    for (const std::string& name : names) {
      if (absl::EndsWith(name, Suffix())) files.shards.push_back(name);
    }
    return files;
  }

 private:
  std::string Suffix() const { return absl::StrCat(".", name_); }

  const std::string name_;
};

const CheckpointFormatRegistrar alpha(new BareFormat("alpha"));
const CheckpointFormatRegistrar beta(new BareFormat("beta"));

class FormatsTest : public ::testing::Test {
 protected:
  FormatsTest() {
    std::vector<StateDict> shards(1);
    shards[0]
        .Insert("w", RandomTensor(DType::kF32, {4}, &random_))
        .IgnoreError();
    WriteTestCheckpoint(folder_ + "/in", shards, "{}");
  }
  ~FormatsTest() override { std::filesystem::remove_all(folder_); }

  absl::Status Save(const std::string& input, const std::string& output,
                    const SaveOptions& options) {
    WINDLASS_ASSIGN_OR_RETURN(const Checkpoint in,
                              OpenCheckpoint(folder_ + input));
    WINDLASS_ASSIGN_OR_RETURN(
        const SavePlan plan,
        PlanSave(in.tensors, in, folder_ + output, options));
    return SaveCheckpoint(plan, {});
  }

  std::mt19937 random_{5};
  const std::string folder_ = MakeTestFolder();
};

TEST_F(FormatsTest, TheSurestFormatHasTheFolder) {
  std::filesystem::create_directories(folder_ + "/mixed");
  WriteTestFile(folder_ + "/mixed/sure.alpha", "a");
  WriteTestFile(folder_ + "/mixed/other.beta", "b");
  ASSERT_OK_AND_ASSIGN(const Checkpoint found,
                       OpenCheckpoint(folder_ + "/mixed"));
  EXPECT_EQ(found.format->name(), "alpha");
}

TEST_F(FormatsTest, TwoThatAreEquallySureAreAnErrorUntilOneIsNamed) {
  std::filesystem::create_directories(folder_ + "/mixed");
  WriteTestFile(folder_ + "/mixed/one.alpha", "a");
  WriteTestFile(folder_ + "/mixed/two.beta", "b");
  EXPECT_THAT(OpenCheckpoint(folder_ + "/mixed"),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("/mixed: "), HasSubstr("alpha, beta"))));
  OpenOptions options;
  options.format = "beta";
  ASSERT_OK_AND_ASSIGN(const Checkpoint found,
                       OpenCheckpoint(folder_ + "/mixed", options));
  EXPECT_TRUE(found.tensors.Contains("two.beta"));
  // A file alone is nobody else's.
  ASSERT_OK_AND_ASSIGN(const Checkpoint file,
                       OpenCheckpoint(folder_ + "/mixed/one.alpha"));
  EXPECT_EQ(file.format->name(), "alpha");
}

TEST_F(FormatsTest, AnUnknownFormatIsRefusedWithThoseThatAreKnown) {
  const auto refused =
      StatusIs(absl::StatusCode::kNotFound,
               AllOf(HasSubstr("\"gamma\""), HasSubstr("alpha, beta"),
                     HasSubstr("safetensors")));
  OpenOptions open;
  open.format = "gamma";
  EXPECT_THAT(OpenCheckpoint(folder_ + "/in", open), refused);
  SaveOptions save;
  save.format = "gamma";
  EXPECT_THAT(Save("/in", "/out", save), refused);
}

TEST_F(FormatsTest, TheOutputIsSafetensorsWhateverTheInputIs) {
  std::filesystem::create_directories(folder_ + "/bare");
  WriteTestFile(folder_ + "/bare/x.alpha", "xyz");
  ASSERT_OK(Save("/bare", "/out", {}));
  EXPECT_THAT(ReadTestFolder(folder_ + "/out"),
              UnorderedElementsAre(Key("model.safetensors")));
  // The input's shards are kept apart, under this format's names.
  WriteTestFile(folder_ + "/bare/y.alpha", "yz");
  ASSERT_OK(Save("/bare", "/both", {}));
  EXPECT_THAT(ReadTestFolder(folder_ + "/both"),
              UnorderedElementsAre(Key("model-00001-of-00002.safetensors"),
                                   Key("model-00002-of-00002.safetensors"),
                                   Key("model.safetensors.index.json")));
}

TEST_F(FormatsTest, AnotherFormatsCheckpointIsReplacedToo) {
  SaveOptions options;
  ASSERT_OK(Save("/in", "/out", options));
  options.format = "alpha";
  EXPECT_THAT(Save("/in", "/out", options),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("found config.json and 1 more")));
  options.overwrite = true;
  ASSERT_OK(Save("/in", "/out", options));
  EXPECT_THAT(ReadTestFolder(folder_ + "/out"),
              UnorderedElementsAre(Key("config.json"), Key("w.alpha")));
}

TEST_F(FormatsTest, OneFileMayStandAmongOthers) {
  SaveOptions options;
  options.format = "alpha";
  WriteTestFile(folder_ + "/mine.txt", "precious");
  ASSERT_OK(Save("/in", "/w.alpha", options));
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
    names.push_back(entry.path().filename());
  }
  EXPECT_THAT(names, UnorderedElementsAre("in", "mine.txt", "w.alpha"));
  EXPECT_EQ(ReadTestFile(folder_ + "/w.alpha").size(), 16u);
  EXPECT_THAT(Save("/in", "/w.alpha", options),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("found w.alpha, expected no such file")));
  options.resume = true;
  EXPECT_OK(Save("/in", "/w.alpha", options));
  options.resume = false;
  options.overwrite = true;
  EXPECT_OK(Save("/in", "/w.alpha", options));
}

TEST_F(FormatsTest, OneFileIsNotWrittenIntoTheInput) {
  SaveOptions options;
  options.format = "alpha";
  options.overwrite = true;
  EXPECT_THAT(Save("/in", "/in/w.alpha", options),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("apart from the input")));
  std::filesystem::create_directories(folder_ + "/dir.alpha");
  EXPECT_THAT(Save("/in", "/dir.alpha", options),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("found a folder in a file's place")));
}

}  // namespace
}  // namespace windlass
