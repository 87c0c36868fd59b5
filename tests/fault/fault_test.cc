// Conversions over a storage that fails at a chosen call, once and then once
// more: every error must be reported, none may leave a damaged file under a
// final name, and running again must come to a good end. docs/commit.md says
// what each call may leave.

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/core/status_macros.h"
#include "windlass/io/checkpoint.h"
#include "windlass/io/in_place.h"
#include "windlass/io/save.h"
#include "windlass/io/storage/storage.h"
#include "windlass/io/unfinished.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/testing/tensors.h"
#include "windlass/tests/fault/conversion.h"
#include "windlass/tests/fault/faulty_storage.h"
#include "windlass/tests/testing/files.h"

namespace windlass {
namespace {

using ::testing::HasSubstr;

constexpr char kIndexName[] = "model.safetensors.index.json";

// Every how many calls the second of two faults strikes: all of them where
// somebody asks for the long run.
int Stride() { return std::getenv("WINDLASS_STRESS") != nullptr ? 1 : 19; }

SaveOptions Options(bool overwrite, bool resume) {
  SaveOptions options;
  options.overwrite = overwrite;
  options.resume = resume;
  return options;
}

class FaultTest : public ::testing::Test {
 protected:
  FaultTest() {
    std::mt19937 random(11);
    std::vector<StateDict> shards(3);
    for (int i = 0; i < 9; ++i) {
      shards[i / 3]
          .Insert(absl::StrCat("t", i),
                  RandomTensor(DType::kBF16, {40 + i, 50}, &random))
          .IgnoreError();
    }
    WriteTestCheckpoint(In(), shards, "{}");
    WriteTestCheckpoint(Path("old"), OldShards(2, &random), "{\"old\": 1}");
    WriteTestCheckpoint(Path("alike"), OldShards(3, &random), "{\"old\": 1}");
    TheFaults().Clear();
    EXPECT_OK(Convert(Path("expected")));
    expected_ = ReadTestFolder(Path("expected"));
  }
  ~FaultTest() override { std::filesystem::remove_all(folder_); }

  static std::vector<StateDict> OldShards(int count, std::mt19937* random) {
    std::vector<StateDict> shards(count);
    for (int i = 0; i < 2 * count; ++i) {
      shards[i / 2]
          .Insert(absl::StrCat("old", i),
                  RandomTensor(DType::kBF16, {10 + i}, random))
          .IgnoreError();
    }
    return shards;
  }

  std::string Path(const std::string& name) const {
    return absl::StrCat(folder_, "/", name);
  }
  std::string In() const { return Path("in"); }

  absl::Status Convert(const std::string& output,
                       const SaveOptions& options = {}) {
    return RenameAndCast("fault://" + In(), "fault://" + output, options);
  }

  // Renames all tensors where they lie, as the command does.
  absl::Status ConvertInPlace(const std::string& folder) {
    const std::string uri = "fault://" + folder;
    WINDLASS_ASSIGN_OR_RETURN(const Location location, ResolveLocation(uri));
    WINDLASS_RETURN_IF_ERROR(
        FinishInPlace(location, "tag", /*sync=*/true).status());
    WINDLASS_ASSIGN_OR_RETURN(const Checkpoint input, OpenCheckpoint(uri));
    WINDLASS_ASSIGN_OR_RETURN(const bool done,
                              IsConvertedInPlace(input, "tag"));
    if (done) return absl::OkStatus();
    WINDLASS_ASSIGN_OR_RETURN(const InPlacePlan plan,
                              PlanInPlace(Renamed(input.tensors), input));
    return RenameInPlace(plan, location, "tag", /*sync=*/true);
  }

  static StateDict Renamed(const StateDict& dict) {
    StateDict renamed;
    for (const auto& [name, tensor] : dict) {
      renamed.Insert("a.longer.name." + name, tensor).IgnoreError();
    }
    return renamed;
  }

  // A folder to convert into; with another checkpoint in it, of other shards,
  // and with a file that is nobody's, where it is to be overwritten.
  std::string MakeOutput(bool used) {
    const std::string output = Path("out");
    std::filesystem::remove_all(output);
    if (!used) return output;
    std::filesystem::copy(Path(old_), output);
    WriteTestFile(output + "/mine.txt", "precious");
    return output;
  }

  // Every file that is shown is whole, of the old checkpoint or of the new one;
  // an index stands only where all that it speaks of does. A reader sees the
  // old checkpoint, the new one, or is told.
  void ExpectWholeFiles(const std::string& output,
                        const std::map<std::string, std::string>& before) {
    const auto shown = ShownFiles(output);
    auto is = [&shown](const auto& file) {
      const auto it = shown.find(file.first);
      return it != shown.end() && it->second == file.second;
    };
    for (const auto& [name, bytes] : shown) {
      const auto now = expected_.find(name);
      const auto old = before.find(name);
      ASSERT_TRUE((now != expected_.end() && now->second == bytes) ||
                  (old != before.end() && old->second == bytes))
          << name;
    }
    const bool is_new = std::all_of(expected_.begin(), expected_.end(), is);
    const auto index = shown.find(kIndexName);
    if (index != shown.end()) {
      const bool is_old = std::all_of(before.begin(), before.end(), is);
      ASSERT_TRUE(is_new || is_old || LacksAShard(before, shown));
    }
    if (OpenCheckpoint(output).ok()) {
      EXPECT_TRUE(is_new || shown == before);
    }
  }

  // Whether a shard of the old checkpoint is not there any more: nobody can
  // take its index for a checkpoint.
  static bool LacksAShard(const std::map<std::string, std::string>& before,
                          const std::map<std::string, std::string>& shown) {
    return std::any_of(before.begin(), before.end(), [&](const auto& file) {
      return absl::EndsWith(file.first, ".safetensors") &&
             shown.count(file.first) == 0;
    });
  }

  // Runs the conversion once more, undisturbed: the whole of it is there then,
  // and what was nobody's.
  void ExpectRepaired(const std::string& output, const SaveOptions& options) {
    const absl::Status again = Convert(output, options);
    // Where all was done already, only one who resumes or overwrites may go on.
    if (!again.ok()) {
      EXPECT_FALSE(options.resume || options.overwrite) << again;
    }
    auto done = expected_;
    if (options.overwrite) done["mine.txt"] = "precious";
    ASSERT_EQ(ReadTestFolder(output), done);
  }

  // Fails at call after call until a run comes through without reaching it;
  // after a crash also runs that crash in their turn.
  void FailEverywhere(bool crash, const SaveOptions& options,
                      absl::StatusCode code) {
    int failures = 0;
    for (int at = 0;; ++at) {
      SCOPED_TRACE(absl::StrCat("call ", at));
      const std::string output = MakeOutput(options.overwrite);
      const auto before = ShownFiles(output);
      TheFaults().Set(at, crash, code);
      // The first run has nothing to resume.
      const absl::Status status =
          Convert(output, Options(options.overwrite, false));
      const bool reached = TheFaults().reached();
      TheFaults().Clear();
      if (!reached) break;
      if (!status.ok()) {
        ++failures;
        EXPECT_THAT(status, StatusIs(code, HasSubstr("injected")));
      }
      ExpectWholeFiles(output, before);
      if (crash) FailAgain(output, options, before, at % Stride());
      ExpectRepaired(output, options);
    }
    EXPECT_GT(failures, 20);
  }

  // Crashes at call after call, from `at` on, in copies of a folder that an
  // earlier crash left.
  void FailAgain(const std::string& output, const SaveOptions& options,
                 const std::map<std::string, std::string>& before, int at) {
    const std::string copy = Path("copy");
    for (;; at += Stride()) {
      SCOPED_TRACE(absl::StrCat("and then call ", at));
      std::filesystem::remove_all(copy);
      if (std::filesystem::exists(output)) {
        std::filesystem::copy(output, copy);
      }
      TheFaults().Set(at, /*crash=*/true, absl::StatusCode::kUnavailable);
      Convert(copy, options).IgnoreError();
      const bool reached = TheFaults().reached();
      TheFaults().Clear();
      if (!reached) break;
      ExpectWholeFiles(copy, before);
      ExpectRepaired(copy, options);
    }
  }

  const std::string folder_ = MakeTestFolder();
  // What is overwritten: "old" has other shards, "alike" those of the new one.
  const char* old_ = "old";
  std::map<std::string, std::string> expected_;
};

TEST_F(FaultTest, AReadOrWriteErrorAnywhereIsReported) {
  for (const bool overwrite : {false, true}) {
    FailEverywhere(/*crash=*/false, Options(overwrite, false),
                   absl::StatusCode::kDataLoss);
  }
}

TEST_F(FaultTest, NoSpaceAnywhereIsReported) {
  FailEverywhere(/*crash=*/false, Options(false, false),
                 absl::StatusCode::kResourceExhausted);
}

TEST_F(FaultTest, CrashesAnywhereAreRepairedByRunningAgain) {
  FailEverywhere(/*crash=*/true, Options(false, false),
                 absl::StatusCode::kUnavailable);
}

TEST_F(FaultTest, CrashesAnywhereAreRepairedByResuming) {
  FailEverywhere(/*crash=*/true, Options(false, true),
                 absl::StatusCode::kUnavailable);
}

TEST_F(FaultTest, CrashesAnywhereAreRepairedByOverwritingAgain) {
  FailEverywhere(/*crash=*/true, Options(true, false),
                 absl::StatusCode::kUnavailable);
}

TEST_F(FaultTest, CrashesAnywhereAreRepairedByOverwritingAndResuming) {
  FailEverywhere(/*crash=*/true, Options(true, true),
                 absl::StatusCode::kUnavailable);
}

TEST_F(FaultTest, CrashesOverShardsOfTheSameNamesAreRepaired) {
  old_ = "alike";
  for (const bool resume : {false, true}) {
    FailEverywhere(/*crash=*/true, Options(true, resume),
                   absl::StatusCode::kUnavailable);
  }
}

// One file's header has room, one's grows over its first tensors, one's needs
// the file to grow in front.
void WriteShardsToRename(const std::string& folder, int seed) {
  std::mt19937 random(seed);
  std::vector<StateDict> shards(3);
  for (int shard = 0; shard < 3; ++shard) {
    ASSERT_OK(shards[shard].Insert(
        absl::StrCat("first", shard),
        RandomTensor(DType::kF32, {shard == 1 ? 16 : 30'000}, &random)));
    ASSERT_OK(shards[shard].Insert(absl::StrCat("second", shard),
                                   RandomTensor(DType::kBF16, {500}, &random)));
  }
  WriteTestCheckpoint(folder, shards, "{}");
  const std::string roomy = folder + "/model-00001-of-00003.safetensors";
  const std::string bytes = ReadTestFile(roomy);
  const int64_t header = static_cast<unsigned char>(bytes[0]);
  ASSERT_EQ(bytes[1], 0);
  WriteTestFile(roomy,
                std::string("\0\1\0\0\0\0\0\0", 8) + bytes.substr(8, header) +
                    std::string(256 - header, ' ') + bytes.substr(8 + header));
}

TEST_F(FaultTest, AFaultAnywhereInPlaceIsRepairedByRunningAgain) {
  WriteShardsToRename(Path("shards"), 12);
  ASSERT_OK_AND_ASSIGN(const Checkpoint before, OpenCheckpoint(Path("shards")));
  const StateDict expected = Sorted(Renamed(before.tensors));

  for (const bool crash : {false, true}) {
    int failures = 0;
    for (int at = 0;; ++at) {
      SCOPED_TRACE(absl::StrCat("call ", at, crash ? ", crash" : ""));
      const std::string copy = Path("copy");
      std::filesystem::copy(Path("shards"), copy);
      TheFaults().Set(at, crash, absl::StatusCode::kUnavailable);
      failures += !ConvertInPlace(copy).ok();
      const bool reached = TheFaults().reached();
      TheFaults().Clear();
      ASSERT_OK(ConvertInPlace(copy));
      {
        ASSERT_OK_AND_ASSIGN(const Checkpoint after, OpenCheckpoint(copy));
        ASSERT_EQ(Difference(Sorted(after.tensors), expected), "");
        EXPECT_EQ(after.shards[0].file->size(), before.shards[0].file->size());
        EXPECT_EQ(after.shards[1].file->size(),
                  before.shards[1].file->size() + 64);
        EXPECT_EQ(after.shards[2].file->size(),
                  before.shards[2].file->size() + 4096);
      }
      const auto files = ReadTestFolder(copy);
      ASSERT_OK(ConvertInPlace(copy));
      EXPECT_EQ(ReadTestFolder(copy), files);
      std::filesystem::remove_all(copy);
      if (!reached) break;
    }
    EXPECT_GT(failures, 30);
  }
}

// Killed in place at every call, and killed again when it goes on.
TEST_F(FaultTest, CrashesAnywhereInPlaceAreRepaired) {
  WriteShardsToRename(Path("shards"), 12);
  ASSERT_OK_AND_ASSIGN(const Checkpoint before, OpenCheckpoint(Path("shards")));
  const StateDict expected = Sorted(Renamed(before.tensors));
  bool done = false;
  for (int at = 0; !done; ++at) {
    done = true;
    for (int again = at % Stride();; again += Stride()) {
      SCOPED_TRACE(absl::StrCat("call ", at, ", and then call ", again));
      const std::string copy = Path("copy");
      std::filesystem::remove_all(copy);
      std::filesystem::copy(Path("shards"), copy);
      TheFaults().Set(at, true, absl::StatusCode::kUnavailable);
      ConvertInPlace(copy).IgnoreError();
      done = done && !TheFaults().reached();
      TheFaults().Set(again, true, absl::StatusCode::kUnavailable);
      ConvertInPlace(copy).IgnoreError();
      const bool reached = TheFaults().reached();
      TheFaults().Clear();
      // A half-written checkpoint is nobody's input.
      const auto open = OpenCheckpoint(copy);
      if (open.ok()) {
        const std::string difference =
            Difference(Sorted(open->tensors), expected);
        ASSERT_TRUE(difference.empty() ||
                    Difference(open->tensors, before.tensors).empty());
      }
      ASSERT_OK(ConvertInPlace(copy));
      ASSERT_OK_AND_ASSIGN(const Checkpoint after, OpenCheckpoint(copy));
      ASSERT_EQ(Difference(Sorted(after.tensors), expected), "");
      if (!reached) break;
    }
  }
}

// Whatever a crash left, files that were put there since are not patched.
TEST_F(FaultTest, InPlaceAFileThatWasExchangedIsRefusedUntouched) {
  WriteShardsToRename(Path("shards"), 12);
  WriteShardsToRename(Path("others"), 13);
  int refused = 0;
  bool reached = true;
  for (int at = 0; reached; ++at) {
    for (int shard = 1; shard <= 3; ++shard) {
      SCOPED_TRACE(absl::StrCat("call ", at, ", shard ", shard));
      const std::string name =
          absl::StrCat("/model-0000", shard, "-of-00003.safetensors");
      const std::string copy = Path("copy");
      std::filesystem::remove_all(copy);
      std::filesystem::copy(Path("shards"), copy);
      TheFaults().Set(at, true, absl::StatusCode::kUnavailable);
      ConvertInPlace(copy).IgnoreError();
      reached = TheFaults().reached();
      TheFaults().Clear();
      std::string other = ReadTestFile(Path("others") + name);
      other[8 + 20] ^= 1;  // a name of its own
      WriteTestFile(copy + name, other);
      const auto before = ReadTestFolder(copy);
      const absl::Status status = ConvertInPlace(copy);
      if (before.count(kJournalName) == 0) continue;
      ++refused;
      EXPECT_THAT(status, StatusIs(absl::StatusCode::kFailedPrecondition,
                                   HasSubstr("found another file")));
      EXPECT_EQ(ReadTestFolder(copy), before);
    }
  }
  EXPECT_GT(refused, 20);
}

TEST_F(FaultTest, ResumingKeepsWholeFilesAndDistrustsOthers) {
  // A run that crashes when it is about to rename has all files whole.
  const std::string output = Path("out");
  for (int at = 0;; ++at) {
    TheFaults().Set(at, true, absl::StatusCode::kUnavailable);
    EXPECT_FALSE(Convert(output).ok());
    if (!std::filesystem::exists(output)) continue;
    const auto files = ReadTestFolder(output);
    int whole = 0;
    for (const auto& [name, bytes] : files) {
      for (const auto& [final_name, expected] : expected_) {
        whole += name == TemporaryName(final_name) && bytes == expected;
      }
    }
    if (whole == 4) break;  // three shards and config.json
    std::filesystem::remove_all(output);
  }
  // One of them is damaged behind our back, at its full size.
  const std::string damaged = absl::StrCat(
      output, "/.model-00002-of-00003.safetensors", kPartialSuffix);
  std::string bytes = ReadTestFile(damaged);
  bytes.back() ^= 1;
  WriteTestFile(damaged, bytes);
  const auto kept = std::filesystem::last_write_time(absl::StrCat(
      output, "/.model-00001-of-00003.safetensors", kPartialSuffix));
  TheFaults().Clear();
  ASSERT_OK(Convert(output, Options(false, true)));
  EXPECT_EQ(ReadTestFolder(output), expected_);
  EXPECT_EQ(std::filesystem::last_write_time(
                output + "/model-00001-of-00003.safetensors"),
            kept);
}

}  // namespace
}  // namespace windlass
