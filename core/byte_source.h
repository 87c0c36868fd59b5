// Where bytes come from, without saying what holds them.
//
// core/ knows no file; io/ derives its files from this interface so that a
// tensor can say "my bytes lie there, from offset 4096 on" and an engine can
// move them without looking at them.

#ifndef WINDLASS_CORE_BYTE_SOURCE_H_
#define WINDLASS_CORE_BYTE_SOURCE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace windlass {

// Random access to a fixed number of bytes. Thread-safe.
class ByteSource {
 public:
  virtual ~ByteSource() = default;

  // For messages: a file's path, or what else tells the user where it is.
  virtual const std::string& name() const = 0;

  virtual int64_t size() const = 0;

  // Fills `out` with the bytes from `offset` on, all of them: OutOfRange where
  // the source ends before, Unavailable or DataLoss where reading fails.
  virtual absl::Status ReadAt(int64_t offset, absl::Span<char> out) const = 0;
};

// `size` bytes from `begin` on, as ReadAt gives them. For small ranges.
absl::StatusOr<std::string> ReadRange(const ByteSource& source, int64_t begin,
                                      int64_t size);

// A range of a source's bytes.
struct Extent {
  std::shared_ptr<const ByteSource> source;
  int64_t offset = 0;
  int64_t size = 0;
};

// Bytes in memory.
class MemorySource : public ByteSource {
 public:
  explicit MemorySource(std::string bytes, std::string name = "memory")
      : bytes_(std::move(bytes)), name_(std::move(name)) {}

  const std::string& name() const override { return name_; }
  int64_t size() const override { return bytes_.size(); }
  absl::Status ReadAt(int64_t offset, absl::Span<char> out) const override;

 private:
  const std::string bytes_;
  const std::string name_;
};

}  // namespace windlass

#endif  // WINDLASS_CORE_BYTE_SOURCE_H_
