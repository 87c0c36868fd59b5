#include "windlass/io/checkpoint.h"

#include <atomic>
#include <filesystem>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/core/json.h"
#include "windlass/core/status_macros.h"
#include "windlass/core/tensor_ops.h"
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
using ::testing::Key;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

constexpr char kIndex[] = "/model.safetensors.index.json";

class CheckpointTest : public ::testing::Test {
 protected:
  CheckpointTest() : folder_(MakeTestFolder()) {
    shards_.resize(2);
    Add(0, "a", DType::kBF16, {2, 3});
    Add(0, "b", DType::kF32, {4});
    Add(1, "c", DType::kBF16, {5, 2});
    WriteTestCheckpoint(In(), shards_, "{}");
  }
  ~CheckpointTest() override { std::filesystem::remove_all(folder_); }

  void Add(int shard, const char* name, DType dtype, Shape shape) {
    shards_[shard]
        .Insert(name, RandomTensor(dtype, std::move(shape), &random_))
        .IgnoreError();
  }

  std::string In() const { return folder_ + "/in"; }
  std::string Out() const { return folder_ + "/out"; }

  void EditIndex(const std::string& from, const std::string& to) {
    const std::string text = ReadTestFile(In() + kIndex);
    const std::string edited = absl::StrReplaceAll(text, {{from, to}});
    ASSERT_NE(edited, text);
    WriteTestFile(In() + kIndex, edited);
  }

  // Opens In() and saves it unchanged to Out().
  absl::Status Save(const SaveOptions& options = {}) {
    WINDLASS_ASSIGN_OR_RETURN(const Checkpoint input, OpenCheckpoint(In()));
    WINDLASS_ASSIGN_OR_RETURN(const SavePlan plan,
                              PlanSave(input.tensors, input, Out(), options));
    return SaveCheckpoint(plan, {});
  }

  std::mt19937 random_{3};
  std::vector<StateDict> shards_;
  const std::string folder_;
};

TEST_F(CheckpointTest, OpensAFolderWithAnIndex) {
  ASSERT_OK_AND_ASSIGN(const Checkpoint checkpoint, OpenCheckpoint(In()));
  EXPECT_THAT(Names(checkpoint.tensors), ElementsAre("a", "b", "c"));
  EXPECT_EQ(checkpoint.index_name, kIndex + 1);
  EXPECT_EQ(checkpoint.shards.size(), 2u);
  EXPECT_THAT(checkpoint.side_files, ElementsAre("config.json"));
  EXPECT_EQ(ReadAll(*checkpoint.tensors.Find("c")).value(),
            ReadAll(*shards_[1].Find("c")).value());
}

TEST_F(CheckpointTest, OpensAFolderWithoutAnIndexAndASingleFile) {
  std::filesystem::remove(In() + kIndex);
  ASSERT_OK_AND_ASSIGN(const Checkpoint folder, OpenCheckpoint(In()));
  EXPECT_THAT(Names(folder.tensors), ElementsAre("a", "b", "c"));
  ASSERT_OK_AND_ASSIGN(
      const Checkpoint file,
      OpenCheckpoint(In() + "/model-00002-of-00002.safetensors"));
  EXPECT_THAT(Names(file.tensors), ElementsAre("c"));
}

TEST_F(CheckpointTest, OpensASnapshotOfLinks) {
  const std::string snapshot = folder_ + "/snapshots/rev";
  std::filesystem::create_directories(snapshot);
  for (const auto& [name, bytes] : ReadTestFolder(In())) {
    std::filesystem::create_symlink(In() + "/" + name, snapshot + "/" + name);
  }
  ASSERT_OK_AND_ASSIGN(const Checkpoint checkpoint, OpenCheckpoint(snapshot));
  EXPECT_THAT(Names(checkpoint.tensors), ElementsAre("a", "b", "c"));
}

TEST_F(CheckpointTest, SavesTheSameShardsAndSideFiles) {
  WriteTestFile(In() + "/tokenizer.json", "{\"t\": 1}");
  WriteTestFile(In() + "/chat_template.jinja", "{{ x }}");
  WriteTestFile(In() + "/modeling.py", "pass");
  WriteTestFile(In() + "/pytorch_model.bin.index.json", "{}");
  WriteTestFile(In() + "/notes.md", "no");
  ASSERT_OK(Save());
  auto in = ReadTestFolder(In());
  auto out = ReadTestFolder(Out());
  EXPECT_THAT(
      out, UnorderedElementsAre(Key("config.json"), Key("tokenizer.json"),
                                Key("chat_template.jinja"), Key("modeling.py"),
                                Key("model-00001-of-00002.safetensors"),
                                Key("model-00002-of-00002.safetensors"),
                                Key("model.safetensors.index.json")));
  for (const auto& [name, bytes] : out) {
    if (name == kIndex + 1) continue;
    EXPECT_EQ(bytes, in[name]) << name;
  }
  ASSERT_OK_AND_ASSIGN(const Json index, ParseJson(out[kIndex + 1]));
  EXPECT_EQ(index["metadata"]["total_size"], 12 + 16 + 20);
  EXPECT_EQ(index["weight_map"]["c"], "model-00002-of-00002.safetensors");
  EXPECT_EQ(index["weight_map"].size(), 3u);
}

TEST_F(CheckpointTest, KeepsMetadataAndAddsTheFormat) {
  WriteTestFile(In() + "/model-00002-of-00002.safetensors",
                SerializeSafetensorsHeader({{"author", "me"}},
                                           std::vector<SafetensorsEntry>{
                                               {"c", DType::kU8, {3}, 0, 3}}) +
                    "xyz");
  ASSERT_OK(Save());
  ASSERT_OK_AND_ASSIGN(const Checkpoint out, OpenCheckpoint(Out()));
  EXPECT_THAT(out.shards[1].metadata,
              ElementsAre(Pair("author", "me"), Pair("format", "pt")));
}

TEST_F(CheckpointTest, DataStartsAlignedAndElementsAre) {
  Add(0, "odd", DType::kU8, {3});
  Add(0, "wide", DType::kF64, {2});
  WriteTestCheckpoint(In(), shards_, "");
  ASSERT_OK(Save());
  ASSERT_OK_AND_ASSIGN(const Checkpoint out, OpenCheckpoint(Out()));
  for (const auto& [name, tensor] : out.tensors) {
    EXPECT_EQ(tensor.source()->Verbatim()->offset % DTypeBytes(tensor.dtype()),
              0)
        << name;
  }
  EXPECT_EQ(out.tensors.size(), 5u);
}

TEST_F(CheckpointTest, FillsShardsUpToASize) {
  SaveOptions options;
  options.max_shard_bytes = 30;
  ASSERT_OK(Save(options));
  ASSERT_OK_AND_ASSIGN(const Checkpoint out, OpenCheckpoint(Out()));
  ASSERT_EQ(out.shards.size(), 2u);
  EXPECT_THAT(Names(out.tensors), ElementsAre("a", "b", "c"));
  options.max_shard_bytes = 1000;
  options.overwrite = true;
  ASSERT_OK(Save(options));
  EXPECT_THAT(
      ReadTestFolder(Out()),
      UnorderedElementsAre(Key("config.json"), Key("model.safetensors")));
}

TEST_F(CheckpointTest, SavesComputedTensorsWhereTheirFirstSourceLay) {
  ASSERT_OK_AND_ASSIGN(const Checkpoint input, OpenCheckpoint(In()));
  StateDict out;
  ASSERT_OK_AND_ASSIGN(Tensor cast,
                       Cast(*input.tensors.Find("c"), DType::kF32));
  ASSERT_OK(out.Insert("c32", cast));
  ASSERT_OK(out.Insert("a", *input.tensors.Find("a")));
  ASSERT_OK_AND_ASSIGN(const SavePlan plan, PlanSave(out, input, Out(), {}));
  ASSERT_OK(SaveCheckpoint(plan, {}));
  ASSERT_OK_AND_ASSIGN(const Checkpoint saved, OpenCheckpoint(Out()));
  ASSERT_EQ(saved.shards.size(), 2u);
  EXPECT_THAT(Names(saved.tensors), ElementsAre("a", "c32"));
  EXPECT_EQ(ReadAll(*saved.tensors.Find("c32")).value(), ReadAll(cast).value());
}

TEST_F(CheckpointTest, WorksInMemoryToo) {
  ASSERT_OK_AND_ASSIGN(const Checkpoint input, OpenCheckpoint(In()));
  ASSERT_OK_AND_ASSIGN(const SavePlan plan,
                       PlanSave(input.tensors, input, "mem://model", {}));
  ASSERT_OK(SaveCheckpoint(plan, {}));
  ASSERT_OK_AND_ASSIGN(const Checkpoint saved, OpenCheckpoint("mem://model"));
  EXPECT_EQ(Difference(saved.tensors, input.tensors), "");
}

TEST_F(CheckpointTest, RefusesAnIndexThatDoesNotFitTheShards) {
  const auto invalid = absl::StatusCode::kInvalidArgument;
  const std::string index = ReadTestFile(In() + kIndex);
  EditIndex("\"c\"", "\"d\"");
  EXPECT_THAT(OpenCheckpoint(In()),
              StatusIs(invalid, HasSubstr("tensor \"d\": expected in "
                                          "model-00002-of-00002.safetensors, "
                                          "found nowhere")));
  WriteTestFile(In() + kIndex, index);
  EditIndex("\"b\":\"model-00001", "\"b\":\"model-00002");
  EXPECT_THAT(OpenCheckpoint(In()), StatusIs(invalid, HasSubstr("\"b\"")));
  WriteTestFile(In() + kIndex, index);
  EditIndex("\"b\":\"model-00001-of-00002.safetensors\",", "");
  EXPECT_THAT(OpenCheckpoint(In()),
              StatusIs(invalid, HasSubstr("tensor \"b\": found in "
                                          "model-00001-of-00002.safetensors, "
                                          "expected in the index too")));
}

TEST_F(CheckpointTest, RefusesNamesThatLeaveTheFolder) {
  for (const char* name :
       {"../x.safetensors", "/etc/passwd", "a/b", "..", ""}) {
    WriteTestFile(In() + kIndex,
                  absl::StrCat("{\"weight_map\":{\"a\":\"", name, "\"}}"));
    EXPECT_THAT(OpenCheckpoint(In()),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr(kIndex), HasSubstr("\"a\""))))
        << name;
  }
}

TEST_F(CheckpointTest, RefusesABrokenIndex) {
  for (const char* text :
       {"", "[]", "{}", "{\"weight_map\":[]}", "{\"weight_map\":{\"a\":1}}"}) {
    WriteTestFile(In() + kIndex, text);
    EXPECT_THAT(OpenCheckpoint(In()),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(kIndex)))
        << text;
  }
}

TEST_F(CheckpointTest, NamesAMissingShard) {
  std::filesystem::remove(In() + "/model-00002-of-00002.safetensors");
  EXPECT_THAT(OpenCheckpoint(In()),
              StatusIs(absl::StatusCode::kNotFound,
                       HasSubstr("model-00002-of-00002.safetensors")));
}

TEST_F(CheckpointTest, RefusesATruncatedShard) {
  std::filesystem::resize_file(In() + "/model-00002-of-00002.safetensors", 100);
  EXPECT_THAT(OpenCheckpoint(In()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("model-00002-of-00002.safetensors")));
}

TEST_F(CheckpointTest, RefusesAKeyInTwoShards) {
  WriteTestFile(In() + "/model-00002-of-00002.safetensors",
                SafetensorsBytes(shards_[0]));
  EXPECT_THAT(OpenCheckpoint(In()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("tensor \"a\": found in "
                                 "model-00001-of-00002.safetensors too")));
}

TEST_F(CheckpointTest, NamesAFolderWithoutACheckpoint) {
  std::filesystem::create_directories(folder_ + "/empty");
  EXPECT_THAT(
      OpenCheckpoint(folder_ + "/empty"),
      StatusIs(absl::StatusCode::kNotFound,
               HasSubstr(
                   "known formats: dcp, dcp_safetensors, safetensors, torch")));
  EXPECT_THAT(OpenCheckpoint(folder_ + "/nowhere"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("nowhere")));
}

TEST_F(CheckpointTest, RefusesAUsedOutputUnlessToldToOverwrite) {
  std::filesystem::create_directories(Out());
  WriteTestFile(Out() + "/mine.txt", "precious");
  WriteTestFile(Out() + "/old.safetensors", "old");
  EXPECT_THAT(Save(), StatusIs(absl::StatusCode::kFailedPrecondition,
                               HasSubstr("found mine.txt and 1 more")));
  SaveOptions options;
  options.overwrite = true;
  ASSERT_OK(Save(options));
  // What belongs to no checkpoint stays.
  EXPECT_EQ(ReadTestFile(Out() + "/mine.txt"), "precious");
  EXPECT_EQ(ReadTestFile(Out() + "/old.safetensors"), "old");
  ASSERT_OK(OpenCheckpoint(Out()));
}

TEST_F(CheckpointTest, RefusesAnOutputThatTouchesTheInput) {
  ASSERT_OK_AND_ASSIGN(const Checkpoint input, OpenCheckpoint(In()));
  std::filesystem::create_directory_symlink(In(), folder_ + "/link");
  SaveOptions overwrite;
  overwrite.overwrite = true;
  for (const std::string& output :
       {In(), In() + "/", In() + "/sub", folder_, folder_ + "/link",
        folder_ + "/out/../in"}) {
    EXPECT_THAT(PlanSave(input.tensors, input, output, overwrite),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("apart from the input")))
        << output;
  }
}

TEST_F(CheckpointTest, RefusesToWriteAHeaderThatNobodyCouldRead) {
  ASSERT_OK_AND_ASSIGN(const Checkpoint input, OpenCheckpoint(In()));
  StateDict tensors;
  for (int i = 0; i < 101; ++i) {
    ASSERT_OK(tensors.Insert(absl::StrCat(i, std::string(1'000'000, 'x')),
                             input.tensors.begin()->tensor));
  }
  EXPECT_THAT(PlanSave(tensors, input, Out(), {}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("expected 100000000 at most")));
  SaveOptions smaller;
  smaller.max_shard_bytes = 1;
  EXPECT_OK(PlanSave(tensors, input, Out(), smaller));
}

TEST_F(CheckpointTest, LeavesNothingBehindWhenCancelled) {
  ASSERT_OK_AND_ASSIGN(const Checkpoint input, OpenCheckpoint(In()));
  ASSERT_OK_AND_ASSIGN(const SavePlan plan,
                       PlanSave(input.tensors, input, Out(), {}));
  const std::atomic<bool> cancelled{true};
  TransferOptions options;
  options.cancelled = &cancelled;
  EXPECT_THAT(SaveCheckpoint(plan, options),
              StatusIs(absl::StatusCode::kCancelled, HasSubstr("interrupted")));
  for (const auto& [name, bytes] : ReadTestFolder(Out())) {
    EXPECT_EQ(name[0], '.') << name;
  }
}

TEST_F(CheckpointTest, NoticesAnInputThatChangesMeanwhile) {
  ASSERT_OK_AND_ASSIGN(const Checkpoint input, OpenCheckpoint(In()));
  ASSERT_OK_AND_ASSIGN(const SavePlan plan,
                       PlanSave(input.tensors, input, Out(), {}));
  const std::string shard = In() + "/model-00001-of-00002.safetensors";
  const std::string bytes = ReadTestFile(shard);
  std::filesystem::remove(shard);
  WriteTestFile(shard, bytes);
  EXPECT_THAT(
      SaveCheckpoint(plan, {}),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr(shard)));
  EXPECT_TRUE(ReadTestFolder(Out()).empty());
}

}  // namespace
}  // namespace windlass
