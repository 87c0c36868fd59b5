#include "windlass/io/transfer/transfer.h"

#include <algorithm>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

// Verbatim bytes are handed out in items of this size, and copied through a
// buffer that fits a core's cache.
constexpr int64_t kItemBytes = 8 << 20;
constexpr int64_t kBufferBytes = 512 << 10;

// Bytes of an output file that come from one place: a range of a source, or a
// computed tensor.
struct Segment {
  int64_t offset = 0;  // in the output file
  int64_t size = 0;
  std::optional<Extent> verbatim;
  const TensorSource* computed = nullptr;
};

// The segments of a file, neighbours that are neighbours in the source too
// made one: a renamed shard is a header and a single copy.
std::vector<Segment> Segments(const PlannedFile& file) {
  std::vector<Segment> segments;
  if (!file.header.empty()) {
    const int64_t size = file.header.size();
    Extent header{std::make_shared<MemorySource>(file.header, file.name), 0,
                  size};
    segments.push_back({0, size, std::move(header), nullptr});
  }
  for (const PlannedTensor& planned : file.tensors) {
    const int64_t size = planned.tensor.bytes();
    if (size == 0) continue;
    const TensorSource& source = *planned.tensor.source();
    std::optional<Extent> extent = source.Verbatim();
    if (!extent.has_value()) {
      segments.push_back({planned.offset, size, std::nullopt, &source});
      continue;
    }
    Segment* last = segments.empty() ? nullptr : &segments.back();
    if (last != nullptr && last->verbatim.has_value() &&
        last->verbatim->source == extent->source &&
        last->verbatim->offset + last->size == extent->offset &&
        last->offset + last->size == planned.offset) {
      last->size += size;
      continue;
    }
    segments.push_back({planned.offset, size, std::move(extent), nullptr});
  }
  return segments;
}

// An output file while it is being written.
struct OpenFile {
  std::unique_ptr<WritableFile> file;
  std::vector<Segment> segments;
  size_t segment = 0;    // the next to hand out
  int64_t position = 0;  // in it
  int unfinished = 0;    // items handed out and not done

  bool exhausted() const { return segment == segments.size(); }
};

// Part of a segment, for one thread to write.
struct Item {
  std::shared_ptr<OpenFile> file;
  const Segment* segment = nullptr;
  int64_t begin = 0;
  int64_t end = 0;
};

// Hands out a plan's work, file after file, and closes each file when its last
// item is done. Thread-safe.
class WorkQueue {
 public:
  WorkQueue(const TransferPlan& plan, const Location& directory, bool sync)
      : plan_(plan), directory_(directory), sync_(sync) {}

  // The next item; one without a file when nothing is left.
  absl::StatusOr<Item> Next() {
    const std::lock_guard<std::mutex> lock(mutex_);
    while (current_ == nullptr || current_->exhausted()) {
      if (next_file_ == plan_.files.size()) return Item{};
      WINDLASS_RETURN_IF_ERROR(Open(plan_.files[next_file_++]));
    }
    return TakeItem();
  }

  // Ends an item that Next gave; the last of a file finishes the file.
  absl::Status Done(const Item& item) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (--item.file->unfinished > 0 || !item.file->exhausted()) {
        return absl::OkStatus();
      }
    }
    return Finish(*item.file);
  }

 private:
  absl::Status Open(const PlannedFile& planned) {
    current_ = std::make_shared<OpenFile>();
    WINDLASS_ASSIGN_OR_RETURN(
        current_->file, directory_.storage->Create(JoinPath(
                            directory_.path, TemporaryName(planned.name))));
    WINDLASS_RETURN_IF_ERROR(current_->file->Allocate(planned.size));
    current_->segments = Segments(planned);
    if (current_->segments.empty()) return Finish(*current_);
    return absl::OkStatus();
  }

  Item TakeItem() {
    const Segment& segment = current_->segments[current_->segment];
    Item item{current_, &segment, current_->position, segment.size};
    item.end = std::min(item.end, segment.computed != nullptr
                                      ? segment.computed->PieceEnd(item.begin)
                                      : item.begin + kItemBytes);
    current_->position = item.end;
    ++current_->unfinished;
    if (item.end == segment.size) {
      ++current_->segment;
      current_->position = 0;
    }
    return item;
  }

  absl::Status Finish(OpenFile& file) {
    if (sync_) WINDLASS_RETURN_IF_ERROR(file.file->Sync());
    return file.file->Close();
  }

  const TransferPlan& plan_;
  const Location& directory_;
  const bool sync_;
  std::mutex mutex_;
  size_t next_file_ = 0;
  std::shared_ptr<OpenFile> current_;
};

// The first error of several threads.
class FirstError {
 public:
  void Set(absl::Status status) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (status_.ok()) status_ = std::move(status);
    failed_.store(true, std::memory_order_relaxed);
  }
  bool failed() const { return failed_.load(std::memory_order_relaxed); }
  absl::Status Take() { return std::move(status_); }

 private:
  std::mutex mutex_;
  std::atomic<bool> failed_{false};
  absl::Status status_;
};

// One thread's work and working memory.
class Worker {
 public:
  Worker(WorkQueue* queue, const TransferOptions& options, FirstError* error)
      : queue_(queue), options_(options), error_(error) {}

  void Run() {
    while (!error_->failed()) {
      absl::Status status = Step();
      if (!status.ok()) return error_->Set(std::move(status));
      if (finished_) return;
    }
  }

 private:
  absl::Status Step() {
    if (options_.cancelled != nullptr && options_.cancelled->load()) {
      return absl::CancelledError("interrupted");
    }
    WINDLASS_ASSIGN_OR_RETURN(const Item item, queue_->Next());
    finished_ = item.file == nullptr;
    if (finished_) return absl::OkStatus();
    WINDLASS_RETURN_IF_ERROR(Move(item));
    if (options_.bytes_done != nullptr) {
      options_.bytes_done->fetch_add(item.end - item.begin,
                                     std::memory_order_relaxed);
    }
    return queue_->Done(item);
  }

  absl::Status Move(const Item& item) {
    WritableFile& file = *item.file->file;
    const int64_t size = item.end - item.begin;
    const int64_t to = item.segment->offset + item.begin;
    if (item.segment->verbatim.has_value()) {
      const Extent& extent = *item.segment->verbatim;
      return file.CopyFrom(*extent.source, extent.offset + item.begin, size, to,
                           Buffer(kBufferBytes));
    }
    const absl::Span<char> piece = Buffer(size);
    WINDLASS_RETURN_IF_ERROR(item.segment->computed->Read(
        Region{item.begin, size}, piece.data(), size));
    return file.WriteAt(to, piece);
  }

  absl::Span<char> Buffer(int64_t size) {
    if (size > capacity_) {
      buffer_.reset();
      buffer_.reset(new char[size]);
      capacity_ = size;
    }
    return absl::MakeSpan(buffer_.get(), size);
  }

  WorkQueue* const queue_;
  const TransferOptions& options_;
  FirstError* const error_;
  bool finished_ = false;
  std::unique_ptr<char[]> buffer_;
  int64_t capacity_ = 0;
};

}  // namespace

std::string TemporaryName(const std::string& name) {
  return absl::StrCat(".", name, kPartialSuffix);
}

absl::Status WriteTemporaries(const TransferPlan& plan,
                              const Location& directory,
                              const TransferOptions& options) {
  WorkQueue queue(plan, directory, options.sync);
  FirstError error;
  std::vector<std::thread> threads;
  for (int i = 1; i < options.threads; ++i) {
    threads.emplace_back([&] { Worker(&queue, options, &error).Run(); });
  }
  Worker(&queue, options, &error).Run();
  for (std::thread& thread : threads) thread.join();
  absl::Status status = error.Take();
  if (!status.ok()) RemoveTemporaries(plan, directory);
  return status;
}

void RemoveTemporaries(const TransferPlan& plan, const Location& directory) {
  for (const PlannedFile& file : plan.files) {
    directory.storage
        ->Remove(JoinPath(directory.path, TemporaryName(file.name)))
        .IgnoreError();
  }
}

absl::Status CommitTemporaries(const TransferPlan& plan,
                               const Location& directory,
                               const TransferOptions& options) {
  for (const PlannedFile& file : plan.files) {
    WINDLASS_RETURN_IF_ERROR(directory.storage->Rename(
        JoinPath(directory.path, TemporaryName(file.name)),
        JoinPath(directory.path, file.name)));
  }
  for (const ClosingFile& file : plan.closing) {
    WINDLASS_RETURN_IF_ERROR(WriteFile(*directory.storage,
                                       JoinPath(directory.path, file.name),
                                       file.contents, options.sync));
    if (options.bytes_done != nullptr) {
      options.bytes_done->fetch_add(file.contents.size());
    }
  }
  if (!options.sync) return absl::OkStatus();
  return directory.storage->SyncDirectory(directory.path);
}

}  // namespace windlass
