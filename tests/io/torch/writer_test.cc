// What is written of torch.save's format, beyond what is read again.

#include <cstdint>
#include <filesystem>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/core/dtype.h"
#include "windlass/core/status_macros.h"
#include "windlass/io/checkpoint.h"
#include "windlass/io/save.h"
#include "windlass/io/transfer/crc32.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/testing/tensors.h"
#include "windlass/tests/testing/files.h"

namespace windlass {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Key;
using ::testing::UnorderedElementsAre;

class TorchWriterTest : public ::testing::Test {
 protected:
  TorchWriterTest() {
    std::vector<StateDict> shards(2);
    EXPECT_OK(
        shards[0].Insert("a", RandomTensor(DType::kF32, {5, 5}, &random_)));
    EXPECT_OK(shards[1].Insert("b", RandomTensor(DType::kBF16, {9}, &random_)));
    WriteTestCheckpoint(folder_ + "/in", shards, "{}");
  }
  ~TorchWriterTest() override { std::filesystem::remove_all(folder_); }

  absl::Status Save(const StateDict& tensors, const Checkpoint& input,
                    const std::string& output, SaveOptions options) {
    options.format = "torch";
    WINDLASS_ASSIGN_OR_RETURN(
        const SavePlan plan,
        PlanSave(tensors, input, folder_ + output, options));
    return SaveCheckpoint(plan, {});
  }

  std::mt19937 random_{8};
  const std::string folder_ = MakeTestFolder();
};

TEST_F(TorchWriterTest, NamesItsFilesAsTransformersDoes) {
  ASSERT_OK_AND_ASSIGN(const Checkpoint in, OpenCheckpoint(folder_ + "/in"));
  ASSERT_OK(Save(in.tensors, in, "/shards", {}));
  EXPECT_THAT(ReadTestFolder(folder_ + "/shards"),
              UnorderedElementsAre(Key("config.json"),
                                   Key("pytorch_model-00001-of-00002.bin"),
                                   Key("pytorch_model-00002-of-00002.bin"),
                                   Key("pytorch_model.bin.index.json")));
  SaveOptions options;
  options.max_shard_bytes = 1 << 20;
  ASSERT_OK(Save(in.tensors, in, "/one", options));
  EXPECT_THAT(
      ReadTestFolder(folder_ + "/one"),
      UnorderedElementsAre(Key("config.json"), Key("pytorch_model.bin")));
  EXPECT_THAT(Save(in.tensors, in, "/one.pt", options),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("one file holds it all")));
  ASSERT_OK(Save(in.tensors, in, "/one.pt", {}));
  ASSERT_OK_AND_ASSIGN(const Checkpoint one,
                       OpenCheckpoint(folder_ + "/one.pt"));
  EXPECT_EQ(Difference(one.tensors, in.tensors), "");
}

TEST_F(TorchWriterTest, TiedTensorsStayTied) {
  ASSERT_OK_AND_ASSIGN(const Checkpoint in, OpenCheckpoint(folder_ + "/in"));
  StateDict tied;
  ASSERT_OK(tied.Insert("embed", *in.tensors.Find("a")));
  ASSERT_OK(tied.Insert("between", *in.tensors.Find("b")));
  ASSERT_OK(tied.Insert("head", *in.tensors.Find("a")));
  ASSERT_OK(Save(tied, in, "/tied.bin", {}));
  ASSERT_OK_AND_ASSIGN(const Checkpoint out,
                       OpenCheckpoint(folder_ + "/tied.bin"));
  EXPECT_EQ(Difference(out.tensors, tied), "");
  EXPECT_EQ(out.tensors.Find("embed")->source()->Verbatim()->offset,
            out.tensors.Find("head")->source()->Verbatim()->offset);
}

TEST_F(TorchWriterTest, RefusesWhatTorchLacksByName) {
  for (const DType dtype : {DType::kF4, DType::kF6E2M3, DType::kF6E3M2}) {
    StateDict tensors;
    ASSERT_OK(tensors.Insert("odd", RandomTensor(dtype, {8}, &random_)));
    ASSERT_OK_AND_ASSIGN(const Checkpoint in, OpenCheckpoint(folder_ + "/in"));
    EXPECT_THAT(Save(tensors, in, "/out", {}),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr("\"odd\""),
                               HasSubstr(std::string(DTypeName(dtype))))));
  }
}

TEST_F(TorchWriterTest, WhatIsCutHasNoDigest) {
  ASSERT_OK_AND_ASSIGN(const Checkpoint in, OpenCheckpoint(folder_ + "/in"));
  for (const char* format : {"dcp", "dcp_safetensors"}) {
    SaveOptions options;
    options.format = format;
    options.num_shards = 3;
    ASSERT_OK_AND_ASSIGN(
        const SavePlan plan,
        PlanSave(in.tensors, in, absl::StrCat(folder_, "/", format), options));
    TransferOptions digests;
    digests.digest = DigestKind::kXxh3;
    EXPECT_THAT(SaveCheckpoint(plan, digests),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("expected whole ones to take digests of")));
  }
}

uint64_t Number(const std::string& bytes, size_t at, int size) {
  uint64_t value = 0;
  for (int i = size - 1; i >= 0; --i) {
    value = value << 8 | static_cast<uint8_t>(bytes.at(at + i));
  }
  return value;
}

// Entries as they come from the archive's beginning, by name.
std::map<std::string, std::string> ReadFromTheBeginning(
    const std::string& zip) {
  std::map<std::string, std::string> entries;
  size_t at = 0;
  while (zip.compare(at, 4, "PK\x03\x04") == 0) {
    const size_t size = Number(zip, at + 18, 4);
    const size_t name_size = Number(zip, at + 26, 2);
    const size_t data = at + 30 + name_size + Number(zip, at + 28, 2);
    EXPECT_EQ(data % 64, 0u);
    const std::string bytes = zip.substr(data, size);
    EXPECT_EQ(Number(zip, at + 14, 4), ExtendCrc32(0, bytes));
    entries[zip.substr(at + 30, name_size)] = bytes;
    at = data + size;
  }
  EXPECT_EQ(zip.compare(at, 4, "PK\x01\x02"), 0);
  return entries;
}

TEST_F(TorchWriterTest, HeadersAloneSayWhatTheArchiveHolds) {
  ASSERT_OK_AND_ASSIGN(const Checkpoint in, OpenCheckpoint(folder_ + "/in"));
  ASSERT_OK(Save(in.tensors, in, "/x.bin", {}));
  auto entries = ReadFromTheBeginning(ReadTestFile(folder_ + "/x.bin"));
  EXPECT_THAT(
      entries,
      UnorderedElementsAre(
          Key("archive/data.pkl"), Key("archive/.format_version"),
          Key("archive/.storage_alignment"), Key("archive/byteorder"),
          Key("archive/data/0"), Key("archive/data/1"), Key("archive/version"),
          Key("archive/.data/serialization_id")));
  EXPECT_EQ(entries["archive/data/0"], ReadAll(*in.tensors.Find("a")).value());
  EXPECT_EQ(entries["archive/data/1"], ReadAll(*in.tensors.Find("b")).value());
  EXPECT_EQ(entries["archive/.data/serialization_id"].size(), 40u);
}

}  // namespace
}  // namespace windlass
