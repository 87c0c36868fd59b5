#include "windlass/io/storage/descriptors.h"

#include <sys/resource.h>

#include <algorithm>

#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

// Beyond this, opening files again costs nothing beside reading them.
constexpr size_t kMostOpen = 1024;

// Half of what the process may have at this moment.
size_t MaxOpen() {
  struct rlimit limit;
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return kMostOpen / 4;
  return std::clamp<rlim_t>(limit.rlim_cur / 2, 1, kMostOpen);
}

}  // namespace

// The files that are open, those first that were looked at longest ago: a clock
// rather than a list of the last uses, so that reading takes no common lock.
// Its own lock is taken before a file's.
class SharedDescriptor::Pool {
 public:
  static Pool& Get() {
    static Pool* const pool = new Pool;
    return *pool;
  }

  // Lets `file` have the handle, unless another thread gave it one meanwhile;
  // returns the one that it has.
  Handle Add(const SharedDescriptor* file, Handle handle) {
    const size_t most = MaxOpen();
    const std::lock_guard<std::mutex> lock(mutex_);
    while (open_.size() >= most) CloseOne();
    const std::lock_guard<std::mutex> file_lock(file->mutex_);
    if (file->handle_ == nullptr) {
      file->handle_ = std::move(handle);
      file->place_ = open_.insert(open_.end(), file);
    }
    return file->handle_;
  }

  void Remove(const SharedDescriptor* file) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (file->handle_ != nullptr) open_.erase(file->place_);
  }

  void CloseAll() {
    const std::lock_guard<std::mutex> lock(mutex_);
    while (!open_.empty()) CloseOne();
  }

 private:
  // Closes the first one that was not used since it was looked at.
  void CloseOne() {
    for (;;) {
      const SharedDescriptor* const file = open_.front();
      const std::lock_guard<std::mutex> file_lock(file->mutex_);
      if (!file->used_) {
        file->handle_ = nullptr;
        open_.pop_front();
        return;
      }
      file->used_ = false;
      open_.splice(open_.end(), open_, open_.begin());
    }
  }

  std::mutex mutex_;
  std::list<const SharedDescriptor*> open_;
};

SharedDescriptor::SharedDescriptor(int fd, Reopen reopen)
    : reopen_(std::move(reopen)) {
  Pool::Get().Add(this, std::make_shared<const FileDescriptor>(fd));
}

SharedDescriptor::~SharedDescriptor() { Pool::Get().Remove(this); }

absl::StatusOr<SharedDescriptor::Handle> SharedDescriptor::Get() const {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (handle_ != nullptr) {
      used_ = true;
      return handle_;
    }
  }
  WINDLASS_ASSIGN_OR_RETURN(const int fd, reopen_());
  return Pool::Get().Add(this, std::make_shared<const FileDescriptor>(fd));
}

void SharedDescriptor::CloseAll() { Pool::Get().CloseAll(); }

}  // namespace windlass
