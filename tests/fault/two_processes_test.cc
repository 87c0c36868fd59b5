// Two conversions at once: one wins, the other is told who is there.

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/io/checkpoint.h"
#include "windlass/io/storage/storage.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/testing/tensors.h"
#include "windlass/tests/fault/processes.h"
#include "windlass/tests/testing/files.h"

namespace windlass {
namespace {

using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::Eq;
using ::testing::HasSubstr;

int Rounds() { return std::getenv("WINDLASS_STRESS") != nullptr ? 200 : 20; }

class TwoProcessesTest : public ::testing::Test {
 protected:
  TwoProcessesTest() {
    for (const int which : {0, 1}) {
      std::mt19937 random(which);
      std::vector<StateDict> shards(2);
      for (int i = 0; i < 60; ++i) {
        const std::string layer = absl::StrCat("model.layers.", i, ".");
        shards[i / 30]
            .Insert(layer + "linear_attn.A_log",
                    RandomTensor(DType::kF32, {16}, &random))
            .IgnoreError();
        shards[i / 30]
            .Insert(layer + "mlp.up_proj.weight",
                    RandomTensor(DType::kBF16, {64, 256}, &random))
            .IgnoreError();
      }
      WriteTestCheckpoint(In(which), shards,
                          R"({"architectures": ["Qwen3_5ForCausalLM"]})");
      EXPECT_EQ(RunCommand({"tools/convert", "--to=native", In(which),
                            Expected(which)})
                    .exit_code,
                0);
    }
  }
  ~TwoProcessesTest() override { std::filesystem::remove_all(folder_); }

  std::string In(int which) const {
    return absl::StrCat(folder_, "/in", which);
  }
  std::string Expected(int which) const {
    return absl::StrCat(folder_, "/expected", which);
  }
  std::string Log(int which) const {
    return absl::StrCat(folder_, "/log", which);
  }

  // Runs both, the second a little later; returns who came through.
  std::vector<int> Race(const std::vector<std::string>& first,
                        const std::vector<std::string>& second, int delay) {
    const pid_t a = StartCommand(first, Log(0));
    ::usleep(delay);
    const pid_t b = StartCommand(second, Log(1));
    std::vector<int> done;
    const int statuses[] = {WaitFor(a), WaitFor(b)};
    for (const int which : {0, 1}) {
      EXPECT_TRUE(WIFEXITED(statuses[which]));
      if (WEXITSTATUS(statuses[which]) == 0) {
        done.push_back(which);
      } else {
        EXPECT_EQ(WEXITSTATUS(statuses[which]), 1);
      }
    }
    return done;
  }

  const std::string folder_ = MakeTestFolder();
};

TEST_F(TwoProcessesTest, IntoOneFolderTheResultIsOneOfTheTwo) {
  std::mt19937 random(5);
  for (int i = 0; i < Rounds(); ++i) {
    SCOPED_TRACE(i);
    const bool overwrite = i % 2 == 1;
    const std::string out = absl::StrCat(folder_, "/out", i);
    std::vector<std::string> commands[2];
    for (const int which : {0, 1}) {
      commands[which] = {"tools/convert", "--nofsync", "--to=native"};
      if (overwrite) commands[which].push_back("--overwrite");
      commands[which].push_back(In(which));
      commands[which].push_back(out);
    }
    const std::vector<int> done =
        Race(commands[0], commands[1], random() % 10000);
    ASSERT_FALSE(done.empty());
    if (!overwrite) {
      ASSERT_EQ(done.size(), 1u);
    }
    if (done.size() == 1) {
      ASSERT_EQ(ReadTestFolder(out), ReadTestFolder(Expected(done[0])));
      ASSERT_THAT(
          ReadTestFile(Log(1 - done[0])),
          AnyOf(AllOf(HasSubstr("in use by process"), HasSubstr("since 20")),
                HasSubstr("expected an empty folder")));
    } else {
      ASSERT_THAT(ReadTestFolder(out), AnyOf(Eq(ReadTestFolder(Expected(0))),
                                             Eq(ReadTestFolder(Expected(1)))));
    }
    std::filesystem::remove_all(out);
  }
}

TEST_F(TwoProcessesTest, InPlaceEachFileIsConvertedOnce) {
  ASSERT_OK_AND_ASSIGN(const Checkpoint expected, OpenCheckpoint(Expected(0)));
  std::mt19937 random(6);
  for (int i = 0; i < Rounds(); ++i) {
    SCOPED_TRACE(i);
    const std::string copy = absl::StrCat(folder_, "/copy", i);
    std::filesystem::copy(In(0), copy);
    const std::vector<std::string> command = {
        "tools/convert", "--nofsync", "--to=native", "--in_place", copy};
    ASSERT_FALSE(Race(command, command, random() % 6000).empty());
    ASSERT_OK_AND_ASSIGN(const Checkpoint found, OpenCheckpoint(copy));
    ASSERT_EQ(Difference(Sorted(found.tensors), Sorted(expected.tensors)), "");
    std::filesystem::remove_all(copy);
  }
}

TEST_F(TwoProcessesTest, AnInputIsNotRewrittenInPlaceWhileItIsRead) {
  std::mt19937 random(7);
  for (int i = 0; i < Rounds(); ++i) {
    SCOPED_TRACE(i);
    const std::string copy = absl::StrCat(folder_, "/copy", i);
    const std::string out = absl::StrCat(folder_, "/out", i);
    std::filesystem::copy(In(0), copy);
    const std::vector<int> done =
        Race({"tools/convert", "--nofsync", "--to=native", copy, out},
             {"tools/convert", "--nofsync", "--to=native", "--in_place", copy},
             random() % 10000);
    ASSERT_FALSE(done.empty());
    // What was converted before or after is the same.
    if (std::filesystem::exists(out + "/config.json")) {
      ASSERT_OK_AND_ASSIGN(const Checkpoint found, OpenCheckpoint(out));
      ASSERT_EQ(found.tensors.size(), 120u);
      for (const auto& [name, tensor] : found.tensors) {
        EXPECT_TRUE(name.find("A_log") == name.npos ||
                    name.find("_fp32_params.A_log") != name.npos);
      }
    }
    std::filesystem::remove_all(copy);
    std::filesystem::remove_all(out);
  }
}

TEST_F(TwoProcessesTest, TwoMayReadOneInput) {
  const pid_t a = StartCommand(
      {"tools/convert", "--to=native", In(0), folder_ + "/a"}, Log(0));
  const pid_t b = StartCommand(
      {"tools/convert", "--to=native", In(0), folder_ + "/b"}, Log(1));
  EXPECT_EQ(WaitFor(a), 0) << ReadTestFile(Log(0));
  EXPECT_EQ(WaitFor(b), 0) << ReadTestFile(Log(1));
  EXPECT_EQ(ReadTestFolder(folder_ + "/a"), ReadTestFolder(Expected(0)));
  EXPECT_EQ(ReadTestFolder(folder_ + "/b"), ReadTestFolder(Expected(0)));
  for (const auto& [name, bytes] : ReadTestFolder(In(0))) {
    EXPECT_NE(name[0], '.') << name;
  }
}

TEST_F(TwoProcessesTest, TheSecondIsToldWhoIsThere) {
  const std::string out = folder_ + "/held";
  std::filesystem::create_directories(out);
  const Location location = ResolveLocation(out).value();
  ASSERT_OK_AND_ASSIGN(auto lock,
                       location.storage->Lock(out, LockMode::kExclusive));
  const std::vector<std::string> command = {"tools/convert", "--to=native",
                                            In(0), out};
  const CommandResult refused = RunCommand(command);
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_THAT(refused.err, HasSubstr(absl::StrCat("in use by process ",
                                                  ::getpid(), " on ")));
  // A launcher that starts a process a rank is named.
  std::vector<std::string> ranked = command;
  ranked.insert(ranked.begin(), {"/usr/bin/env", "SLURM_PROCID=1"});
  EXPECT_THAT(RunCommand(ranked).err,
              HasSubstr("srun starts a process a rank"));
  lock.reset();
  EXPECT_EQ(RunCommand(command).exit_code, 0);
  EXPECT_EQ(ReadTestFolder(out), ReadTestFolder(Expected(0)));
}

}  // namespace
}  // namespace windlass
