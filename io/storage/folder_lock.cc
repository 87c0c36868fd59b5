#include "windlass/io/storage/folder_lock.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace windlass {
namespace {

// Ends with who holds the lock: the host, the process, and since when.
constexpr char kHolderPrefix[] = ".windlass-lock-by-";
constexpr char kTimeFormat[] = "%E4Y%m%dT%H%M%SZ";

absl::Status Errno(int error, const std::string& path) {
  const absl::Status status = absl::ErrnoToStatus(error, "locking the folder");
  return absl::Status(status.code(),
                      absl::StrCat(path, ": ", status.message()));
}

std::string HostName() {
  char name[256] = {};
  if (::gethostname(name, sizeof(name) - 1) != 0) return "unknown";
  std::string host(name);
  for (char& c : host) {
    if (!absl::ascii_isalnum(c) && c != '.') c = '_';
  }
  return host.substr(0, 100);
}

// A name for a holder's file: two locks of one process have names of their own.
std::string HolderName(int number) {
  return absl::StrCat(
      kHolderPrefix, HostName(), "-", ::getpid(), "-",
      absl::FormatTime(kTimeFormat, absl::Now(), absl::UTCTimeZone()),
      number == 0 ? "" : absl::StrCat("-", number));
}

// "process 4231 on host since 2026-11-25 05:42:29 UTC"
std::string Describe(absl::string_view holder) {
  const std::vector<std::string> parts =
      absl::StrSplit(absl::StripPrefix(holder, kHolderPrefix), '-');
  absl::Time since;
  if (parts.size() < 3 ||
      !absl::ParseTime(kTimeFormat, parts[2], &since, nullptr)) {
    return "another process";
  }
  return absl::StrCat(
      "process ", parts[1], " on ", parts[0], " since ",
      absl::FormatTime("%Y-%m-%d %H:%M:%S UTC", since, absl::UTCTimeZone()));
}

std::vector<std::string> ListHolders(const std::string& directory) {
  std::vector<std::string> holders;
  DIR* const dir = ::opendir(directory.c_str());
  if (dir == nullptr) return holders;
  while (const dirent* entry = ::readdir(dir)) {
    if (absl::StartsWith(entry->d_name, kHolderPrefix)) {
      holders.push_back(entry->d_name);
    }
  }
  ::closedir(dir);
  return holders;
}

absl::Status InUse(const std::string& directory) {
  std::vector<std::string> holders;
  for (const std::string& holder : ListHolders(directory)) {
    holders.push_back(Describe(holder));
  }
  // Where it may not write who it is.
  if (holders.empty()) holders.push_back("another process");
  return absl::UnavailableError(
      absl::StrCat(directory, ": in use by ", absl::StrJoin(holders, ", ")));
}

// Creates an empty file that says who holds the folder; its path, or empty
// where it cannot be had.
std::string SayWho(const std::string& directory) {
  for (int number = 0; number < 1000; ++number) {
    const std::string path = JoinPath(directory, HolderName(number));
    const int fd =
        ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0 && errno == EEXIST) continue;
    if (fd < 0) break;
    ::close(fd);
    return path;
  }
  return "";
}

class LocalFolderLock : public FolderLock {
 public:
  LocalFolderLock(std::string directory, int fd)
      : directory_(std::move(directory)), fd_(fd) {}

  ~LocalFolderLock() override {
    if (!holder_.empty()) ::unlink(holder_.c_str());
    // The last one to go takes the lock file along.
    if (::flock(fd_, LOCK_EX | LOCK_NB) == 0) {
      RemoveDeadHolders();
      ::unlink(JoinPath(directory_, kLockName).c_str());
    }
    ::close(fd_);
  }

  // Says who holds the lock; whoever held it before one who holds it alone is
  // dead.
  void Announce(bool alone) {
    if (alone) RemoveDeadHolders();
    holder_ = SayWho(directory_);
  }

 private:
  void RemoveDeadHolders() {
    for (const std::string& name : ListHolders(directory_)) {
      ::unlink(JoinPath(directory_, name).c_str());
    }
  }

  const std::string directory_;
  const int fd_;
  std::string holder_;
};

// A lock without flock, which some mounts of cluster file systems do not know:
// by the files that say who is there, of which one may stand.
class NamedFolderLock : public FolderLock {
 public:
  explicit NamedFolderLock(std::string holder) : holder_(std::move(holder)) {}
  ~NamedFolderLock() override { ::unlink(holder_.c_str()); }

 private:
  const std::string holder_;
};

// Whether a holder's file is of a process of this host that is no more.
bool IsDead(absl::string_view holder) {
  const std::vector<std::string> parts =
      absl::StrSplit(absl::StripPrefix(holder, kHolderPrefix), '-');
  pid_t process = 0;
  return parts.size() >= 3 && parts[0] == HostName() &&
         absl::SimpleAtoi(parts[1], &process) && process > 0 &&
         ::kill(process, 0) != 0 && errno == ESRCH;
}

// Two that come at once may both be turned away, but never both let in: each
// says that it is there before it looks who else is.
absl::StatusOr<std::unique_ptr<FolderLock>> LockByName(
    const std::string& directory) {
  const std::string mine = SayWho(directory);
  if (mine.empty()) return Errno(errno, directory);
  auto lock = std::make_unique<NamedFolderLock>(mine);
  std::vector<std::string> others;
  for (const std::string& name : ListHolders(directory)) {
    const std::string path = JoinPath(directory, name);
    if (path == mine) continue;
    if (IsDead(name)) {
      ::unlink(path.c_str());
    } else {
      others.push_back(
          absl::StrCat(Describe(name), " (if it is gone, remove ", path, ")"));
    }
  }
  if (others.empty()) return lock;
  return absl::UnavailableError(
      absl::StrCat(directory, ": in use by ", absl::StrJoin(others, ", ")));
}

// Whether flock says that it does not exist here. On macOS ENOTSUP is not
// EOPNOTSUPP.
bool KnowsNoFlock(int error) {
  return error == ENOSYS || error == ENOTSUP || error == EOPNOTSUPP ||
         error == ENOLCK || error == EINVAL;
}

// Whether the file that `fd` has open still has its name: its last holder may
// have removed it meanwhile.
bool HasName(int fd, const std::string& path) {
  struct stat by_fd, by_path;
  return ::fstat(fd, &by_fd) == 0 && ::lstat(path.c_str(), &by_path) == 0 &&
         by_fd.st_ino == by_path.st_ino && by_fd.st_dev == by_path.st_dev;
}

}  // namespace

absl::StatusOr<std::unique_ptr<FolderLock>> LockLocalFolder(
    const std::string& directory, LockMode mode) {
  const std::string path = JoinPath(directory, kLockName);
  int attempts = 200;
  while (true) {
    const int fd =
        ::open(path.c_str(),
               O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0666);
    if (fd < 0 && errno == EINTR) continue;
    if (fd < 0) return Errno(errno, directory);
    const bool alone = mode == LockMode::kExclusive;
    if (::flock(fd, (alone ? LOCK_EX : LOCK_SH) | LOCK_NB) != 0) {
      const int error = errno;
      ::close(fd);
      if (error == EINTR) continue;
      if (KnowsNoFlock(error) && alone) {
        ::unlink(path.c_str());
        return LockByName(directory);
      }
      if (error != EWOULDBLOCK) return Errno(error, directory);
      // Its holder may not have said yet who it is, or be just about to go.
      if (ListHolders(directory).empty() && --attempts > 0) {
        absl::SleepFor(absl::Milliseconds(10));
        continue;
      }
      return InUse(directory);
    }
    if (!HasName(fd, path)) {
      ::close(fd);
      continue;
    }
    auto lock = std::make_unique<LocalFolderLock>(directory, fd);
    lock->Announce(alone);
    return lock;
  }
}

}  // namespace windlass
