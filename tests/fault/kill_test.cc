// kill -9 at random moments of the real tool, and the same command again. The
// kernel survives, so nothing has to wait for the device (--nofsync).

#include <signal.h>
#include <sys/wait.h>

#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/io/checkpoint.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/testing/tensors.h"
#include "windlass/tests/fault/conversion.h"
#include "windlass/tests/fault/processes.h"
#include "windlass/tests/testing/files.h"

namespace windlass {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int kKills = 100;
constexpr char kConfig[] = R"({"architectures": ["Qwen3_5ForCausalLM"]})";

class KillTest : public ::testing::Test {
 protected:
  KillTest() {
    std::mt19937 random(12);
    std::vector<StateDict> shards(2);
    for (int i = 0; i < 160; ++i) {
      const std::string layer = absl::StrCat("model.layers.", i, ".");
      StateDict& shard = shards[i / 80];
      // In place, the first shard makes room by moving A_logs to its end; this
      // one's first tensor is too large for that.
      if (i == 80) {
        shard
            .Insert(layer + "mlp.down_proj.weight",
                    RandomTensor(DType::kBF16, {256, 256}, &random))
            .IgnoreError();
      }
      shard
          .Insert(layer + "linear_attn.A_log",
                  RandomTensor(DType::kF32, {16}, &random))
          .IgnoreError();
      shard
          .Insert(layer + "mlp.up_proj.weight",
                  RandomTensor(DType::kBF16, {64, 256}, &random))
          .IgnoreError();
    }
    WriteTestCheckpoint(In(), shards, kConfig);
    EXPECT_EQ(RunCommand({"tools/convert", "--to=native", In(), Expected()})
                  .exit_code,
              0);
    std::vector<StateDict> old(1);
    old[0]
        .Insert("old", RandomTensor(DType::kF32, {100}, &random))
        .IgnoreError();
    WriteTestCheckpoint(old_, old, "{\"old\": 1}");
  }
  ~KillTest() override { std::filesystem::remove_all(folder_); }

  std::string In() const { return folder_ + "/in"; }
  std::string Expected() const { return folder_ + "/expected"; }

  const std::string folder_ = MakeTestFolder();
  // Another checkpoint, to be converted over.
  const std::string old_ = folder_ + "/old";
};

// Killed, resumed, killed, resumed; into an empty folder and over a checkpoint.
TEST_F(KillTest, TheSameCommandAgainMakesAConversionWhole) {
  const auto input = ReadTestFolder(In());
  const auto expected = ReadTestFolder(Expected());
  std::mt19937 random(13);
  for (int i = 0; i < kKills; ++i) {
    SCOPED_TRACE(i);
    const bool resume = i % 2 == 1;
    const bool overwrite = i % 4 >= 2;
    const std::string out = absl::StrCat(folder_, "/out", i);
    std::vector<std::string> command = {"tools/convert", "--nofsync",
                                        "--to=native"};
    if (overwrite) {
      std::filesystem::copy(old_, out);
      command.push_back("--overwrite");
    }
    command.push_back(In());
    command.push_back(out);
    RunAndSignal(command, random() % 25000, SIGKILL);
    if (resume) command.insert(command.begin() + 1, "--resume");
    for (int again = random() % 3; again > 0; --again) {
      RunAndSignal(command, random() % 25000, SIGKILL);
    }
    const CommandResult last = RunCommand(command);
    // Where a run came through there is nothing to repair.
    if (last.exit_code != 0) {
      ASSERT_FALSE(resume || overwrite) << last.err;
      ASSERT_THAT(last.err, HasSubstr("expected an empty folder"));
    }
    ASSERT_EQ(ReadTestFolder(out), expected);
    ASSERT_EQ(ReadTestFolder(In()), input);
    std::filesystem::remove_all(out);
  }
}

// Until five runs were caught in the middle: a signal may come before the tool
// is ready for it, or when all is done.
TEST_F(KillTest, AnInterruptStopsCleanlyAndSaysHowToGoOn) {
  const auto expected = ReadTestFolder(Expected());
  const std::string out = folder_ + "/out";
  const std::string log = folder_ + "/log";
  std::mt19937 random(17);
  // A sanitized tool takes longer to start, and is not to be stopped before.
  int latest = 25000;  // microseconds
  for (int caught = 0; caught < 5;) {
    std::vector<std::string> command = {"tools/convert", "--to=native", In(),
                                        out};
    const int status = RunAndSignal(command, random() % latest,
                                    caught % 2 == 0 ? SIGINT : SIGTERM, log);
    if (WIFSIGNALED(status)) latest += 1000;
    if (WIFEXITED(status) && WEXITSTATUS(status) != 0) {
      ++caught;
      EXPECT_THAT(ReadTestFile(log),
                  HasSubstr("interrupted; the same command with --resume"));
      // Before the renames nothing has a final name.
      for (const auto& [name, bytes] : ReadTestFolder(out)) {
        EXPECT_EQ(name[0], '.') << name;
      }
      command.insert(command.begin() + 1, "--resume");
      const CommandResult again = RunCommand(command);
      ASSERT_EQ(again.exit_code, 0) << again.err;
      ASSERT_EQ(ReadTestFolder(out), expected);
    }
    std::filesystem::remove_all(out);
  }
}

TEST_F(KillTest, TheSameCommandAgainConvertsInPlaceOnce) {
  ASSERT_OK_AND_ASSIGN(const Checkpoint expected, OpenCheckpoint(Expected()));
  std::mt19937 random(14);
  for (int i = 0; i < kKills; ++i) {
    const std::string copy = absl::StrCat(folder_, "/copy", i);
    std::filesystem::copy(In(), copy, std::filesystem::copy_options::recursive);
    const std::vector<std::string> command = {
        "tools/convert", "--nofsync", "--to=native", "--in_place", copy};
    RunAndSignal(command, random() % 15000, SIGKILL);
    const CommandResult again = RunCommand(command);
    ASSERT_EQ(again.exit_code, 0) << again.err;
    {
      ASSERT_OK_AND_ASSIGN(const Checkpoint found, OpenCheckpoint(copy));
      ASSERT_EQ(Difference(Sorted(found.tensors), Sorted(expected.tensors)), "")
          << i;
    }
    ASSERT_EQ(ShownFiles(copy).size(), ShownFiles(In()).size());
    // And once more: nothing changes any more.
    const auto before = ShownFiles(copy);
    ASSERT_EQ(RunCommand(command).exit_code, 0);
    ASSERT_EQ(ShownFiles(copy), before);
    std::filesystem::remove_all(copy);
  }
}

TEST_F(KillTest, InPlaceRefusesWhatChangesTensors) {
  std::mt19937 random(15);
  std::vector<StateDict> shards(1);
  ASSERT_OK(shards[0].Insert("m.linear_attn.A_log",
                             RandomTensor(DType::kBF16, {16}, &random)));
  WriteTestCheckpoint(folder_ + "/gates", shards, kConfig);
  const auto before = ReadTestFolder(folder_ + "/gates");
  const CommandResult result = RunCommand(
      {"tools/convert", "--to=native", "--in_place", folder_ + "/gates"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, AllOf(HasSubstr("its bytes change"),
                                HasSubstr("_fp32_params.A_log")));
  EXPECT_EQ(ReadTestFolder(folder_ + "/gates"), before);
}

TEST_F(KillTest, InPlaceRefusesFilesThatOthersShare) {
  const std::string snapshot = folder_ + "/snapshot";
  std::filesystem::create_directories(snapshot);
  for (const auto& [name, bytes] : ReadTestFolder(In())) {
    std::filesystem::create_symlink(In() + "/" + name, snapshot + "/" + name);
  }
  const auto before = ReadTestFolder(In());
  const CommandResult result =
      RunCommand({"tools/convert", "--to=native", "--in_place", snapshot});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("found a link"));
  EXPECT_EQ(ReadTestFolder(In()), before);
}

TEST_F(KillTest, AFullTableOfFilesIsSaid) {
  const CommandResult result =
      RunCommand({"sh", "-c",
                  absl::StrCat("ulimit -n 6; exec tools/convert --to=native ",
                               In(), " ", folder_, "/out")});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("Too many open files"));
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/out/config.json"));
}

TEST_F(KillTest, DigestsTellEveryChangedTensor) {
  for (const char* kind : {"xxh3", "sha256"}) {
    const std::string out = absl::StrCat(folder_, "/", kind);
    ASSERT_EQ(RunCommand({"tools/convert", "--to=native",
                          absl::StrCat("--checksum=", kind), In(), out})
                  .exit_code,
              0);
    EXPECT_EQ(RunCommand({"tools/verify", out}).exit_code, 0);
    const std::string shard = out + "/model-00002-of-00002.safetensors";
    std::string bytes = ReadTestFile(shard);
    bytes.back() ^= 1;
    WriteTestFile(shard, bytes);
    const CommandResult result = RunCommand({"tools/verify", out});
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_EQ(result.out, "model.layers.159.mlp.up_proj.weight: other bytes\n");
  }
}

}  // namespace
}  // namespace windlass
