// The log of an unfinished conversion, in its output folder.
//
// A folder that holds one is not complete. The first line names the plan, each
// line after it a temporary file that is whole; so a killed conversion can go
// on where it stopped, and nothing is believed by its name alone.

#ifndef WINDLASS_IO_TRANSFER_PROGRESS_LOG_H_
#define WINDLASS_IO_TRANSFER_PROGRESS_LOG_H_

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "windlass/io/storage/storage.h"
#include "windlass/io/transfer/plan.h"
#include "windlass/io/transfer/transfer.h"

namespace windlass {

inline constexpr char kProgressLogName[] = ".windlass-progress";

// Identifies a plan: the names, headers and sizes of its files, where each
// tensor comes from (a file's size and time of change among it), and `tag`,
// which says what the plan itself does not show (adapter, options, version).
std::string PlanHash(const TransferPlan& plan, absl::string_view tag);

// What a log says.
struct LoggedProgress {
  std::string plan_hash;
  bool overwrite = false;  // the run had permission to replace a checkpoint
  FileRecords files;
};

// NotFound where there is no log. A last line that is cut short is passed over.
absl::StatusOr<LoggedProgress> ReadProgressLog(const Location& directory);

// Writes a log. Thread-safe.
class ProgressLog {
 public:
  // Replaces what is there. With `sync`, every line reaches the device.
  static absl::StatusOr<std::unique_ptr<ProgressLog>> Create(
      const Location& directory, const LoggedProgress& start, bool sync);

  absl::Status Append(const std::string& name, const FileRecord& record);

 private:
  ProgressLog(std::unique_ptr<WritableFile> file, bool sync)
      : file_(std::move(file)), sync_(sync) {}

  absl::Status Write(const std::string& line);

  std::mutex mutex_;
  const std::unique_ptr<WritableFile> file_;
  const bool sync_;
  int64_t size_ = 0;
};

}  // namespace windlass

#endif  // WINDLASS_IO_TRANSFER_PROGRESS_LOG_H_
