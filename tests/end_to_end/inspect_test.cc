// The command line of inspect.

#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/core/dtype.h"
#include "windlass/core/json.h"
#include "windlass/core/state_dict.h"
#include "windlass/io/safetensors/header.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/testing/tensors.h"
#include "windlass/tests/testing/files.h"

namespace windlass {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;

constexpr char kExample[] = "examples/qwen3_5_tiny";

CommandResult RunInspect(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "tools/inspect");
  return RunCommand(arguments);
}

// What the tool prints on a terminal of so many columns.
std::string RunOnTerminal(unsigned short columns) {
  const int terminal = ::posix_openpt(O_RDWR | O_NOCTTY);
  EXPECT_EQ(::grantpt(terminal), 0);
  EXPECT_EQ(::unlockpt(terminal), 0);
  const std::string name = ::ptsname(terminal);
  const struct winsize size = {24, columns, 0, 0};
  EXPECT_EQ(::ioctl(terminal, TIOCSWINSZ, &size), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(::open(name.c_str(), O_RDWR | O_NOCTTY), STDOUT_FILENO);
    ::unsetenv("NO_COLOR");
    ::setenv("TERM", "xterm", 1);
    ::execl("tools/inspect", "tools/inspect", kExample, nullptr);
    ::_exit(127);
  }
  std::string out;
  char buffer[4096];
  // Reading ends with an error when nobody has the other side open.
  for (ssize_t got; (got = ::read(terminal, buffer, sizeof(buffer))) > 0;) {
    out.append(buffer, got);
  }
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  ::close(terminal);
  return out;
}

class InspectTest : public ::testing::Test {
 protected:
  ~InspectTest() override { fs::remove_all(folder_); }

  void WriteExample() {
    StateDict dict;
    ASSERT_OK(dict.Insert(
        "layers.0.w", MakeTensor<float>(DType::kF32, {2, 2}, {0, 1, 2, 3})));
    ASSERT_OK(dict.Insert(
        "layers.1.w", MakeTensor<float>(DType::kF32, {2, 2}, {4, 5, 6, 7})));
    ASSERT_OK(dict.Insert(
        "bad", MakeTensor<uint16_t>(DType::kBF16, {3}, {0x7fc0, 0x7f80, 0})));
    std::vector<StateDict> shards;
    shards.push_back(std::move(dict));
    WriteTestCheckpoint(folder_, shards, "{}");
  }

  const std::string folder_ = MakeTestFolder();
};

TEST_F(InspectTest, ListsTensorsModulesAndTotals) {
  WriteExample();
  const CommandResult result = RunInspect({folder_});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.err, "");
  EXPECT_THAT(result.out, Not(HasSubstr("\033")));
  for (const char* line :
       {"tensor      dtype  shape   size  file\n",
        "layers.1.w  F32    [2, 2]  16 B  model-00001-of-00001.safetensors\n",
        "layers                  2           8  32 B  F32\n",
        "  0-1  (2 alike)        2           8  32 B  F32\n",
        "BF16         1           3   6 B\n",
        "holds        3 tensors, 11 parameters, 38 B\n"}) {
    EXPECT_THAT(result.out, HasSubstr(line));
  }
}

TEST_F(InspectTest, HelpAndVersionExist) {
  EXPECT_THAT(RunInspect({"-h"}).out, HasSubstr("inspect [flags] CHECKPOINT"));
  EXPECT_EQ(RunInspect({"--version"}).out, "windlass 0.1.0\n");
}

TEST_F(InspectTest, SelectsAndSorts) {
  const auto names = [&](std::vector<std::string> flags) {
    flags.insert(flags.end(), {"--json", folder_});
    std::vector<std::string> names;
    const Json json = ParseJson(RunInspect(flags).out).value();
    for (const Json& tensor : json["tensors"]) {
      names.push_back(tensor["name"].get<std::string>());
    }
    return names;
  };
  WriteExample();
  EXPECT_THAT(names({"--input_format=safetensors"}),
              ElementsAre("layers.0.w", "layers.1.w", "bad"));
  EXPECT_THAT(names({"--sort=name"}),
              ElementsAre("bad", "layers.0.w", "layers.1.w"));
  EXPECT_THAT(names({"--sort=size"}),
              ElementsAre("layers.0.w", "layers.1.w", "bad"));
  EXPECT_THAT(names({"--sort=dtype"}),
              ElementsAre("bad", "layers.0.w", "layers.1.w"));
  EXPECT_THAT(names({"--sort", "file", "--regex", "[01]\\.w$"}),
              ElementsAre("layers.0.w", "layers.1.w"));
  EXPECT_THAT(names({"--regex=none"}), SizeIs(0));
}

TEST_F(InspectTest, JsonIsOneObject) {
  const CommandResult result = RunInspect({"--json", "--depth=2", kExample});
  ASSERT_EQ(result.exit_code, 0);
  ASSERT_OK_AND_ASSIGN(const Json json, ParseJson(result.out));
  EXPECT_EQ(json["format"], "safetensors");
  EXPECT_EQ(json["totals"]["tensors"], 92);
  EXPECT_EQ(json["totals"]["bytes"], 510312);
  EXPECT_EQ(json["dtypes"]["F32"]["tensors"], 6);
  EXPECT_THAT(json["tensors"], SizeIs(92));
  const Json& first = json["tensors"][0];
  EXPECT_THAT(first["file"].get<std::string>(), StartsWith("model-00001-of"));
  EXPECT_TRUE(first["shape"].is_array());
  EXPECT_GT(first["bytes"], 0);
  EXPECT_EQ(json["index"]["name"], "model.safetensors.index.json");
  EXPECT_EQ(json["index"]["metadata"]["total_size"], 510312);
  EXPECT_EQ(json["problems"], Json::array());
  int64_t bytes = 0;
  for (const Json& module : json["modules"]) {
    bytes += module["bytes"].get<int64_t>();
    for (const Json& child : module["children"]) {
      EXPECT_EQ(child["children"], Json::array());
    }
  }
  EXPECT_EQ(bytes, 510312);
  EXPECT_FALSE(ParseJson(RunInspect({"--json", "--summary", kExample}).out)
                   ->contains("tensors"));
}

TEST_F(InspectTest, StatisticsAreOfTheValues) {
  WriteExample();
  const CommandResult text = RunInspect({"--stats", "--threads=1", folder_});
  ASSERT_EQ(text.exit_code, 0) << text.err;
  EXPECT_THAT(text.out, HasSubstr("layers.0.w  F32    [2, 2]    0    3   1.5  "
                                  "1.118      1    0    0\n"));
  const CommandResult result = RunInspect({"--stats", "--json", folder_});
  ASSERT_OK_AND_ASSIGN(const Json json, ParseJson(result.out));
  const Json& good = json["tensors"][0]["stats"];
  EXPECT_EQ(good["min"], 0);
  EXPECT_EQ(good["max"], 3);
  EXPECT_EQ(good["mean"], 1.5);
  EXPECT_EQ(good["zeros"], 1);
  const Json& bad = json["tensors"][2]["stats"];
  EXPECT_EQ(bad["nan"], 1);
  EXPECT_EQ(bad["inf"], 1);
  EXPECT_EQ(bad["max"], "Infinity");
  EXPECT_EQ(bad["mean"], 0);
}

TEST_F(InspectTest, FitsTheTerminalAndHasColoursThere) {
  for (const int columns : {80, 100, 300}) {
    const std::string out = RunOnTerminal(columns);
    EXPECT_THAT(out, HasSubstr("\033[1mtensor"));
    size_t longest = 0;
    for (const auto line : absl::StrSplit(out, "\r\n")) {
      // Of the table of tensors; colours are on its title alone.
      if (line.find("safetensors") == line.npos) continue;
      size_t characters = 0;
      for (const char c : line) characters += (c & 0xC0) != 0x80;
      longest = std::max(longest, characters);
    }
    EXPECT_LE(longest, static_cast<size_t>(columns));
    EXPECT_EQ(out.find("…") == out.npos, columns == 300);
  }
}

TEST_F(InspectTest, ShowsWhatAnIndexLacks) {
  StateDict first, second;
  ASSERT_OK(first.Insert("a", MakeTensor<uint8_t>(DType::kU8, {1}, {1})));
  ASSERT_OK(second.Insert("b", MakeTensor<uint8_t>(DType::kU8, {1}, {1})));
  std::vector<StateDict> shards;
  shards.push_back(std::move(first));
  shards.push_back(std::move(second));
  WriteTestCheckpoint(folder_, shards, "{}");
  WriteTestFile(folder_ + "/model.safetensors.index.json",
                R"({"weight_map": {"a": "model-00001-of-00002.safetensors"}})");
  const CommandResult text = RunInspect({folder_});
  EXPECT_EQ(text.exit_code, 0);
  EXPECT_THAT(text.out, AllOf(HasSubstr("problem "), HasSubstr("unlisted "),
                              HasSubstr("2 tensors")));
  ASSERT_OK_AND_ASSIGN(const Json json,
                       ParseJson(RunInspect({"--json", folder_}).out));
  EXPECT_EQ(json["index"]["unlisted"], Json::array({"b"}));
  EXPECT_THAT(json["problems"], SizeIs(1));
}

TEST_F(InspectTest, ShowsWhatOtherFormatsHave) {
  const std::string data = "tests/formats/data/";
  const std::string views =
      RunInspect({data + "torch/zip_views/model.bin"}).out;
  EXPECT_THAT(views, HasSubstr("format       torch, 1 file\n"));
  EXPECT_THAT(views,
              HasSubstr("tied         tied is whole (the same bytes)\n"));
  const std::string nested =
      RunInspect({data + "dcp/nested_and_objects/input"}).out;
  EXPECT_THAT(nested, HasSubstr("objects      step, lr, note\n"));
  const std::string path = data + "dcp/ranks_mesh2d/input";
  EXPECT_THAT(RunInspect({path}).out,
              HasSubstr("w       BF16   [9, 10]    180 B  __0_0.distcp and 3 "
                        "more\n"));
  ASSERT_OK_AND_ASSIGN(const Json json,
                       ParseJson(RunInspect({"--json", path}).out));
  EXPECT_EQ(json["tensors"][0]["files"], 4);
  // A copy of an index that lacks a tensor and names one that is nowhere.
  const std::string index = "/pytorch_model.bin.index.json";
  fs::copy(data + "torch/sharded_bin_index/input", folder_);
  fs::permissions(folder_ + index, fs::perms::owner_all);
  WriteTestFile(
      folder_ + index,
      R"({"weight_map": {"lm_head.weight": "pytorch_model-00002-of-00002.bin",
          "model.layers.0.w": "pytorch_model-00001-of-00002.bin",
          "model.layers.1.w": "pytorch_model-00001-of-00002.bin",
          "x": "pytorch_model-00001-of-00002.bin"}})");
  const std::string broken = RunInspect({folder_}).out;
  EXPECT_THAT(broken, HasSubstr("unlisted     model.layers.2.w\n"));
  EXPECT_THAT(broken, HasSubstr("missing      x\n"));
}

TEST_F(InspectTest, MetadataHasALineAKey) {
  const auto write = [&](const char* file, const char* tensor,
                         const SafetensorsMetadata& metadata) {
    WriteTestFile(
        folder_ + "/" + file,
        SerializeSafetensorsHeader(
            metadata,
            std::vector<SafetensorsEntry>{{tensor, DType::kU8, {1}, 0, 1}}) +
            "x");
  };
  write("model-00001-of-00002.safetensors", "a",
        {{"format", "pt"}, {"rank", "0"}, {"note", std::string(300, 'n')}});
  write("model-00002-of-00002.safetensors", "b",
        {{"format", "pt"}, {"rank", "1"}});
  const std::string out = RunInspect({folder_}).out;
  EXPECT_THAT(out, HasSubstr("metadata     format: pt\n"));
  EXPECT_THAT(out, HasSubstr("metadata     rank: 2 values\n"));
  EXPECT_THAT(out, HasSubstr("n…n"));
  EXPECT_THAT(out, HasSubstr("n (in 1 of 2 files)\n"));
  ASSERT_OK_AND_ASSIGN(const Json json,
                       ParseJson(RunInspect({"--json", folder_}).out));
  EXPECT_THAT(json["metadata"], SizeIs(4));
}

TEST_F(InspectTest, FailuresAreOneLineAndOneObject) {
  struct Case {
    std::vector<std::string> arguments;
    int exit_code;
    const char* message;
  };
  const std::vector<Case> cases = {
      {{}, 2, "found 0 arguments"},
      {{kExample, kExample}, 2, "found 2 arguments"},
      {{"--dept=3", kExample}, 2, "--dept; did you mean --depth"},
      {{"--depth=-1", kExample}, 2, "--depth"},
      {{"--input_format=none", kExample}, 2, "none"},
      {{"--sort=shape", kExample}, 2, "found \"shape\", expected disk, name"},
      {{"--regex=(", kExample}, 2, "("},
      {{"--stats", "--summary", kExample}, 2, "mean nothing together"},
      {{"--stats", "--threads=0", kExample}, 2, "--threads"},
      {{folder_ + "/nowhere"}, 1, "/nowhere"},
      {{folder_}, 1, "found no checkpoint"},
  };
  for (const Case& test : cases) {
    SCOPED_TRACE(test.message);
    std::vector<std::string> arguments = test.arguments;
    const CommandResult text = RunInspect(arguments);
    EXPECT_EQ(text.exit_code, test.exit_code);
    EXPECT_EQ(text.out, "");
    EXPECT_THAT(text.err,
                AllOf(StartsWith("inspect: "), HasSubstr(test.message)));
    EXPECT_EQ(text.err.find('\n'), text.err.size() - 1);
    arguments.insert(arguments.begin(), "--json");
    const CommandResult json = RunInspect(arguments);
    ASSERT_OK_AND_ASSIGN(const Json object, ParseJson(json.out));
    EXPECT_EQ(object["exit_code"], test.exit_code);
    EXPECT_EQ(json.err, text.err);
  }
}

TEST_F(InspectTest, NamesCannotSpeakForUs) {
  StateDict dict;
  ASSERT_OK(
      dict.Insert("a\n\x1b[2Jb", MakeTensor<uint8_t>(DType::kU8, {1}, {1})));
  WriteTestFile(folder_ + "/model.safetensors", SafetensorsBytes(dict));
  EXPECT_THAT(RunInspect({folder_}).out, HasSubstr("a\\n\\x1b[2Jb  U8"));
  ASSERT_OK_AND_ASSIGN(const Json json,
                       ParseJson(RunInspect({"--json", folder_}).out));
  EXPECT_EQ(json["tensors"][0]["name"], "a\n\x1b[2Jb");
}

}  // namespace
}  // namespace windlass
