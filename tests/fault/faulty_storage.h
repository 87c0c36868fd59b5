// "fault://path": local files, whose calls can be made to fail.

#ifndef WINDLASS_TESTS_FAULT_FAULTY_STORAGE_H_
#define WINDLASS_TESTS_FAULT_FAULTY_STORAGE_H_

#include <atomic>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace windlass {

// Counts the calls that change something or read; the call number `at` fails,
// and with `crash` all calls after it, as if the process had died there.
struct Faults {
  std::atomic<int> calls{0};
  int at = -1;
  bool crash = false;
  absl::StatusCode code = absl::StatusCode::kDataLoss;

  void Set(int new_at, bool new_crash, absl::StatusCode new_code);
  void Clear() { Set(-1, false, absl::StatusCode::kOk); }
  bool reached() const { return calls > at; }

  absl::Status Call(absl::string_view path);
};

// Those of every "fault://" file.
Faults& TheFaults();

}  // namespace windlass

#endif  // WINDLASS_TESTS_FAULT_FAULTY_STORAGE_H_
