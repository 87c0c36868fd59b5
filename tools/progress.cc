#include "windlass/tools/progress.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"

namespace windlass {

std::string FormatBytes(int64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB", "PB"};
  double value = bytes;
  int unit = 0;
  while (value >= 1000 && unit < 5) {
    value /= 1000;
    ++unit;
  }
  if (unit == 0) return absl::StrFormat("%d B", bytes);
  return absl::StrFormat("%.2f %s", value, kUnits[unit]);
}

Progress::Progress(const std::string& kind, int64_t total, absl::Duration delay)
    : bar_(kind == "bar" || (kind == "auto" && ::isatty(STDERR_FILENO))),
      total_(total),
      start_(absl::Now()),
      delay_(delay) {
  if (!bar_ && kind != "plain") return;
  const absl::Duration interval =
      bar_ ? absl::Milliseconds(200) : absl::Seconds(5);
  try {
    thread_ = std::thread([this, interval] { Run(interval); });
  } catch (const std::exception&) {
    // Nobody needs to see it.
  }
}

void Progress::Stop() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopped_ = true;
  }
  stop_.notify_all();
  thread_.join();
  if (absl::Now() - start_ >= delay_) Print(/*last=*/true);
}

void Progress::Run(absl::Duration interval) {
  std::unique_lock<std::mutex> lock(mutex_);
  while (!stop_.wait_for(lock, absl::ToChronoMilliseconds(interval),
                         [this] { return stopped_; })) {
    if (absl::Now() - start_ >= delay_) Print(/*last=*/false);
  }
}

void Progress::Print(bool last) {
  const int64_t done = done_.load(std::memory_order_relaxed);
  const double seconds = absl::ToDoubleSeconds(absl::Now() - start_);
  const double rate = seconds > 0 ? done / seconds : 0;
  std::string line = absl::StrFormat(
      "%3d%%  %s of %s  %.2f GB/s",
      total_ > 0 ? static_cast<int>(100.0 * done / total_) : 100,
      FormatBytes(done), FormatBytes(total_), rate / 1e9);
  if (!last && rate > 0) {
    absl::StrAppendFormat(&line, "  ETA %.0f s", (total_ - done) / rate);
  }
  if (!bar_) {
    std::fprintf(stderr, "%s\n", line.c_str());
    return;
  }
  constexpr int kWidth = 24;
  const int filled =
      total_ > 0 ? static_cast<int>(kWidth * done / total_) : kWidth;
  std::fprintf(stderr, "\r[%s%s] %s\033[K%s", std::string(filled, '#').c_str(),
               std::string(kWidth - filled, ' ').c_str(), line.c_str(),
               last ? "\n" : "");
  std::fflush(stderr);
}

}  // namespace windlass
