#include "windlass/io/in_place.h"

#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/core/status_macros.h"
#include "windlass/io/checkpoint.h"
#include "windlass/io/digests.h"
#include "windlass/io/storage/storage.h"
#include "windlass/io/unfinished.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/testing/tensors.h"
#include "windlass/tests/testing/files.h"

namespace windlass {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

constexpr auto kRefused = absl::StatusCode::kFailedPrecondition;

class InPlaceTest : public ::testing::Test {
 protected:
  InPlaceTest() {
    std::vector<StateDict> shards(2);
    for (int i = 0; i < 4; ++i) Add(absl::StrCat("t", i), &shards[i / 2]);
    WriteTestCheckpoint(folder_, shards, "{}");
  }
  ~InPlaceTest() override { std::filesystem::remove_all(folder_); }

  void Add(const std::string& name, StateDict* shard) {
    shard->Insert(name, RandomTensor(DType::kF32, {16}, &random_))
        .IgnoreError();
  }

  std::string Shard(int number) const {
    return absl::StrCat(folder_, "/model-0000", number,
                        "-of-00002.safetensors");
  }

  absl::StatusOr<InPlacePlan> Plan(const std::string& uri) {
    WINDLASS_ASSIGN_OR_RETURN(const Checkpoint input, OpenCheckpoint(uri));
    StateDict renamed;
    for (const auto& [name, tensor] : input.tensors) {
      WINDLASS_RETURN_IF_ERROR(renamed.Insert("n." + name, tensor));
    }
    return PlanInPlace(renamed, input);
  }

  absl::Status Rename(const std::string& tag = "tag") {
    WINDLASS_ASSIGN_OR_RETURN(const InPlacePlan plan, Plan(folder_));
    return RenameInPlace(plan, Folder(), tag, /*sync=*/false);
  }

  absl::StatusOr<bool> IsConverted(const std::string& tag = "tag") {
    WINDLASS_ASSIGN_OR_RETURN(const Checkpoint input, OpenCheckpoint(folder_));
    return IsConvertedInPlace(input, tag);
  }

  Location Folder() const { return ResolveLocation(folder_).value(); }

  std::mt19937 random_{4};
  const std::string folder_ = MakeTestFolder();
};

TEST_F(InPlaceTest, ARecordIsBelievedOnlyForAllThatStandsThere) {
  EXPECT_THAT(IsConverted(), IsOkAndHolds(false));
  ASSERT_OK(Rename());
  EXPECT_THAT(IsConverted(), IsOkAndHolds(true));
  EXPECT_THAT(IsConverted("another tag"), IsOkAndHolds(false));
  // Another file of the model comes: the record says nothing about that.
  std::vector<StateDict> shards(3);
  for (int i = 0; i < 3; ++i) Add(absl::StrCat("new", i), &shards[i]);
  std::filesystem::rename(folder_ + "/.windlass-converted",
                          folder_ + "/record");
  std::filesystem::remove(Shard(1));
  std::filesystem::remove(Shard(2));
  WriteTestCheckpoint(folder_, shards, "{}");
  std::filesystem::rename(folder_ + "/record",
                          folder_ + "/.windlass-converted");
  EXPECT_THAT(IsConverted(), IsOkAndHolds(false));
  ASSERT_OK(Rename());
  EXPECT_THAT(IsConverted(), IsOkAndHolds(true));
}

TEST_F(InPlaceTest, AnUnfinishedJournalIsNobodysInput) {
  ASSERT_OK(Rename());
  std::filesystem::rename(folder_ + "/.windlass-converted",
                          folder_ + "/.windlass-journal");
  EXPECT_THAT(OpenCheckpoint(folder_),
              StatusIs(kRefused, HasSubstr("stopped in the middle")));
  EXPECT_THAT(OpenCheckpoint(Shard(1)),
              StatusIs(kRefused, HasSubstr("stopped in the middle")));
  EXPECT_THAT(FinishInPlace(Folder(), "other", false),
              StatusIs(kRefused, HasSubstr("(tag), expected other")));
  EXPECT_THAT(FinishInPlace(Folder(), "tag", false), IsOkAndHolds(true));
  EXPECT_OK(OpenCheckpoint(folder_));
}

TEST_F(InPlaceTest, RefusesOneFileOfSeveral) {
  EXPECT_THAT(Plan(Shard(1)), StatusIs(kRefused, HasSubstr("one file of")));
}

TEST_F(InPlaceTest, RefusesWhatBelongsToOthersWhenItIsPlanned) {
  std::filesystem::rename(Shard(2), folder_ + "/elsewhere");
  std::filesystem::create_symlink("elsewhere", Shard(2));
  EXPECT_THAT(Plan(folder_), StatusIs(kRefused, HasSubstr("found a link")));
  std::filesystem::remove(Shard(2));
  std::filesystem::create_hard_link(folder_ + "/elsewhere", Shard(2));
  EXPECT_THAT(Plan(folder_), StatusIs(kRefused, HasSubstr("2 names")));
}

TEST_F(InPlaceTest, RefusesAFileThatChangedSinceItWasPlanned) {
  ASSERT_OK_AND_ASSIGN(const InPlacePlan plan, Plan(folder_));
  const auto before = [this] {
    std::string bytes = ReadTestFile(Shard(2));
    bytes[30] ^= 1;
    WriteTestFile(Shard(2), bytes);
    return ReadTestFolder(folder_);
  }();
  EXPECT_THAT(RenameInPlace(plan, Folder(), "tag", false),
              StatusIs(kRefused, HasSubstr("found another file")));
  EXPECT_EQ(ReadTestFolder(folder_), before);
}

TEST_F(InPlaceTest, DigestsFollow) {
  Digests digests;
  digests.kind = DigestKind::kXxh3;
  for (int i = 0; i < 4; ++i) {
    digests.tensors[absl::StrCat("t", i)] = {
        DType::kF32, {16}, absl::StrCat("digest", i)};
  }
  const std::string path = folder_ + "/" + kDigestsName;
  WriteTestFile(path, SerializeDigests(digests));
  ASSERT_OK(Rename());
  ASSERT_OK_AND_ASSIGN(const Digests after, ParseDigests(ReadTestFile(path)));
  std::vector<std::pair<std::string, std::string>> found;
  for (const auto& [name, tensor] : after.tensors) {
    found.emplace_back(name, tensor.digest);
  }
  EXPECT_THAT(found,
              ElementsAre(Pair("n.t0", "digest0"), Pair("n.t1", "digest1"),
                          Pair("n.t2", "digest2"), Pair("n.t3", "digest3")));
}

}  // namespace
}  // namespace windlass
