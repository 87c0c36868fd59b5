#include "windlass/io/transfer/transfer.h"

#include <algorithm>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

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
  // Whose digest is taken; null for none.
  const PlannedTensor* tensor = nullptr;
};

// The segments of a file. Without digests, neighbours that are neighbours in
// the source too are one: a renamed shard is a header and a single copy.
std::vector<Segment> Segments(const PlannedFile& file, DigestKind digest) {
  const bool per_tensor = digest != DigestKind::kNone && !file.header.empty();
  std::vector<Segment> segments;
  if (!file.header.empty()) {
    const int64_t size = file.header.size();
    Extent header{std::make_shared<MemorySource>(file.header, file.name), 0,
                  size};
    segments.push_back({0, size, std::move(header), nullptr, nullptr});
  }
  for (const PlannedTensor& planned : file.tensors) {
    const int64_t size = planned.tensor.bytes();
    const PlannedTensor* tensor = per_tensor ? &planned : nullptr;
    if (size == 0 && !per_tensor) continue;
    const TensorSource& source = *planned.tensor.source();
    std::optional<Extent> extent = source.Verbatim();
    if (!extent.has_value()) {
      segments.push_back({planned.offset, size, std::nullopt, &source, tensor});
      continue;
    }
    Segment* last = segments.empty() ? nullptr : &segments.back();
    if (!per_tensor && last != nullptr && last->verbatim.has_value() &&
        last->verbatim->source == extent->source &&
        last->verbatim->offset + last->size == extent->offset &&
        last->offset + last->size == planned.offset) {
      last->size += size;
      continue;
    }
    segments.push_back(
        {planned.offset, size, std::move(extent), nullptr, tensor});
  }
  return segments;
}

// Part of a segment, for one thread to write.
struct Item {
  const Segment* segment = nullptr;
  int64_t begin = 0;
  int64_t end = 0;
};

// Cuts segments into items. A tensor whose digest is taken is one item, as a
// digest needs its bytes in order.
class ItemCursor {
 public:
  explicit ItemCursor(const std::vector<Segment>* segments)
      : segments_(segments) {}

  bool exhausted() const { return segment_ == segments_->size(); }

  Item Next() {
    const Segment& segment = (*segments_)[segment_];
    Item item{&segment, position_, segment.size};
    if (segment.tensor == nullptr) {
      const int64_t end = segment.computed != nullptr
                              ? segment.computed->PieceEnd(item.begin)
                              : item.begin + kItemBytes;
      item.end = std::min(end, segment.size);
    }
    position_ = item.end;
    if (item.end == segment.size) {
      ++segment_;
      position_ = 0;
    }
    return item;
  }

 private:
  const std::vector<Segment>* segments_;
  size_t segment_ = 0;
  int64_t position_ = 0;
};

// What is known of an item's bytes once they are written.
struct ItemDigest {
  std::string checksum;  // XXH3; empty where they did not pass by
  std::string digest;    // of the tensor, when asked for
};

// A file's checksum is that of its items' checksums.
std::string CombineChecksums(const std::vector<ItemDigest>& items) {
  const auto digest = Digest::Create(DigestKind::kXxh3);
  for (const ItemDigest& item : items) {
    if (item.checksum.empty()) return "";
    digest->Update(
        absl::MakeConstSpan(item.checksum.data(), item.checksum.size()));
  }
  return digest->Finish();
}

// An output file while it is being written.
struct OpenFile {
  OpenFile(const PlannedFile& planned, DigestKind digest)
      : plan(planned), segments(Segments(planned, digest)), cursor(&segments) {}

  const PlannedFile& plan;
  const std::vector<Segment> segments;
  ItemCursor cursor;
  std::unique_ptr<WritableFile> file;
  std::vector<ItemDigest> digests;  // an entry for each item handed out
  int unfinished = 0;               // items handed out and not done
};

struct Work {
  std::shared_ptr<OpenFile> file;
  Item item;
  size_t index = 0;
};

// Hands out a plan's work, file after file, and closes each file when its last
// item is done. Thread-safe.
class WorkQueue {
 public:
  using OnDone = std::function<absl::Status(const std::string&)>;

  WorkQueue(const TransferPlan& plan, const Location& directory,
            const TransferOptions& options, FileRecords* done,
            const OnDone& on_done)
      : plan_(plan),
        directory_(directory),
        options_(options),
        done_(done),
        on_done_(on_done) {}

  // The next piece of work; one without a file when nothing is left.
  absl::StatusOr<Work> Next() {
    const std::lock_guard<std::mutex> lock(mutex_);
    while (current_ == nullptr || current_->cursor.exhausted()) {
      if (next_file_ == plan_.files.size()) return Work{};
      const PlannedFile& planned = plan_.files[next_file_++];
      if (done_->count(planned.name) > 0) {
        CountBytes(planned.size);
        continue;
      }
      WINDLASS_RETURN_IF_ERROR(Open(planned));
    }
    Work work{current_, current_->cursor.Next(), current_->digests.size()};
    current_->digests.emplace_back();
    ++current_->unfinished;
    return work;
  }

  // Ends what Next gave; the last work on a file finishes the file.
  absl::Status Done(const Work& work, ItemDigest digest) {
    CountBytes(work.item.end - work.item.begin);
    OpenFile& file = *work.file;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      file.digests[work.index] = std::move(digest);
      if (--file.unfinished > 0 || !file.cursor.exhausted()) {
        return absl::OkStatus();
      }
    }
    WINDLASS_RETURN_IF_ERROR(Close(&file));
    const std::lock_guard<std::mutex> lock(mutex_);
    return Record(file);
  }

 private:
  absl::Status Open(const PlannedFile& planned) {
    current_ = std::make_shared<OpenFile>(planned, options_.digest);
    WINDLASS_ASSIGN_OR_RETURN(
        current_->file, directory_.storage->Create(JoinPath(
                            directory_.path, TemporaryName(planned.name))));
    WINDLASS_RETURN_IF_ERROR(current_->file->Allocate(planned.size));
    if (!current_->cursor.exhausted()) return absl::OkStatus();
    WINDLASS_RETURN_IF_ERROR(Close(current_.get()));
    return Record(*current_);
  }

  absl::Status Close(OpenFile* file) {
    if (options_.sync) WINDLASS_RETURN_IF_ERROR(file->file->Sync());
    return file->file->Close();
  }

  absl::Status Record(const OpenFile& file) {
    FileRecord& record = (*done_)[file.plan.name];
    record.size = file.plan.size;
    record.checksum = CombineChecksums(file.digests);
    // A tensor with a digest is a segment, and a segment one item.
    for (size_t i = 0; i < file.segments.size(); ++i) {
      if (file.segments[i].tensor == nullptr) continue;
      // Items of segments before this one: headers may take several.
      const size_t item = file.digests.size() - (file.segments.size() - i);
      record.digests.emplace_back(file.segments[i].tensor->name,
                                  file.digests[item].digest);
    }
    return on_done_(file.plan.name);
  }

  void CountBytes(int64_t bytes) {
    if (options_.bytes_done != nullptr) {
      options_.bytes_done->fetch_add(bytes, std::memory_order_relaxed);
    }
  }

  const TransferPlan& plan_;
  const Location& directory_;
  const TransferOptions& options_;
  FileRecords* const done_;
  const OnDone& on_done_;
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

// Working memory that grows to what was asked for.
class Buffer {
 public:
  absl::Span<char> Get(int64_t size) {
    if (size > capacity_) {
      bytes_.reset();
      bytes_.reset(new char[size]);
      capacity_ = size;
    }
    return absl::MakeSpan(bytes_.get(), size);
  }

 private:
  std::unique_ptr<char[]> bytes_;
  int64_t capacity_ = 0;
};

// One thread's work.
class Worker {
 public:
  Worker(WorkQueue* queue, const TransferOptions& options, FirstError* error)
      : queue_(queue), options_(options), error_(error) {}

  void Run() {
    while (!finished_ && !error_->failed()) {
      absl::Status status = Step();
      if (!status.ok()) return error_->Set(std::move(status));
    }
  }

 private:
  absl::Status Step() {
    WINDLASS_RETURN_IF_ERROR(CheckCancelled());
    WINDLASS_ASSIGN_OR_RETURN(const Work work, queue_->Next());
    finished_ = work.file == nullptr;
    if (finished_) return absl::OkStatus();
    WINDLASS_ASSIGN_OR_RETURN(ItemDigest digest, Move(work));
    return queue_->Done(work, std::move(digest));
  }

  absl::Status CheckCancelled() const {
    if (options_.cancelled == nullptr || !options_.cancelled->load()) {
      return absl::OkStatus();
    }
    return absl::CancelledError("interrupted");
  }

  absl::StatusOr<ItemDigest> Move(const Work& work) {
    const Item& item = work.item;
    const Segment& segment = *item.segment;
    WritableFile& file = *work.file->file;
    const int64_t to = segment.offset + item.begin;
    const int64_t size = item.end - item.begin;
    ItemDigest result;
    if (segment.verbatim.has_value() && segment.tensor == nullptr) {
      WINDLASS_ASSIGN_OR_RETURN(
          const bool cloned,
          file.CloneFrom(*segment.verbatim->source,
                         segment.verbatim->offset + item.begin, size, to));
      if (cloned) return result;
    }
    const auto checksum = Digest::Create(DigestKind::kXxh3);
    const auto digest =
        segment.tensor != nullptr ? Digest::Create(options_.digest) : nullptr;
    for (int64_t at = item.begin; at < item.end;) {
      WINDLASS_RETURN_IF_ERROR(CheckCancelled());
      WINDLASS_ASSIGN_OR_RETURN(const absl::Span<const char> piece,
                                ReadPiece(segment, at, item.end));
      checksum->Update(piece);
      if (digest != nullptr) digest->Update(piece);
      WINDLASS_RETURN_IF_ERROR(file.WriteAt(segment.offset + at, piece));
      at += piece.size();
    }
    if (options_.sync) file.StartSync(to, size);
    result.checksum = checksum->Finish();
    if (digest != nullptr) result.digest = digest->Finish();
    return result;
  }

  absl::StatusOr<absl::Span<const char>> ReadPiece(const Segment& segment,
                                                   int64_t begin, int64_t end) {
    if (segment.verbatim.has_value()) {
      const auto piece = buffer_.Get(std::min(end - begin, kBufferBytes));
      WINDLASS_RETURN_IF_ERROR(segment.verbatim->source->ReadAt(
          segment.verbatim->offset + begin, piece));
      return piece;
    }
    const int64_t size =
        std::min(segment.computed->PieceEnd(begin), end) - begin;
    const auto piece = buffer_.Get(size);
    WINDLASS_RETURN_IF_ERROR(
        segment.computed->Read(Region{begin, size}, piece.data(), size));
    return piece;
  }

  WorkQueue* const queue_;
  const TransferOptions& options_;
  FirstError* const error_;
  bool finished_ = false;
  Buffer buffer_;
};

}  // namespace

std::string TemporaryName(const std::string& name) {
  return absl::StrCat(".", name, kPartialSuffix);
}

absl::Status WriteTemporaries(
    const TransferPlan& plan, const Location& directory,
    const TransferOptions& options, FileRecords* done,
    const std::function<absl::Status(const std::string&)>& on_done) {
  FirstError error;
  {
    WorkQueue queue(plan, directory, options, done, on_done);
    std::vector<std::thread> threads;
    for (int i = 1; i < options.threads; ++i) {
      threads.emplace_back([&] { Worker(&queue, options, &error).Run(); });
    }
    Worker(&queue, options, &error).Run();
    for (std::thread& thread : threads) thread.join();
  }
  absl::Status status = error.Take();
  if (status.ok()) return status;
  for (const PlannedFile& file : plan.files) {
    if (done->count(file.name) > 0) continue;
    directory.storage
        ->Remove(JoinPath(directory.path, TemporaryName(file.name)))
        .IgnoreError();
  }
  return status;
}

absl::StatusOr<std::string> ReadChecksum(const PlannedFile& planned,
                                         const ByteSource& file,
                                         DigestKind digest) {
  const std::vector<Segment> segments = Segments(planned, digest);
  std::vector<ItemDigest> items;
  Buffer buffer;
  for (ItemCursor cursor(&segments); !cursor.exhausted();) {
    const Item item = cursor.Next();
    const auto checksum = Digest::Create(DigestKind::kXxh3);
    for (int64_t at = item.begin; at < item.end;) {
      const auto piece = buffer.Get(std::min(item.end - at, kBufferBytes));
      WINDLASS_RETURN_IF_ERROR(file.ReadAt(item.segment->offset + at, piece));
      checksum->Update(piece);
      at += piece.size();
    }
    items.push_back({checksum->Finish(), ""});
  }
  return CombineChecksums(items);
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
  Storage& storage = *directory.storage;
  for (const PlannedFile& file : plan.files) {
    const std::string temporary =
        JoinPath(directory.path, TemporaryName(file.name));
    // An earlier run that was killed may have come this far.
    WINDLASS_ASSIGN_OR_RETURN(const Storage::Kind kind,
                              storage.GetKind(temporary));
    if (kind == Storage::Kind::kMissing) continue;
    WINDLASS_RETURN_IF_ERROR(
        storage.Rename(temporary, JoinPath(directory.path, file.name)));
  }
  for (const ClosingFile& file : plan.closing) {
    WINDLASS_RETURN_IF_ERROR(WriteFile(storage,
                                       JoinPath(directory.path, file.name),
                                       file.contents, options.sync));
    if (options.bytes_done != nullptr) {
      options.bytes_done->fetch_add(file.contents.size());
    }
  }
  if (!options.sync) return absl::OkStatus();
  return storage.SyncDirectory(directory.path);
}

}  // namespace windlass
