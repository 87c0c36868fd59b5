// What OpenCheckpoint takes for a checkpoint, and what it refuses.

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/io/checkpoint.h"
#include "windlass/io/in_place.h"
#include "windlass/io/safetensors/header.h"
#include "windlass/io/save.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/testing/tensors.h"
#include "windlass/tests/testing/files.h"

namespace windlass {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

constexpr char kIndex[] = "model.safetensors.index.json";
constexpr char kFirst[] = "model-00001-of-00002.safetensors";
constexpr char kSecond[] = "model-00002-of-00002.safetensors";

// A file of one tensor of a byte.
std::string OneTensor(const std::string& name,
                      const SafetensorsMetadata& metadata = {}) {
  return SerializeSafetensorsHeader(
             metadata,
             std::vector<SafetensorsEntry>{{name, DType::kU8, {1}, 0, 1}}) +
         "x";
}

class OpenCheckpointTest : public ::testing::Test {
 protected:
  OpenCheckpointTest() : folder_(MakeTestFolder()) { Reset(); }
  ~OpenCheckpointTest() override { std::filesystem::remove_all(folder_); }

  // Two shards with an index, and a config.
  void Reset() {
    std::filesystem::remove_all(In());
    std::filesystem::create_directories(In());
    Write(kFirst, OneTensor("a"));
    Write(kSecond, OneTensor("b"));
    Write(kIndex, absl::StrCat("{\"metadata\":{\"total_size\":1},"
                               "\"weight_map\":{\"a\":\"",
                               kFirst, "\",\"b\":\"", kSecond, "\"}}"));
    Write("config.json", "{}");
  }

  std::string In() const { return folder_ + "/in"; }
  std::string Path(const std::string& name) const { return In() + "/" + name; }
  void Write(const std::string& name, absl::string_view contents) {
    WriteTestFile(Path(name), contents);
  }
  void Remove(const std::string& name) {
    std::filesystem::remove_all(Path(name));
  }

  const std::string folder_;
};

TEST_F(OpenCheckpointTest, RefusesWhatIsNoFileInAnyRole) {
  const std::vector<std::function<void(const std::string&)>> kinds = {
      [](const std::string& path) {
        ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
      },
      [](const std::string& path) { std::filesystem::create_directory(path); },
      [](const std::string& path) {
        std::filesystem::create_symlink("/dev/zero", path);
      },
      [](const std::string& path) {
        std::filesystem::create_symlink("nowhere", path);
      },
      [](const std::string& path) {
        // Paths of sockets are short.
        const std::string old = std::filesystem::current_path();
        std::filesystem::current_path(
            std::filesystem::path(path).parent_path());
        sockaddr_un address = {};
        address.sun_family = AF_UNIX;
        const std::string name = std::filesystem::path(path).filename();
        std::copy(name.begin(), name.end(), address.sun_path);
        const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
        ASSERT_EQ(
            ::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)),
            0);
        ::close(fd);
        std::filesystem::current_path(old);
      },
  };
  for (size_t kind = 0; kind < kinds.size(); ++kind) {
    for (const char* name : {kFirst, kIndex, "config.json", "tokenizer.json",
                             "tokenizer.model", "modeling.py"}) {
      Reset();
      Remove(name);
      kinds[kind](Path(name));
      EXPECT_THAT(OpenCheckpoint(In()).status().message(), HasSubstr(name))
          << kind;
    }
    for (const char* name : {"model.safetensors", kSecond}) {
      Reset();
      Remove(kIndex);
      Remove(name);
      kinds[kind](Path(name));
      EXPECT_THAT(OpenCheckpoint(In()).status().message(), HasSubstr(name))
          << kind;
    }
  }
}

TEST_F(OpenCheckpointTest, DotFilesAreNobodysShards) {
  Remove(kIndex);
  Write("._model.safetensors", "what another system left");
  Write("._model.safetensors.index.json", "likewise");
  Write("._config.json", "likewise");
  ASSERT_OK_AND_ASSIGN(const Checkpoint checkpoint, OpenCheckpoint(In()));
  EXPECT_THAT(Names(checkpoint.tensors), ElementsAre("a", "b"));
  EXPECT_THAT(checkpoint.side_files, ElementsAre("config.json"));
  EXPECT_TRUE(checkpoint.left_out.empty());
}

TEST_F(OpenCheckpointTest, DoesNotReadHeadersThatTheIndexDoesNotName) {
  for (const char* name : {"adapter_model.safetensors", "model.safetensors",
                           "model-00003-of-00003.safetensors"}) {
    ASSERT_EQ(::mkfifo(Path(name).c_str(), 0600), 0);
  }
  Write("consolidated.safetensors", "no header");
  Write("model.safetensors.index.fp16.json", "no index");
  ASSERT_OK_AND_ASSIGN(const Checkpoint checkpoint, OpenCheckpoint(In()));
  EXPECT_THAT(Names(checkpoint.tensors), ElementsAre("a", "b"));
  EXPECT_THAT(
      checkpoint.left_out,
      ElementsAre("adapter_model.safetensors", "consolidated.safetensors",
                  "model-00003-of-00003.safetensors", "model.safetensors",
                  "model.safetensors.index.fp16.json"));
}

TEST_F(OpenCheckpointTest, TakesTheOneFileWhateverItsName) {
  Remove(kIndex);
  Remove(kFirst);
  Remove(kSecond);
  EXPECT_EQ(OpenCheckpoint(In()).status().code(), absl::StatusCode::kNotFound);
  Write("ema.safetensors", OneTensor("e"));
  ASSERT_OK_AND_ASSIGN(const Checkpoint one, OpenCheckpoint(In()));
  EXPECT_THAT(Names(one.tensors), ElementsAre("e"));
  Write("adapter_model.safetensors", OneTensor("l"));
  EXPECT_THAT(OpenCheckpoint(In()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("adapter_model.safetensors"),
                             HasSubstr("ema.safetensors"))));
  Write("model.safetensors", OneTensor("m"));
  ASSERT_OK_AND_ASSIGN(const Checkpoint model, OpenCheckpoint(In()));
  EXPECT_THAT(Names(model.tensors), ElementsAre("m"));
  EXPECT_THAT(model.left_out,
              ElementsAre("adapter_model.safetensors", "ema.safetensors"));
}

TEST_F(OpenCheckpointTest, RefusesAnIndexThatDoesNotSpeakOfTheFolder) {
  const struct {
    std::string index;
    absl::StatusCode code;
    std::string message;
  } kCases[] = {
      {"{\"weight_map\":{}}", absl::StatusCode::kInvalidArgument,
       "found an empty weight_map and model-00001-of-00002.safetensors and "},
      {absl::StrCat("{\"weight_map\":{\"a\":\"", kFirst, "\"}}"),
       absl::StatusCode::kFailedPrecondition,
       "expected model-00002-of-00002.safetensors too"},
      {"{\"weight_map\":{\"a\":\"model-00001-of-00001.safetensors\"}}",
       absl::StatusCode::kNotFound,
       "expected model-00001-of-00001.safetensors beside the index, found "
       "model-00001-of-00002.safetensors and model-00002"},
      {absl::StrCat("{\"weight_map\":{\"a\":\"", kFirst, "\",\"c\":\"", kSecond,
                    "\"}}"),
       absl::StatusCode::kInvalidArgument, "tensor \"c\": expected in"},
  };
  OpenOptions ignore;
  ignore.ignore_index = true;
  for (const auto& test : kCases) {
    Write(kIndex, test.index);
    EXPECT_THAT(
        OpenCheckpoint(In()),
        StatusIs(test.code, AllOf(HasSubstr(kIndex), HasSubstr(test.message),
                                  HasSubstr("or ignore the index"))));
    ASSERT_OK_AND_ASSIGN(const Checkpoint read, OpenCheckpoint(In(), ignore));
    EXPECT_THAT(Names(read.tensors), ElementsAre("a", "b"));
  }
}

TEST_F(OpenCheckpointTest, SaysWhatLiesInAFilesPlace) {
  const struct {
    std::string bytes;
    std::string what;
  } kCases[] = {
      {"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n",
       "found a Git LFS pointer (fetch the file itself: git lfs pull)"},
      {"<!DOCTYPE html><html></html>", "found a web page"},
      {"\x1F\x8B\x08 packed bytes", "found data compressed with gzip"},
      {"\x28\xB5\x2F\xFD packed bytes", "found data compressed with zstd"},
      {"\x80\x04\x95 pickled", "found pickled data"},
      {"PK\x03\x04 torch.save", "found a zip archive"},
      {"Access to model x is restricted", "found text that starts \"Access to"},
      {"", "found an empty file"},
      {std::string(300, '\0'), "found zeros"},
  };
  for (const auto& test : kCases) {
    for (const char* name : {kSecond, kIndex}) {
      Reset();
      Write(name, test.bytes);
      EXPECT_THAT(OpenCheckpoint(In()),
                  StatusIs(absl::StatusCode::kInvalidArgument,
                           AllOf(HasSubstr(name), HasSubstr(test.what))));
    }
  }
}

TEST_F(OpenCheckpointTest, AFaultyHeaderIsNotTakenForAnotherFormat) {
  // 640 bytes of header: the length starts as a pickle does.
  Write(kSecond, std::string("\x80\x02\0\0\0\0\0\0{\"b\":", 13));
  EXPECT_THAT(OpenCheckpoint(In()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("found a header of 640 bytes")));
}

TEST_F(OpenCheckpointTest, RefusesATokenizerThatWasNotFetched) {
  const std::string pointer =
      "version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n";
  for (const char* name : {"tokenizer.json", "tokenizer.model", "vocab.bpe",
                           "tokenizer.model.v3", "1_Pooling/config.json"}) {
    Reset();
    std::filesystem::create_directory(Path("1_Pooling"));
    Write(name, pointer);
    EXPECT_THAT(OpenCheckpoint(In()),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr(name), HasSubstr("git lfs pull"))));
  }
  Reset();
  Write("tokenizer.json", "<html>401</html>");
  EXPECT_THAT(OpenCheckpoint(In()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("tokenizer.json: found a web page")));
}

TEST_F(OpenCheckpointTest, KnowsWhetherAFileIsPartOfACheckpoint) {
  ASSERT_OK_AND_ASSIGN(Checkpoint file, OpenCheckpoint(Path(kFirst)));
  EXPECT_TRUE(file.is_part);
  Remove(kIndex);
  ASSERT_OK_AND_ASSIGN(file, OpenCheckpoint(Path(kFirst)));
  EXPECT_TRUE(file.is_part) << "its name says so";
  Write("model.safetensors", OneTensor("m"));
  ASSERT_OK_AND_ASSIGN(file, OpenCheckpoint(Path("model.safetensors")));
  EXPECT_FALSE(file.is_part);
  Write("other.safetensors.index.json",
        "{\"weight_map\":{\"m\":\"./model.safetensors\"}}");
  ASSERT_OK_AND_ASSIGN(file, OpenCheckpoint(Path("model.safetensors")));
  EXPECT_TRUE(file.is_part);
  ASSERT_OK_AND_ASSIGN(const Checkpoint folder, OpenCheckpoint(In()));
  EXPECT_FALSE(folder.is_part);
}

TEST_F(OpenCheckpointTest, ResolvesAHuggingFaceCache) {
  const std::string cache = folder_ + "/models--org--name";
  const std::string snapshots = cache + "/snapshots";
  std::filesystem::create_directories(cache + "/blobs");
  std::filesystem::create_directories(snapshots);
  EXPECT_THAT(OpenCheckpoint(cache), StatusIs(absl::StatusCode::kNotFound,
                                              HasSubstr("found no snapshot")));
  std::filesystem::copy(In(), snapshots + "/one");
  for (const std::string& given :
       {cache, cache + "/", snapshots, snapshots + "/", snapshots + "/.",
        snapshots + "/one"}) {
    ASSERT_OK_AND_ASSIGN(const Checkpoint checkpoint, OpenCheckpoint(given));
    EXPECT_EQ(std::filesystem::canonical(checkpoint.folder.path),
              std::filesystem::canonical(snapshots + "/one"));
    EXPECT_EQ(checkpoint.location.path, checkpoint.folder.path);
  }
  std::filesystem::copy(In(), snapshots + "/two");
  EXPECT_THAT(OpenCheckpoint(cache),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("found the snapshots one, two and no "
                                 "refs/main")));
  std::filesystem::create_directory(cache + "/refs");
  WriteTestFile(cache + "/refs/main", "two\n");
  ASSERT_OK_AND_ASSIGN(const Checkpoint main, OpenCheckpoint(snapshots));
  EXPECT_THAT(main.folder.path, HasSubstr("/two"));
  for (const char* revision : {"three", "../..", ""}) {
    WriteTestFile(cache + "/refs/main", revision);
    EXPECT_THAT(OpenCheckpoint(cache),
                StatusIs(absl::StatusCode::kNotFound, HasSubstr("refs/main")))
        << revision;
  }
}

TEST_F(OpenCheckpointTest, SortsWhatLiesInSubfolders) {
  for (const char* name : {"additional_chat_templates", "1_Pooling", "2_Dense",
                           "original", ".git", "LICENSES"}) {
    std::filesystem::create_directory(Path(name));
  }
  Write("additional_chat_templates/rag.jinja", "x");
  Write("additional_chat_templates/notes", "x");
  Write("1_Pooling/config.json", "{}");
  Write("2_Dense/model.safetensors", "taken as it is");
  Write("original/params.json", "{}");
  ASSERT_OK_AND_ASSIGN(const Checkpoint checkpoint, OpenCheckpoint(In()));
  EXPECT_THAT(
      checkpoint.side_files,
      ElementsAre("1_Pooling/config.json", "2_Dense/model.safetensors",
                  "additional_chat_templates/rag.jinja", "config.json"));
  EXPECT_THAT(checkpoint.left_behind,
              ElementsAre(".git/", "LICENSES/",
                          "additional_chat_templates/notes", "original/"));
}

TEST_F(OpenCheckpointTest, MetadataSurvivesNewShards) {
  Write(kFirst, OneTensor("a", {{"author", "me"}, {"part", "1"}}));
  Write(kSecond, OneTensor("b", {{"part", "2"}, {"licence", "mit"}}));
  Write(kIndex,
        absl::StrReplaceAll(
            ReadTestFile(Path(kIndex)),
            {{"\"total_size\":1",
              "\"by\": {\"x\": [1e3, NaN]}, \"total_size\":1, \"n\": null"}}));
  ASSERT_OK_AND_ASSIGN(const Checkpoint input, OpenCheckpoint(In()));
  EXPECT_THAT(input.index_metadata,
              ElementsAre(Pair("by", "{\"x\": [1e3, NaN]}"),
                          Pair("total_size", "1"), Pair("n", "null")));
  SaveOptions options;
  options.max_shard_bytes = 1;
  ASSERT_OK_AND_ASSIGN(
      const SavePlan plan,
      PlanSave(input.tensors, input, folder_ + "/out", options));
  ASSERT_OK(SaveCheckpoint(plan, {}));
  ASSERT_OK_AND_ASSIGN(const Checkpoint out, OpenCheckpoint(folder_ + "/out"));
  for (const Shard& shard : out.shards) {
    EXPECT_THAT(shard.metadata,
                ElementsAre(Pair("author", "me"), Pair("licence", "mit"),
                            Pair("format", "pt")));
  }
  EXPECT_THAT(out.index_metadata,
              ElementsAre(Pair("by", "{\"x\": [1e3, NaN]}"),
                          Pair("total_size", "2"), Pair("n", "null")));
}

TEST_F(OpenCheckpointTest, MetadataSurvivesRenamingInPlace) {
  Write(kFirst, OneTensor("a", {{"author", "me"}}));
  Write(kIndex, absl::StrReplaceAll(ReadTestFile(Path(kIndex)),
                                    {{"\"total_size\":1", "\"by\":\"x\""}}));
  ASSERT_OK_AND_ASSIGN(const Checkpoint input, OpenCheckpoint(In()));
  StateDict renamed;
  for (const auto& [name, tensor] : input.tensors) {
    ASSERT_OK(renamed.Insert(absl::StrCat(name, "2"), tensor));
  }
  ASSERT_OK_AND_ASSIGN(const InPlacePlan plan, PlanInPlace(renamed, input));
  ASSERT_OK(RenameInPlace(plan, input.folder, "tag", false));
  ASSERT_OK_AND_ASSIGN(const Checkpoint out, OpenCheckpoint(In()));
  EXPECT_THAT(Names(out.tensors), ElementsAre("a2", "b2"));
  EXPECT_THAT(out.shards[0].metadata,
              ElementsAre(Pair("author", "me"), Pair("format", "pt")));
  EXPECT_THAT(out.index_metadata,
              ElementsAre(Pair("total_size", "2"), Pair("by", "\"x\"")));
}

// What is left of a family has numbers of its own, so that it can be read.
TEST_F(OpenCheckpointTest, AShardThatLosesItsTensorsLeavesNoGap) {
  ASSERT_OK_AND_ASSIGN(const Checkpoint input, OpenCheckpoint(In()));
  StateDict left;
  ASSERT_OK(left.Insert("b", *input.tensors.Find("b")));
  ASSERT_OK_AND_ASSIGN(const SavePlan plan,
                       PlanSave(left, input, folder_ + "/out", {}));
  ASSERT_OK(SaveCheckpoint(plan, {}));
  ASSERT_OK_AND_ASSIGN(const Checkpoint out, OpenCheckpoint(folder_ + "/out"));
  ASSERT_EQ(out.shards.size(), 1u);
  EXPECT_EQ(out.shards[0].name, "model-00001-of-00001.safetensors");
}

}  // namespace
}  // namespace windlass
