// What is not ours is not touched, and what is not whole is not believed: the
// convert tool in folders that others use, too.

#include <sys/stat.h>

#include <filesystem>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/testing/tensors.h"
#include "windlass/tests/testing/files.h"

namespace windlass {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

constexpr char kConfig[] = R"({"architectures": ["Qwen3_5ForCausalLM"]})";

class NeighboursTest : public ::testing::Test {
 protected:
  NeighboursTest() {
    WriteModel(in_, 2);
    EXPECT_EQ(Convert({in_, expected_}).exit_code, 0);
  }
  ~NeighboursTest() override { fs::remove_all(folder_); }

  static void WriteModel(const std::string& folder, int shard_count) {
    std::mt19937 random(shard_count);
    std::vector<StateDict> shards(shard_count);
    for (int i = 0; i < 6; ++i) {
      shards[i % shard_count]
          .Insert(absl::StrCat("model.layers.", i, ".linear_attn.A_log"),
                  RandomTensor(DType::kF32, {16}, &random))
          .IgnoreError();
    }
    WriteTestCheckpoint(folder, shards, kConfig);
  }

  static CommandResult Convert(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"tools/convert", "--to=native"});
    return RunCommand(arguments);
  }

  // Fails with one line that says `message`, and changes nothing in `folder`.
  void ExpectRefused(const std::vector<std::string>& arguments,
                     const std::string& message, const std::string& folder) {
    const auto before = Snapshot(folder);
    const CommandResult result = Convert(arguments);
    EXPECT_EQ(result.exit_code, 1) << result.err;
    EXPECT_THAT(result.err, HasSubstr(message));
    EXPECT_EQ(Snapshot(folder), before);
  }

  static std::map<std::string, std::string> Snapshot(
      const std::string& folder) {
    std::map<std::string, std::string> files;
    if (!fs::exists(folder)) return files;
    for (const auto& entry : fs::recursive_directory_iterator(folder)) {
      files[entry.path().string()] =
          entry.is_regular_file() ? ReadTestFile(entry.path()) : "";
    }
    return files;
  }

  const std::string folder_ = MakeTestFolder();
  const std::string in_ = folder_ + "/in";
  const std::string out_ = folder_ + "/out";
  const std::string expected_ = folder_ + "/expected";
};

TEST_F(NeighboursTest, OverwritingTakesTheOldCheckpointAndNothingElse) {
  WriteModel(out_, 3);
  const std::map<std::string, std::string> foreign = {
      {"adapter_model.safetensors", "lora"},
      {"consolidated.safetensors", "other"},
      {"ema.safetensors.index.json", "{}"},
      {"pytorch_model.bin", "bin"},
      {"notes.txt", "mine"}};
  for (const auto& [name, bytes] : foreign) {
    WriteTestFile(out_ + "/" + name, bytes);
  }
  ASSERT_EQ(Convert({"--overwrite", in_, out_}).exit_code, 0);
  auto expected = ReadTestFolder(expected_);
  expected.insert(foreign.begin(), foreign.end());
  EXPECT_EQ(ReadTestFolder(out_), expected);
}

TEST_F(NeighboursTest, ANumberedFamilyWithoutAnIndexIsTheOldCheckpoint) {
  WriteModel(out_, 3);
  fs::remove(out_ + "/model.safetensors.index.json");
  WriteTestFile(out_ + "/adapter_model.safetensors", "lora");
  ASSERT_EQ(Convert({"--overwrite", in_, out_}).exit_code, 0);
  auto expected = ReadTestFolder(expected_);
  expected["adapter_model.safetensors"] = "lora";
  EXPECT_EQ(ReadTestFolder(out_), expected);
}

TEST_F(NeighboursTest, AnOldIndexThatNamesForeignFilesTakesNone) {
  fs::create_directories(out_);
  WriteTestFile(folder_ + "/precious.safetensors", "precious");
  WriteTestFile(out_ + "/notes.txt", "mine");
  WriteTestFile(out_ + "/model.safetensors.index.json",
                R"({"weight_map": {"a": "notes.txt", "b": "config.json"}})");
  ASSERT_EQ(Convert({"--overwrite", in_, out_}).exit_code, 0);
  EXPECT_EQ(ReadTestFile(out_ + "/notes.txt"), "mine");
  WriteTestFile(out_ + "/model.safetensors.index.json",
                R"({"weight_map": {"a": "../precious.safetensors"}})");
  ASSERT_EQ(Convert({"--overwrite", in_, out_}).exit_code, 0);
  EXPECT_EQ(ReadTestFile(folder_ + "/precious.safetensors"), "precious");
}

TEST_F(NeighboursTest, LinksInTheOutputAreReplacedNotFollowed) {
  fs::create_directories(out_);
  WriteTestFile(folder_ + "/precious", "precious");
  for (const auto& [name, bytes] : ReadTestFolder(expected_)) {
    fs::create_symlink("../precious", out_ + "/" + name);
    fs::create_symlink("../precious",
                       absl::StrCat(out_, "/.", name, ".windlass-partial"));
  }
  ASSERT_EQ(Convert({"--overwrite", in_, out_}).exit_code, 0);
  EXPECT_EQ(ReadTestFile(folder_ + "/precious"), "precious");
  EXPECT_EQ(ReadTestFolder(out_), ReadTestFolder(expected_));
  for (const auto& entry : fs::directory_iterator(out_)) {
    EXPECT_FALSE(entry.is_symlink()) << entry.path();
  }
}

TEST_F(NeighboursTest, AnInputThatIsReachedThroughTheOutputIsRefused) {
  WriteModel(out_, 2);
  const std::string links = folder_ + "/links";
  fs::create_directories(links);
  for (const auto& [name, bytes] : ReadTestFolder(out_)) {
    fs::create_symlink("../out/" + name, links + "/" + name);
  }
  ExpectRefused({"--overwrite", links, out_}, "apart from the input", out_);
}

TEST_F(NeighboursTest, ShardsHaveNamesOfTheirOwn) {
  for (const char* name : {"w.json", "windlass_digests.json"}) {
    const std::string odd = absl::StrCat(folder_, "/odd-", name);
    fs::create_directories(odd);
    WriteTestFile(odd + "/config.json", kConfig);
    WriteTestFile(
        odd + "/" + name,
        ReadTestFile(expected_ + "/model-00001-of-00002.safetensors"));
    std::string map;
    for (int i = 0; i < 6; i += 2) {
      absl::StrAppend(&map, i == 0 ? "" : ",", "\"model.layers.", i,
                      ".linear_attn._fp32_params.A_log\":\"", name, "\"");
    }
    WriteTestFile(odd + "/model.safetensors.index.json",
                  absl::StrCat("{\"weight_map\":{", map, "}}"));
    const CommandResult result = Convert({"--dry_run", odd, out_});
    if (std::string(name) == "w.json") {
      // A shard of another ending is no side file, too.
      EXPECT_EQ(result.exit_code, 0) << result.err;
      continue;
    }
    EXPECT_EQ(result.exit_code, 1) << result.out;
    EXPECT_THAT(result.err, HasSubstr("windlass_digests.json: found two"));
  }
}

TEST_F(NeighboursTest, AMarkerIsNoLicenceToReplaceWhatCameSince) {
  WriteModel(out_, 3);
  WriteTestFile(out_ + "/.windlass-unfinished", "");
  WriteTestFile(out_ + "/.config.json.windlass-partial", "stale");
  ExpectRefused({in_, out_}, "beside an unfinished one", out_);
  ExpectRefused({"--resume", in_, out_}, "beside an unfinished one", out_);
  ASSERT_EQ(Convert({"--overwrite", in_, out_}).exit_code, 0);
  EXPECT_EQ(ReadTestFolder(out_), ReadTestFolder(expected_));
}

TEST_F(NeighboursTest, AnUnfinishedFolderIsNoInput) {
  WriteTestFile(in_ + "/.windlass-unfinished", "");
  const std::string message =
      "found .windlass-unfinished: a conversion into this folder was stopped";
  ExpectRefused({in_, out_}, message, in_);
  ExpectRefused({"--in_place", in_}, message, in_);
  ExpectRefused({"--in_place", "--dry_run", in_}, message, in_);
  ExpectRefused({in_ + "/model-00001-of-00002.safetensors", out_}, message,
                in_);
  EXPECT_FALSE(fs::exists(out_));
}

TEST_F(NeighboursTest, ResumingWhatIsDoneSucceedsAndChangesNothing) {
  for (const char* checksum : {"--checksum=none", "--checksum=xxh3"}) {
    fs::remove_all(out_);
    ASSERT_EQ(Convert({checksum, in_, out_}).exit_code, 0);
    const auto before = Snapshot(out_);
    const auto written =
        fs::last_write_time(out_ + "/model-00001-of-00002.safetensors");
    EXPECT_EQ(Convert({checksum, "--resume", in_, out_}).exit_code, 0);
    EXPECT_EQ(
        Convert({checksum, "--resume", "--overwrite", in_, out_}).exit_code, 0);
    EXPECT_EQ(Snapshot(out_), before);
    EXPECT_EQ(fs::last_write_time(out_ + "/model-00001-of-00002.safetensors"),
              written);
  }
  // Not if somebody else's file is there.
  WriteTestFile(out_ + "/model-00001-of-00002.safetensors", "other");
  ExpectRefused({"--resume", in_, out_}, "found model-00001", out_);
  ExpectRefused({"--resume", "--dry_run", in_, out_}, "found model-00001",
                out_);
}

TEST_F(NeighboursTest, ASideFolderThatLeadsElsewhereIsRefused) {
  fs::create_directories(in_ + "/1_Pooling");
  WriteTestFile(in_ + "/1_Pooling/config.json", "{}");
  fs::create_directories(out_);
  fs::create_directories(folder_ + "/elsewhere");
  fs::create_directory_symlink("../elsewhere", out_ + "/1_Pooling");
  const CommandResult result = Convert({"--overwrite", in_, out_});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("found a link to"));
  EXPECT_TRUE(fs::is_empty(folder_ + "/elsewhere"));
}

TEST_F(NeighboursTest, AFolderInAFilesPlaceIsFoundBeforeAnythingGoes) {
  for (const char* name : {"config.json", "model.safetensors.index.json",
                           ".model-00001-of-00002.safetensors.windlass-partial",
                           ".windlass-unfinished"}) {
    SCOPED_TRACE(name);
    fs::remove_all(out_);
    WriteModel(out_, 3);
    fs::remove(out_ + "/" + name);
    fs::create_directories(out_ + "/" + name);
    ExpectRefused({"--overwrite", in_, out_}, name, out_);
  }
}

TEST_F(NeighboursTest, PermissionsFollowTheInputAndTheUmask) {
  ::chmod((in_ + "/config.json").c_str(), 0640);
  const CommandResult result =
      RunCommand({"sh", "-c",
                  absl::StrCat("umask 022; exec tools/convert --to=native ",
                               in_, " ", out_)});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const auto mode = [this](const std::string& name) {
    return static_cast<int>(fs::status(out_ + "/" + name).permissions());
  };
  EXPECT_EQ(mode("config.json"), 0640);
  EXPECT_EQ(mode("model-00001-of-00002.safetensors"), 0644);
}

TEST_F(NeighboursTest, AParentThatMayNotBeListedIsNoObstacle) {
  fs::create_directories(folder_ + "/closed");
  ::chmod((folder_ + "/closed").c_str(), 0311);
  EXPECT_EQ(Convert({in_, folder_ + "/closed/out"}).exit_code, 0);
  ::chmod((folder_ + "/closed").c_str(), 0755);
  EXPECT_EQ(ReadTestFolder(folder_ + "/closed/out"), ReadTestFolder(expected_));
}

TEST_F(NeighboursTest, ALongNameOfAShardIsNoObstacle) {
  const std::string name = std::string(228, 'x') + ".safetensors";
  const std::string model = folder_ + "/long";
  fs::create_directories(model);
  WriteTestFile(model + "/config.json", kConfig);
  WriteTestFile(model + "/" + name,
                ReadTestFile(in_ + "/model-00001-of-00002.safetensors"));
  ASSERT_EQ(Convert({model, out_}).exit_code, 0);
  EXPECT_TRUE(fs::exists(out_ + "/" + name));
}

}  // namespace
}  // namespace windlass
