// Every registered format takes what it is given and gives it back.

#include <cstdint>
#include <filesystem>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/core/dtype.h"
#include "windlass/core/status_macros.h"
#include "windlass/core/tensor_ops.h"
#include "windlass/io/checkpoint.h"
#include "windlass/io/save.h"
#include "windlass/io/transfer/crc32.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/testing/tensors.h"
#include "windlass/tests/testing/files.h"

namespace windlass {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Key;
using ::testing::UnorderedElementsAre;

class RoundTripTest : public ::testing::TestWithParam<const char*> {
 protected:
  ~RoundTripTest() override { std::filesystem::remove_all(folder_); }

  bool HasDType(DType dtype) const {
    if (absl::string_view(GetParam()) == "safetensors") return true;
    if (absl::string_view(GetParam()) == "dcp_safetensors") {
      return DTypeBytes(dtype) > 0;  // tensors are cut between elements
    }
    return !TorchDTypeName(dtype).empty();
  }

  // Adds a tensor that no file holds.
  void Add(const std::string& name, DType dtype, Shape shape) {
    ASSERT_OK(tensors_.Insert(name, RandomTensor(dtype, shape, &random_)));
  }

  // Saves the tensors, as what a checkpoint without a file holds.
  absl::Status Save(SaveOptions options = {},
                    const TransferOptions& transfer = {}) {
    options.format = GetParam();
    Checkpoint input;
    WINDLASS_ASSIGN_OR_RETURN(input.folder,
                              ResolveLocation(folder_ + "/nowhere"));
    WINDLASS_ASSIGN_OR_RETURN(const SavePlan plan,
                              PlanSave(tensors_, input, Out(), options));
    return SaveCheckpoint(plan, transfer);
  }

  // What is found there differs from what was saved in this.
  std::string Found() {
    OpenOptions options;
    options.format = GetParam();
    for (const OpenOptions& open : {OpenOptions{}, options}) {
      const auto found = OpenCheckpoint(Out(), open);
      if (!found.ok()) return std::string(found.status().message());
      const std::string difference =
          Difference(Sorted(found->tensors), Sorted(tensors_));
      if (!difference.empty()) return difference;
      if (found->format->name() != GetParam()) return "another format";
    }
    return "";
  }

  std::string Out() const { return folder_ + "/out"; }

  std::mt19937 random_{7};
  StateDict tensors_;
  const std::string folder_ = MakeTestFolder();
};

TEST_P(RoundTripTest, EveryDTypeThatItHas) {
  for (int i = 0; i < kDTypeCount; ++i) {
    const DType dtype = static_cast<DType>(i);
    if (!HasDType(dtype)) continue;
    // Bytes of BOOL are 0 or 1.
    if (dtype == DType::kBool) {
      ASSERT_OK(tensors_.Insert("of.BOOL",
                                MakeTensor<uint8_t>(dtype, {3}, {1, 0, 1})));
    } else {
      Add(absl::StrCat("of.", DTypeName(dtype)), dtype, {6, 4});
    }
  }
  ASSERT_OK(Save());
  EXPECT_EQ(Found(), "");
}

TEST_P(RoundTripTest, ScalarsEmptyTensorsAndOddNames) {
  Add("scalar", DType::kF32, {});
  Add("empty", DType::kBF16, {0, 3});
  Add("no columns", DType::kI64, {3, 0});
  Add("", DType::kU8, {1});
  Add("dots..and\nlines \"quoted\" \\ é 日本", DType::kU8, {5});
  Add(std::string(70'000, 'n'), DType::kU8, {1});
  Add("deep", DType::kF16, {1, 2, 1, 3, 1});
  ASSERT_OK(Save());
  EXPECT_EQ(Found(), "");
}

// What was cut is put together again without being computed, in every format
// but from those whose parts are whole.
TEST_P(RoundTripTest, PartsThatAreCopiedOneByOne) {
  Add("large", DType::kF32, {300, 500});
  Add("small", DType::kBF16, {7});
  Add("odd", DType::kU8, {333'333});
  SaveOptions options;
  const absl::string_view format = GetParam();
  if (format == "dcp" || format == "dcp_safetensors") options.num_shards = 3;
  ASSERT_OK(Save(options));
  ASSERT_OK_AND_ASSIGN(const Checkpoint cut, OpenCheckpoint(Out()));
  for (const char* to : {"safetensors", "torch", "dcp"}) {
    const std::string whole = absl::StrCat(folder_, "/", to);
    SaveOptions same;
    same.format = to;
    ASSERT_OK_AND_ASSIGN(const SavePlan plan,
                         PlanSave(cut.tensors, cut, whole, same));
    ASSERT_OK(SaveCheckpoint(plan, {}));
    ASSERT_OK_AND_ASSIGN(const Checkpoint found, OpenCheckpoint(whole));
    EXPECT_EQ(Difference(Sorted(found.tensors), Sorted(tensors_)), "") << to;
  }
}

TEST_P(RoundTripTest, NoTensorAtAll) {
  ASSERT_OK(Save());
  // A file of torch.save that has none may be anything but a state dict.
  const bool is_torch = absl::string_view(GetParam()) == "torch";
  EXPECT_THAT(Found(), is_torch ? EndsWith("expected a state dict")
                                : ::testing::Matcher<std::string>(""));
}

TEST_P(RoundTripTest, ManyTensors) {
  for (int i = 0; i < 2500; ++i) {
    Add(absl::StrCat("layers.", i, ".weight"), DType::kU8, {i % 7});
  }
  ASSERT_OK(Save());
  EXPECT_EQ(Found(), "");
}

TEST_P(RoundTripTest, CutIntoShardsOrRefused) {
  Add("rows", DType::kBF16, {7, 3});
  Add("few", DType::kF32, {2, 2});
  Add("one", DType::kI64, {1});
  Add("scalar", DType::kI64, {});
  Add("empty", DType::kI64, {0});
  SaveOptions options;
  options.num_shards = 3;
  const absl::Status saved = Save(options);
  if (!absl::StartsWith(GetParam(), "dcp")) {
    EXPECT_THAT(saved, StatusIs(absl::StatusCode::kInvalidArgument,
                                HasSubstr("keeps tensors whole")));
    return;
  }
  ASSERT_OK(saved);
  EXPECT_EQ(Found(), "");
  options.num_shards = 1000;
  options.overwrite = true;
  ASSERT_OK(Save(options));
  EXPECT_EQ(Found(), "");
  TransferOptions digests;
  digests.digest = DigestKind::kXxh3;
  EXPECT_THAT(Save(options, digests),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("expected whole ones to take digests of")));
}

TEST_P(RoundTripTest, TheSameAgainAndOverAnotherOne) {
  Add("a", DType::kF32, {1000, 300});
  Add("b", DType::kBF16, {5});
  ASSERT_OK(Save());
  EXPECT_THAT(Save(), StatusIs(absl::StatusCode::kFailedPrecondition,
                               HasSubstr("expected an empty folder")));
  SaveOptions resume;
  resume.resume = true;
  EXPECT_OK(Save(resume));
  // The old files go.
  tensors_ = StateDict();
  Add("c", DType::kF32, {4});
  SaveOptions overwrite;
  overwrite.overwrite = true;
  ASSERT_OK(Save(overwrite));
  EXPECT_EQ(Found(), "");
}

TEST_P(RoundTripTest, ComputedTensorsOfManyPieces) {
  Add("wide", DType::kBF16, {3000, 1100});
  StateDict computed;
  ASSERT_OK_AND_ASSIGN(Tensor wide, Cast(*tensors_.Find("wide"), DType::kF32));
  ASSERT_OK_AND_ASSIGN(wide, Transpose(wide));
  ASSERT_OK(computed.Insert("computed", wide));
  tensors_ = std::move(computed);
  TransferOptions threads;
  threads.threads = 3;
  ASSERT_OK(Save({}, threads));
  EXPECT_EQ(Found(), "");
}

INSTANTIATE_TEST_SUITE_P(Formats, RoundTripTest,
                         ::testing::Values("safetensors", "torch", "dcp",
                                           "dcp_safetensors"),
                         [](const auto& info) {
                           return std::string(info.param);
                         });

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
