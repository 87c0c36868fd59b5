// Tells a person how far a conversion is.

#ifndef WINDLASS_TOOLS_PROGRESS_H_
#define WINDLASS_TOOLS_PROGRESS_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>

#include "absl/time/time.h"

namespace windlass {

// "3.21 GB"
std::string FormatBytes(int64_t bytes);

// Prints on stderr, from construction to Stop, what part of `total` bytes is
// done: on one line that is redrawn ("bar"), on a line every few seconds
// ("plain"), or not at all ("none"). "auto" is a bar on a terminal. Work that
// ends before `delay` has passed is not spoken of.
class Progress {
 public:
  Progress(const std::string& kind, int64_t total,
           absl::Duration delay = absl::ZeroDuration());
  ~Progress() { Stop(); }

  std::atomic<int64_t>* bytes_done() { return &done_; }
  void Stop();

 private:
  void Run(absl::Duration interval);
  void Print(bool last);

  const bool bar_;
  const int64_t total_;
  const absl::Time start_;
  const absl::Duration delay_;
  std::atomic<int64_t> done_{0};
  std::mutex mutex_;
  std::condition_variable stop_;
  bool stopped_ = false;
  std::thread thread_;
};

}  // namespace windlass

#endif  // WINDLASS_TOOLS_PROGRESS_H_
