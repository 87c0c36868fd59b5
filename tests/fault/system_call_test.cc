// Conversions of local files while the system's calls are interrupted and do
// less than they were asked to, as POSIX lets them; and while they fail.
//
// The calls are replaced by this program's own, which go on to the kernel.

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/io/storage/storage.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/testing/tensors.h"
#include "windlass/tests/fault/conversion.h"
#include "windlass/tests/testing/files.h"

namespace {

enum class Mode { kUndisturbed, kInterrupted, kFailing };

std::atomic<Mode> mode{Mode::kUndisturbed};
std::atomic<int> calls{0};
std::atomic<int> interruptions{0};
std::atomic<int> shortened{0};
std::atomic<int> failing_call{0};
std::atomic<bool> no_flock{false};

// Whether the call is to fail, with errno set. One in three is interrupted and
// one in three does a part of what it should.
bool Disturb(size_t* size) {
  const int call = calls++;
  if (mode == Mode::kInterrupted && call % 3 == 0) {
    ++interruptions;
    errno = EINTR;
    return true;
  }
  if (mode == Mode::kInterrupted && call % 3 == 1 && *size > 1) {
    ++shortened;
    *size /= 2;
  }
  if (mode == Mode::kFailing && call == failing_call) {
    errno = EIO;
    return true;
  }
  return false;
}

}  // namespace

extern "C" {

ssize_t pread(int fd, void* to, size_t size, off_t offset) {
  if (Disturb(&size)) return -1;
  return ::syscall(SYS_pread64, fd, to, size, offset);
}

ssize_t pwrite(int fd, const void* from, size_t size, off_t offset) {
  if (Disturb(&size)) return -1;
  return ::syscall(SYS_pwrite64, fd, from, size, offset);
}

ssize_t copy_file_range(int in, off64_t* from, int out, off64_t* to,
                        size_t size, unsigned flags) {
  if (Disturb(&size)) return -1;
  return ::syscall(SYS_copy_file_range, in, from, out, to, size, flags);
}

int fsync(int fd) {
  size_t size = 0;
  if (Disturb(&size)) return -1;
  return ::syscall(SYS_fsync, fd);
}

int fallocate(int fd, int how, off_t offset, off_t size) {
  size_t whole = 0;
  if (Disturb(&whole)) return -1;
  return ::syscall(SYS_fallocate, fd, how, offset, size);
}

int flock(int fd, int operation) {
  if (!no_flock) return ::syscall(SYS_flock, fd, operation);
  errno = ENOSYS;
  return -1;
}

}  // extern "C"

namespace windlass {
namespace {

using ::testing::HasSubstr;

class SystemCallTest : public ::testing::Test {
 protected:
  SystemCallTest() {
    std::mt19937 random(16);
    std::vector<StateDict> shards(2);
    for (int i = 0; i < 8; ++i) {
      shards[i / 4]
          .Insert(absl::StrCat("t", i),
                  RandomTensor(DType::kBF16, {300 + i, 501}, &random))
          .IgnoreError();
    }
    WriteTestCheckpoint(In(), shards, "{}");
    for (const DigestKind digest : {DigestKind::kNone, DigestKind::kXxh3}) {
      EXPECT_OK(Convert(Expected(digest), digest));
    }
  }
  ~SystemCallTest() override {
    mode = Mode::kUndisturbed;
    std::filesystem::remove_all(folder_);
  }

  std::string In() const { return folder_ + "/in"; }
  std::string Out() const { return folder_ + "/out"; }
  std::string Expected(DigestKind digest) const {
    return absl::StrCat(folder_, "/expected_", DigestKindName(digest));
  }

  // The kernel copies what is not computed, unless digests are asked for.
  absl::Status Convert(const std::string& output, DigestKind digest) {
    TransferOptions options;
    options.digest = digest;
    return RenameAndCast(In(), output, {}, options);
  }

  const std::string folder_ = MakeTestFolder();
};

TEST_F(SystemCallTest, InterruptedAndPartialCallsAreTakenUpAgain) {
  for (const DigestKind digest : {DigestKind::kNone, DigestKind::kXxh3}) {
    interruptions = shortened = 0;
    mode = Mode::kInterrupted;
    const absl::Status status = Convert(Out(), digest);
    mode = Mode::kUndisturbed;
    ASSERT_OK(status);
    EXPECT_EQ(ReadTestFolder(Out()), ReadTestFolder(Expected(digest)));
    EXPECT_GT(interruptions, 10);
    EXPECT_GT(shortened, 10);
    std::filesystem::remove_all(Out());
  }
}

TEST_F(SystemCallTest, AnErrorOfAnyCallNamesAFileAndLeavesNothing) {
  for (const DigestKind digest : {DigestKind::kNone, DigestKind::kXxh3}) {
    const auto expected = ReadTestFolder(Expected(digest));
    int failures = 0;
    for (int call = 0;; ++call) {
      SCOPED_TRACE(call);
      failing_call = call;
      calls = 0;
      mode = Mode::kFailing;
      const absl::Status status = Convert(Out(), digest);
      mode = Mode::kUndisturbed;
      if (calls <= call) break;
      if (!status.ok()) {
        ++failures;
        EXPECT_THAT(status.message(), HasSubstr(folder_));
        EXPECT_THAT(status.message(), HasSubstr("Input/output error"));
      }
      ExpectNothingDamaged(Out(), expected);
      std::filesystem::remove_all(Out());
    }
    EXPECT_GT(failures, 20);
  }
}

// Some mounts of cluster file systems know no flock.
TEST_F(SystemCallTest, WithoutFlockAFolderIsStillOnesOwn) {
  no_flock = true;
  const absl::Status first = Convert(Out(), DigestKind::kNone);
  Storage& storage = *ResolveLocation("/")->storage;
  auto lock = storage.Lock(Out(), LockMode::kExclusive);
  const auto second = storage.Lock(Out(), LockMode::kExclusive);
  const auto files = ReadTestFolder(Out());
  if (lock.ok()) lock->reset();
  WriteTestFile(Out() + "/.windlass-lock-by-other.host-1-20260101T000000Z", "");
  const auto third = storage.Lock(Out(), LockMode::kExclusive);
  no_flock = false;
  ASSERT_OK(first);
  EXPECT_OK(lock);
  EXPECT_THAT(second,
              StatusIs(absl::StatusCode::kUnavailable,
                       HasSubstr(absl::StrCat("process ", ::getpid()))));
  EXPECT_THAT(third, StatusIs(absl::StatusCode::kUnavailable,
                              HasSubstr("if it is gone, remove")));
  // Besides what a conversion with flock leaves, who is there.
  EXPECT_EQ(files.size(),
            ReadTestFolder(Expected(DigestKind::kNone)).size() + 1);
}

}  // namespace
}  // namespace windlass
