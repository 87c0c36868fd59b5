// The tools, as processes, on every case that has to be refused: nothing that
// lies in a file is run, and none takes much memory to refuse.

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/core/json.h"
#include "windlass/tests/testing/files.h"

namespace windlass {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kRoot[] = "tests/formats/data";

// Of the process as a whole, its code among it.
constexpr long kMostKiB = 256 << 10;

// What the malicious cases would make.
constexpr char kTrace[] = "windlass_was_here";

// Paths of inputs that are to be refused, by their case's name.
std::vector<std::pair<std::string, std::string>> BadInputs() {
  std::vector<std::pair<std::string, std::string>> inputs;
  for (const auto& entry :
       std::filesystem::recursive_directory_iterator(kRoot)) {
    if (entry.path().filename() != "case.json") continue;
    const std::string folder = entry.path().parent_path();
    const Json json = ParseJson(ReadTestFile(entry.path())).value();
    if (!json["expected"].is_null()) continue;
    inputs.emplace_back(
        folder, absl::StrCat(folder, "/", json["input"].get<std::string>()));
  }
  std::sort(inputs.begin(), inputs.end());
  return inputs;
}

struct ToolRun {
  int exit_code = -1;
  long peak_kib = 0;
  std::string err;
};

// Runs a tool, with the folder as the place for temporary files.
ToolRun RunTool(std::vector<std::string> arguments, const std::string& folder) {
  const std::string err = absl::StrCat(folder, "/err");
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(&argument[0]);
  argv.push_back(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    const int file = ::open(err.c_str(), O_CREAT | O_WRONLY | O_TRUNC, 0600);
    const int null = ::open("/dev/null", O_RDWR);
    ::dup2(null, 0);
    ::dup2(null, 1);
    ::dup2(file, 2);
    ::setenv("TMPDIR", folder.c_str(), 1);
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  ToolRun run;
  int status = 0;
  rusage usage = {};
  EXPECT_EQ(::wait4(child, &status, 0, &usage), child);
  run.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  run.peak_kib = usage.ru_maxrss;
  run.err = ReadTestFile(err);
  std::filesystem::remove(err);
  return run;
}

TEST(MaliciousTest, WhatIsBadIsRefusedInOneLineAndNothingIsRun) {
  const std::string folder = MakeTestFolder();
  const std::string out = absl::StrCat(folder, "/out");
  int malicious = 0;
  for (const auto& [name, input] : BadInputs()) {
    SCOPED_TRACE(name);
    malicious += absl::StrContains(name, "malicious");
    for (const std::vector<std::string>& command :
         {std::vector<std::string>{"tools/convert", "--to=same", input, out},
          {"tools/inspect", input},
          {"tools/inspect", "--json", input}}) {
      const ToolRun run = RunTool(command, folder);
      SCOPED_TRACE(run.err);
      // What inspect calls trouble, convert calls an error.
      EXPECT_THAT(run.exit_code, ::testing::AnyOf(1, 2));
      EXPECT_EQ(std::count(run.err.begin(), run.err.end(), '\n'), 1);
      EXPECT_THAT(run.err, HasSubstr(input));
      EXPECT_LT(run.peak_kib, kMostKiB);
      EXPECT_THAT(ReadTestFolder(folder), IsEmpty());
    }
  }
  EXPECT_GE(malicious, 3);
  for (const std::string& place :
       {std::string("/tmp"), std::string("/var/tmp"), std::string(".")}) {
    EXPECT_FALSE(std::filesystem::exists(absl::StrCat(place, "/", kTrace)));
  }
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace windlass
