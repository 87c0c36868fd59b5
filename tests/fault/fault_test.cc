// A conversion over a storage that fails at a chosen call: every error must be
// reported, and none may leave a damaged file under a final name.

#include <atomic>
#include <filesystem>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/core/status_macros.h"
#include "windlass/io/checkpoint.h"
#include "windlass/io/in_place.h"
#include "windlass/io/storage/storage.h"
#include "windlass/tests/fault/conversion.h"
#include "windlass/tests/testing/files.h"
#include "windlass/tests/testing/status_matchers.h"
#include "windlass/tests/testing/tensors.h"

namespace windlass {
namespace {

using ::testing::HasSubstr;

// Counts the calls that change something or read; the call number `at` fails,
// and with `crash` all calls after it, as if the process had died there.
struct Faults {
  std::atomic<int> calls{0};
  int at = -1;
  bool crash = false;
  absl::StatusCode code = absl::StatusCode::kDataLoss;

  void Set(int new_at, bool new_crash, absl::StatusCode new_code) {
    calls = 0;
    at = new_at;
    crash = new_crash;
    code = new_code;
  }

  absl::Status Call(absl::string_view path) {
    const int call = calls++;
    if (at < 0 || call < at || (call > at && !crash)) return absl::OkStatus();
    return absl::Status(code, absl::StrCat(path, ": injected"));
  }
};

Faults& TheFaults() {
  static auto* const faults = new Faults;
  return *faults;
}

class FaultyReadable : public ReadableFile {
 public:
  explicit FaultyReadable(std::shared_ptr<const ReadableFile> file)
      : file_(std::move(file)) {}
  const std::string& name() const override { return file_->name(); }
  int64_t size() const override { return file_->size(); }
  const FileIdentity& identity() const override { return file_->identity(); }
  absl::Status ReadAt(int64_t offset, absl::Span<char> out) const override {
    WINDLASS_RETURN_IF_ERROR(TheFaults().Call(name()));
    return file_->ReadAt(offset, out);
  }
  absl::Status CheckUnchanged() const override {
    return file_->CheckUnchanged();
  }

 private:
  const std::shared_ptr<const ReadableFile> file_;
};

class FaultyWritable : public WritableFile {
 public:
  explicit FaultyWritable(std::unique_ptr<WritableFile> file)
      : file_(std::move(file)) {}
  const std::string& name() const override { return file_->name(); }
  absl::Status Allocate(int64_t size) override {
    WINDLASS_RETURN_IF_ERROR(TheFaults().Call(name()));
    return file_->Allocate(size);
  }
  absl::Status WriteAt(int64_t offset, absl::Span<const char> data) override {
    const absl::Status fault = TheFaults().Call(name());
    // What fails in the middle has written a part.
    if (!fault.ok()) data = data.subspan(0, data.size() / 2);
    WINDLASS_RETURN_IF_ERROR(file_->WriteAt(offset, data));
    return fault;
  }
  absl::Status Sync() override {
    WINDLASS_RETURN_IF_ERROR(TheFaults().Call(name()));
    return file_->Sync();
  }
  absl::Status Close() override {
    WINDLASS_RETURN_IF_ERROR(TheFaults().Call(name()));
    return file_->Close();
  }

 private:
  const std::unique_ptr<WritableFile> file_;
};

class FaultyEditable : public EditableFile {
 public:
  FaultyEditable(Storage* storage, std::string path,
                 std::unique_ptr<EditableFile> file)
      : storage_(storage), path_(std::move(path)), file_(std::move(file)) {}
  int64_t size() const override { return file_->size(); }
  // Whatever the file system of the test's folder can: by writing all of it.
  absl::Status InsertAtFront(int64_t size) override {
    WINDLASS_RETURN_IF_ERROR(TheFaults().Call(path_));
    WriteTestFile(path_, std::string(size, '?') + ReadTestFile(path_));
    WINDLASS_ASSIGN_OR_RETURN(file_, storage_->OpenForEdit(path_));
    return absl::OkStatus();
  }
  absl::Status ReadAt(int64_t offset, absl::Span<char> out) override {
    WINDLASS_RETURN_IF_ERROR(TheFaults().Call(path_));
    return file_->ReadAt(offset, out);
  }
  absl::Status WriteAt(int64_t offset, absl::Span<const char> data) override {
    const absl::Status fault = TheFaults().Call(path_);
    if (!fault.ok()) data = data.subspan(0, data.size() / 2);
    WINDLASS_RETURN_IF_ERROR(file_->WriteAt(offset, data));
    return fault;
  }
  absl::Status Sync() override {
    WINDLASS_RETURN_IF_ERROR(TheFaults().Call(path_));
    return file_->Sync();
  }

 private:
  Storage* const storage_;
  const std::string path_;
  std::unique_ptr<EditableFile> file_;
};

// "fault://path": local files that may fail.
class FaultyStorage : public Storage {
 public:
  absl::StatusOr<std::shared_ptr<const ReadableFile>> OpenForRead(
      const std::string& path) override {
    WINDLASS_RETURN_IF_ERROR(TheFaults().Call(path));
    WINDLASS_ASSIGN_OR_RETURN(auto file, local().OpenForRead(path));
    return std::make_shared<FaultyReadable>(std::move(file));
  }
  absl::StatusOr<std::unique_ptr<WritableFile>> Create(
      const std::string& path) override {
    WINDLASS_RETURN_IF_ERROR(TheFaults().Call(path));
    WINDLASS_ASSIGN_OR_RETURN(auto file, local().Create(path));
    return std::make_unique<FaultyWritable>(std::move(file));
  }
  absl::StatusOr<std::unique_ptr<EditableFile>> OpenForEdit(
      const std::string& path) override {
    WINDLASS_RETURN_IF_ERROR(TheFaults().Call(path));
    WINDLASS_ASSIGN_OR_RETURN(auto file, local().OpenForEdit(path));
    return std::make_unique<FaultyEditable>(&local(), path, std::move(file));
  }
  absl::StatusOr<Kind> GetKind(const std::string& path) override {
    return local().GetKind(path);
  }
  absl::StatusOr<std::vector<std::string>> List(
      const std::string& path) override {
    return local().List(path);
  }
  absl::Status MakeDirectory(const std::string& path) override {
    WINDLASS_RETURN_IF_ERROR(TheFaults().Call(path));
    return local().MakeDirectory(path);
  }
  absl::Status Rename(const std::string& from, const std::string& to) override {
    WINDLASS_RETURN_IF_ERROR(TheFaults().Call(to));
    return local().Rename(from, to);
  }
  absl::Status Remove(const std::string& path) override {
    WINDLASS_RETURN_IF_ERROR(TheFaults().Call(path));
    return local().Remove(path);
  }
  absl::Status SyncDirectory(const std::string& path) override {
    WINDLASS_RETURN_IF_ERROR(TheFaults().Call(path));
    return local().SyncDirectory(path);
  }
  absl::StatusOr<std::string> Canonical(const std::string& path) override {
    return local().Canonical(path);
  }
  std::optional<int64_t> FreeBytes(const std::string& path) override {
    return local().FreeBytes(path);
  }

 private:
  static Storage& local() { return *ResolveLocation("/")->storage; }
};

const StorageRegistrar registrar("fault", new FaultyStorage);

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
    TheFaults().Set(-1, false, absl::StatusCode::kOk);
    EXPECT_OK(Convert(Path("expected"), false));
    expected_ = ReadTestFolder(Path("expected"));
  }
  ~FaultTest() override { std::filesystem::remove_all(folder_); }

  std::string Path(const std::string& name) const {
    return absl::StrCat(folder_, "/", name);
  }
  std::string In() const { return Path("in"); }

  absl::Status Convert(const std::string& output, bool resume) {
    TransferOptions options;
    options.resume = resume;
    return RenameAndCast("fault://" + In(), "fault://" + output, options);
  }

  // Renames all tensors where they lie, as the command does.
  absl::Status ConvertInPlace(const std::string& folder) {
    const std::string uri = "fault://" + folder;
    WINDLASS_ASSIGN_OR_RETURN(const Location location, ResolveLocation(uri));
    WINDLASS_ASSIGN_OR_RETURN(const InPlaceState state,
                              ResumeInPlace(location, "tag", /*sync=*/true));
    if (state == InPlaceState::kFinished) return absl::OkStatus();
    WINDLASS_ASSIGN_OR_RETURN(const Checkpoint input, OpenCheckpoint(uri));
    return RenameInPlace(Renamed(input.tensors), input, "tag", /*sync=*/true,
                         /*dry_run=*/false);
  }

  static StateDict Renamed(const StateDict& dict) {
    StateDict renamed;
    for (const auto& [name, tensor] : dict) {
      renamed.Insert("a.longer.name." + name, tensor).IgnoreError();
    }
    return renamed;
  }

  // Fails at call after call until a run comes through without reaching it.
  void FailEverywhere(bool crash, bool resume, absl::StatusCode code) {
    int failures = 0;
    for (int at = 0;; ++at) {
      SCOPED_TRACE(absl::StrCat("call ", at));
      const std::string output = Path(absl::StrCat("out", at));
      TheFaults().Set(at, crash, code);
      const absl::Status status = Convert(output, false);
      const bool reached = TheFaults().calls > at;
      TheFaults().Set(-1, false, absl::StatusCode::kOk);
      if (!reached) break;
      if (!status.ok()) {
        ++failures;
        EXPECT_THAT(status, StatusIs(code, HasSubstr("injected")));
      }
      ExpectNothingDamaged(output, expected_);
      // The same again, undisturbed; unless all was done when the error came.
      const bool done = std::filesystem::exists(output) &&
                        ReadTestFolder(output) == expected_;
      if (!done) {
        ASSERT_OK(Convert(output, resume));
      }
      ASSERT_EQ(ReadTestFolder(output), expected_);
      std::filesystem::remove_all(output);
    }
    EXPECT_GT(failures, 20);
  }

  const std::string folder_ = MakeTestFolder();
  std::map<std::string, std::string> expected_;
};

TEST_F(FaultTest, AReadOrWriteErrorAnywhereIsReported) {
  FailEverywhere(/*crash=*/false, /*resume=*/false,
                 absl::StatusCode::kDataLoss);
}

TEST_F(FaultTest, NoSpaceAnywhereIsReported) {
  FailEverywhere(/*crash=*/false, /*resume=*/false,
                 absl::StatusCode::kResourceExhausted);
}

TEST_F(FaultTest, ACrashAnywhereIsRepairedByRunningAgain) {
  FailEverywhere(/*crash=*/true, /*resume=*/false,
                 absl::StatusCode::kUnavailable);
}

TEST_F(FaultTest, ACrashAnywhereIsRepairedByResuming) {
  FailEverywhere(/*crash=*/true, /*resume=*/true,
                 absl::StatusCode::kUnavailable);
}

// One file's header has room, one's grows over its first tensors, one's needs
// the file to grow in front.
TEST_F(FaultTest, AFaultAnywhereInPlaceIsRepairedByRunningAgain) {
  std::mt19937 random(12);
  std::vector<StateDict> shards(3);
  for (int shard = 0; shard < 3; ++shard) {
    ASSERT_OK(shards[shard].Insert(
        absl::StrCat("first", shard),
        RandomTensor(DType::kF32, {shard == 1 ? 16 : 30'000}, &random)));
    ASSERT_OK(shards[shard].Insert(absl::StrCat("second", shard),
                                   RandomTensor(DType::kBF16, {500}, &random)));
  }
  WriteTestCheckpoint(Path("shards"), shards, "{}");
  const std::string roomy = Path("shards/model-00001-of-00003.safetensors");
  const std::string bytes = ReadTestFile(roomy);
  const int64_t header = static_cast<unsigned char>(bytes[0]);
  ASSERT_EQ(bytes[1], 0);
  WriteTestFile(roomy,
                std::string("\0\1\0\0\0\0\0\0", 8) + bytes.substr(8, header) +
                    std::string(256 - header, ' ') + bytes.substr(8 + header));
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
      const bool reached = TheFaults().calls > at;
      TheFaults().Set(-1, false, absl::StatusCode::kOk);
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

TEST_F(FaultTest, ResumingKeepsWholeFilesAndDistrustsOthers) {
  // A run that crashes when it is about to rename has all files whole.
  const std::string output = Path("out");
  for (int at = 0;; ++at) {
    TheFaults().Set(at, true, absl::StatusCode::kUnavailable);
    EXPECT_FALSE(Convert(output, false).ok());
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
  TheFaults().Set(-1, false, absl::StatusCode::kOk);
  ASSERT_OK(Convert(output, true));
  EXPECT_EQ(ReadTestFolder(output), expected_);
  EXPECT_EQ(std::filesystem::last_write_time(
                output + "/model-00001-of-00003.safetensors"),
            kept);
}

}  // namespace
}  // namespace windlass
