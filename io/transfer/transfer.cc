#include "windlass/io/transfer/transfer.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <variant>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "windlass/core/status_macros.h"
#include "windlass/core/without_exceptions.h"
#include "windlass/io/parallel.h"
#include "windlass/io/transfer/crc32.h"

namespace windlass {
namespace {

// Verbatim bytes are handed out in items of this size, and copied through a
// buffer that fits a core's cache.
constexpr int64_t kItemBytes = 8 << 20;
constexpr int64_t kBufferBytes = 256 << 10;

// Bytes of an output file that come from one place: a range of a source, or a
// computed tensor.
struct Segment {
  int64_t offset = 0;  // in the output file
  int64_t size = 0;
  std::optional<Extent> verbatim;
  const TensorSource* computed = nullptr;
  const std::string* computed_name = nullptr;
  // Whose digest is taken; null for none.
  const PlannedTensor* tensor = nullptr;
  // Which one's checksum is taken, by its number in the file; -1 for none.
  int checksum = -1;

  // Whether somebody must see the bytes pass.
  bool is_watched() const { return tensor != nullptr || checksum >= 0; }
};

// What is taken of bytes as they pass.
struct Taken {
  std::string digest;
  uint32_t crc = 0;
};

class Watcher {
 public:
  static absl::StatusOr<Watcher> Create(const Segment& segment,
                                        const TransferOptions& options) {
    Watcher watcher;
    watcher.takes_crc_ = segment.checksum >= 0;
    if (segment.tensor != nullptr) {
      WINDLASS_ASSIGN_OR_RETURN(watcher.digest_,
                                Digest::Create(options.digest));
    }
    return watcher;
  }

  void See(absl::Span<const char> bytes) {
    if (digest_ != nullptr) digest_->Update(bytes);
    if (takes_crc_) {
      crc_ = ExtendCrc32(crc_, absl::string_view(bytes.data(), bytes.size()));
    }
  }

  Taken Take() {
    return {digest_ != nullptr ? digest_->Finish() : std::string(), crc_};
  }

 private:
  std::unique_ptr<Digest> digest_;
  bool takes_crc_ = false;
  uint32_t crc_ = 0;
};

// The checksums of a file's tensors, as their parts become known in any order.
class Checksums {
 public:
  explicit Checksums(const PlannedFile& file) : tensors_(file.tensors) {}

  void Add(int tensor, int64_t begin, int64_t size, uint32_t crc) {
    parts_.push_back({tensor, begin, size, crc});
  }

  std::vector<uint32_t> Join() {
    std::sort(parts_.begin(), parts_.end(), [](const Part& a, const Part& b) {
      return std::tie(a.tensor, a.begin) < std::tie(b.tensor, b.begin);
    });
    std::vector<uint32_t> joined(tensors_, 0);
    for (const Part& part : parts_) {
      joined[part.tensor] = JoinCrc32(joined[part.tensor], part.crc, part.size);
    }
    return joined;
  }

 private:
  struct Part {
    int tensor;
    int64_t begin;
    int64_t size;
    uint32_t crc;
  };

  const int tensors_;
  std::vector<Part> parts_;
};

bool HasLateBytes(const PlannedFile& file) {
  return absl::c_any_of(
      file.pieces, [](const Piece& piece) { return piece.late() != nullptr; });
}

// Adds a segment. Where nobody watches, neighbours that are neighbours in the
// source too are one: a renamed shard is a header and a single copy.
void AddSegment(Segment segment, std::vector<Segment>* segments) {
  Segment* const last = segments->empty() ? nullptr : &segments->back();
  if (last != nullptr && !last->is_watched() && !segment.is_watched() &&
      last->verbatim.has_value() && segment.verbatim.has_value() &&
      last->verbatim->source == segment.verbatim->source &&
      last->verbatim->offset + last->size == segment.verbatim->offset &&
      last->offset + last->size == segment.offset) {
    last->size += segment.size;
  } else {
    segments->push_back(std::move(segment));
  }
}

// Runs shorter than this are cheaper to read than to copy one by one.
constexpr int64_t kLeastRun = 64 << 10;

// A tensor that nobody watches and that lies verbatim in several places: a
// segment each. False for all others.
bool AddRuns(const Segment& whole, const TensorSource& source,
             std::vector<Segment>* segments) {
  if (whole.is_watched()) return false;
  const std::vector<Extent> runs = source.VerbatimRuns();
  if (runs.empty() ||
      whole.size / static_cast<int64_t>(runs.size()) < kLeastRun) {
    return false;
  }
  int64_t offset = whole.offset;
  for (const Extent& run : runs) {
    Segment segment;
    segment.offset = offset;
    segment.size = run.size;
    segment.verbatim = run;
    offset += run.size;
    AddSegment(std::move(segment), segments);
  }
  return true;
}

// The segments of a file, but for late bytes.
std::vector<Segment> Segments(const PlannedFile& file, DigestKind digest) {
  const bool takes_checksums = HasLateBytes(file);
  int tensors = 0;
  std::vector<Segment> segments;
  for (const Piece& piece : file.pieces) {
    Segment segment;
    segment.offset = piece.offset;
    segment.size = piece.size();
    if (const PlannedTensor* planned = piece.tensor()) {
      if (takes_checksums) segment.checksum = tensors;
      ++tensors;
      if (digest != DigestKind::kNone && !planned->name.empty()) {
        segment.tensor = planned;
      }
      const TensorSource& source = *planned->tensor.source();
      segment.verbatim = source.Verbatim();
      if (!segment.verbatim.has_value()) {
        if (AddRuns(segment, source, &segments)) continue;
        segment.computed = &source;
        segment.computed_name = &planned->name;
      }
    } else if (const auto* bytes = std::get_if<std::string>(&piece.content)) {
      segment.verbatim = Extent{
          std::make_shared<MemorySource>(*bytes, file.name), 0, segment.size};
    } else {
      continue;
    }
    if (segment.size == 0 && segment.tensor == nullptr) continue;
    AddSegment(std::move(segment), &segments);
  }
  // So that an empty file is somebody's work, too.
  if (segments.empty()) {
    Segment nothing;
    nothing.verbatim = Extent{std::make_shared<MemorySource>(""), 0, 0};
    segments.push_back(std::move(nothing));
  }
  return segments;
}

// The late bytes of a piece, as `checksums` make them.
absl::StatusOr<std::string> MakeLate(const LateBytes& late,
                                     absl::Span<const uint32_t> checksums,
                                     const std::string& file) {
  std::string bytes = late.make(checksums);
  if (static_cast<int64_t>(bytes.size()) == late.size) return bytes;
  return absl::InternalError(absl::StrCat(file, ": found ", bytes.size(),
                                          " late bytes, expected ", late.size));
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

// An output file while it is being written. Thread-safe but for the cursor, the
// count, the digests and the checksums, which are the queue's.
class OutputFile {
 public:
  OutputFile(const PlannedFile& planned, const Location& folder,
             const TransferOptions& options)
      : plan(planned),
        segments(Segments(planned, options.digest)),
        cursor(&segments),
        checksums(planned),
        folder_(folder),
        sync_(options.sync) {}

  // Creates the file when the first thread wants it. Space that the storage has
  // to find can take a while: who is at another file need not wait for it.
  absl::StatusOr<WritableFile*> Open() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (file_ != nullptr) return file_.get();
    WINDLASS_ASSIGN_OR_RETURN(
        auto file, folder_.storage->Create(TemporaryPath(folder_, plan.name)));
    WINDLASS_RETURN_IF_ERROR(file->Allocate(plan.size));
    if (plan.mode.has_value()) {
      WINDLASS_RETURN_IF_ERROR(file->SetMode(*plan.mode));
    }
    file_ = std::move(file);
    return file_.get();
  }

  // When all else is written.
  absl::Status WriteLate() {
    if (!HasLateBytes(plan)) return absl::OkStatus();
    const std::vector<uint32_t> joined = checksums.Join();
    for (const Piece& piece : plan.pieces) {
      if (piece.late() == nullptr) continue;
      WINDLASS_ASSIGN_OR_RETURN(const std::string bytes,
                                MakeLate(*piece.late(), joined, plan.name));
      WINDLASS_RETURN_IF_ERROR(file_->WriteAt(piece.offset, bytes));
      late_bytes += bytes.size();
    }
    return absl::OkStatus();
  }

  // When all is written.
  absl::Status Close() {
    if (sync_) WINDLASS_RETURN_IF_ERROR(file_->Sync());
    return file_->Close();
  }

  const PlannedFile& plan;
  const std::vector<Segment> segments;
  ItemCursor cursor;
  int unfinished = 0;  // items handed out and not done
  // Of tensors, as their segments are done.
  std::vector<std::pair<std::string, std::string>> digests;
  Checksums checksums;
  int64_t late_bytes = 0;  // written

 private:
  const Location& folder_;
  const bool sync_;
  std::mutex mutex_;
  std::unique_ptr<WritableFile> file_;
};

struct Work {
  std::shared_ptr<OutputFile> file;
  Item item;
};

// Hands out a plan's work, and closes each file when its last item is done.
// Every thread has a file of its own while there are enough (file systems let
// one thread at a time write to a file), and helps with the others' after that.
// Thread-safe.
class WorkQueue {
 public:
  WorkQueue(const TransferPlan& plan, const Location& folder,
            const TransferOptions& options, WholeFiles* whole)
      : plan_(plan), folder_(folder), options_(options), whole_(whole) {}

  // The next piece of work; one without a file when nothing is left. `mine` is
  // the file that the calling thread is at, null at first.
  Work Next(std::shared_ptr<OutputFile>* mine) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (*mine == nullptr || (*mine)->cursor.exhausted()) {
      *mine = FindFile();
      if (*mine == nullptr) return Work{};
    }
    OutputFile& file = **mine;
    Work work{*mine, file.cursor.Next()};
    ++file.unfinished;
    return work;
  }

  // Ends what Next gave, with what was taken of its bytes; the last work on a
  // file finishes the file.
  absl::Status Done(const Work& work, Taken taken) {
    const int64_t size = work.item.end - work.item.begin;
    CountBytes(size);
    OutputFile& file = *work.file;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      const Segment& segment = *work.item.segment;
      if (segment.tensor != nullptr) {
        file.digests.emplace_back(segment.tensor->name,
                                  std::move(taken.digest));
      }
      if (segment.checksum >= 0) {
        file.checksums.Add(segment.checksum, work.item.begin, size, taken.crc);
      }
      if (--file.unfinished > 0 || !file.cursor.exhausted()) {
        return absl::OkStatus();
      }
    }
    WINDLASS_RETURN_IF_ERROR(file.WriteLate());
    CountBytes(file.late_bytes);
    WINDLASS_RETURN_IF_ERROR(file.Close());
    const std::lock_guard<std::mutex> lock(mutex_);
    whole_->emplace(file.plan.name,
                    WholeFile{WholeFile::kTemporary, std::move(file.digests)});
    return absl::OkStatus();
  }

 private:
  // A file that has work left: a new one, or else one that another thread is
  // at. Null where there is none.
  std::shared_ptr<OutputFile> FindFile() {
    while (next_file_ < plan_.files.size()) {
      const PlannedFile& planned = plan_.files[next_file_++];
      if (whole_->count(planned.name) > 0) {
        CountBytes(planned.size);
        continue;
      }
      open_.push_back(std::make_shared<OutputFile>(planned, folder_, options_));
      return open_.back();
    }
    while (!open_.empty() && open_.front()->cursor.exhausted()) {
      open_.pop_front();
    }
    for (const auto& file : open_) {
      if (!file->cursor.exhausted()) return file;
    }
    return nullptr;
  }

  void CountBytes(int64_t bytes) {
    if (options_.bytes_done != nullptr) {
      options_.bytes_done->fetch_add(bytes, std::memory_order_relaxed);
    }
  }

  const TransferPlan& plan_;
  const Location& folder_;
  const TransferOptions& options_;
  WholeFiles* const whole_;
  std::mutex mutex_;
  size_t next_file_ = 0;
  std::deque<std::shared_ptr<OutputFile>> open_;
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

absl::Status CheckCancelled(const TransferOptions& options) {
  if (options.cancelled == nullptr || !options.cancelled->load()) {
    return absl::OkStatus();
  }
  return absl::CancelledError("interrupted");
}

// The bytes of a segment from `begin` on: as many as are best had at once.
absl::StatusOr<absl::Span<char>> ReadPiece(const Segment& segment,
                                           int64_t begin, int64_t end,
                                           Buffer* buffer) {
  if (segment.verbatim.has_value()) {
    const auto piece = buffer->Get(std::min(end - begin, kBufferBytes));
    WINDLASS_RETURN_IF_ERROR(segment.verbatim->source->ReadAt(
        segment.verbatim->offset + begin, piece));
    return piece;
  }
  const int64_t size = std::min(segment.computed->PieceEnd(begin), end) - begin;
  const auto piece = buffer->Get(size);
  const absl::Status read =
      segment.computed->Read(Region{begin, size}, piece.data(), size);
  if (read.ok()) return piece;
  // What the data are wrong about says only what was found.
  return absl::IsInvalidArgument(read)
             ? Annotate(read, "tensor \"", *segment.computed_name, "\"")
             : read;
}

// One thread's work.
class Worker {
 public:
  Worker(WorkQueue* queue, const TransferOptions& options, FirstError* error)
      : queue_(queue), options_(options), error_(error) {}

  void Run() {
    while (!finished_ && !error_->failed()) {
      absl::Status status = WithoutExceptions([this] { return Step(); });
      if (!status.ok()) return error_->Set(std::move(status));
    }
  }

 private:
  absl::Status Step() {
    WINDLASS_RETURN_IF_ERROR(CheckCancelled(options_));
    const Work work = queue_->Next(&file_);
    finished_ = work.file == nullptr;
    if (finished_) return absl::OkStatus();
    WINDLASS_ASSIGN_OR_RETURN(Taken taken, Move(work));
    return queue_->Done(work, std::move(taken));
  }

  absl::StatusOr<Taken> Move(const Work& work) {
    const Item& item = work.item;
    const Segment& segment = *item.segment;
    WINDLASS_ASSIGN_OR_RETURN(WritableFile* const file, work.file->Open());
    const int64_t to = segment.offset + item.begin;
    const int64_t size = item.end - item.begin;
    bool copied = false;
    if (segment.verbatim.has_value() && !segment.is_watched()) {
      WINDLASS_ASSIGN_OR_RETURN(
          copied,
          file->CopyFrom(*segment.verbatim->source,
                         segment.verbatim->offset + item.begin, size, to));
    }
    Taken taken;
    if (!copied) {
      WINDLASS_ASSIGN_OR_RETURN(taken, Stream(item, file));
    }
    if (options_.sync) file->StartSync(to, size);
    return taken;
  }

  // Moves the item's bytes through the buffer.
  absl::StatusOr<Taken> Stream(const Item& item, WritableFile* file) {
    const Segment& segment = *item.segment;
    WINDLASS_ASSIGN_OR_RETURN(Watcher watcher,
                              Watcher::Create(segment, options_));
    for (int64_t at = item.begin; at < item.end;) {
      WINDLASS_RETURN_IF_ERROR(CheckCancelled(options_));
      WINDLASS_ASSIGN_OR_RETURN(const absl::Span<char> piece,
                                ReadPiece(segment, at, item.end, &buffer_));
      watcher.See(piece);
      WINDLASS_RETURN_IF_ERROR(file->WriteAt(segment.offset + at, piece));
      at += piece.size();
    }
    return watcher.Take();
  }

  WorkQueue* const queue_;
  const TransferOptions& options_;
  FirstError* const error_;
  std::shared_ptr<OutputFile> file_;
  bool finished_ = false;
  Buffer buffer_;
};

// Whether `file` holds the late bytes that the checksums make.
absl::StatusOr<bool> HoldsLate(const PlannedFile& planned,
                               const ReadableFile& file, Checksums* checksums) {
  const std::vector<uint32_t> joined = checksums->Join();
  for (const Piece& piece : planned.pieces) {
    if (piece.late() == nullptr) continue;
    WINDLASS_ASSIGN_OR_RETURN(const std::string bytes,
                              MakeLate(*piece.late(), joined, planned.name));
    WINDLASS_ASSIGN_OR_RETURN(const std::string there,
                              ReadRange(file, piece.offset, bytes.size()));
    if (there != bytes) return false;
  }
  return true;
}

// Whether `file` holds what the plan says; adds its tensors' digests.
absl::StatusOr<bool> IsWhole(
    const PlannedFile& planned, const ReadableFile& file,
    const TransferOptions& options,
    std::vector<std::pair<std::string, std::string>>* digests) {
  if (file.size() != planned.size) return false;
  const std::vector<Segment> segments = Segments(planned, options.digest);
  Buffer expected, found;
  Checksums checksums(planned);
  for (const Segment& segment : segments) {
    WINDLASS_ASSIGN_OR_RETURN(Watcher watcher,
                              Watcher::Create(segment, options));
    for (int64_t at = 0; at < segment.size;) {
      WINDLASS_RETURN_IF_ERROR(CheckCancelled(options));
      WINDLASS_ASSIGN_OR_RETURN(
          const absl::Span<char> piece,
          ReadPiece(segment, at, segment.size, &expected));
      const absl::Span<char> there = found.Get(piece.size());
      WINDLASS_RETURN_IF_ERROR(file.ReadAt(segment.offset + at, there));
      if (std::memcmp(piece.data(), there.data(), piece.size()) != 0) {
        return false;
      }
      watcher.See(piece);
      at += piece.size();
    }
    Taken taken = watcher.Take();
    if (segment.tensor != nullptr) {
      digests->emplace_back(segment.tensor->name, std::move(taken.digest));
    }
    if (segment.checksum >= 0) {
      checksums.Add(segment.checksum, 0, segment.size, taken.crc);
    }
  }
  return HoldsLate(planned, file, &checksums);
}

// Whether the folder's file at `path` is the plan's, not a link to another's
// file, and on the device where that is wanted.
absl::StatusOr<bool> IsWholeAt(const std::string& path,
                               const PlannedFile& planned, Storage& storage,
                               const TransferOptions& options,
                               WholeFile* whole) {
  const auto file = storage.OpenForRead(path);
  if (!file.ok()) return false;
  WINDLASS_ASSIGN_OR_RETURN(const bool is_whole,
                            IsWhole(planned, **file, options, &whole->digests));
  if (!is_whole) return false;
  const auto editable = storage.OpenForEdit(path);
  if (absl::IsUnimplemented(editable.status())) return true;
  if (!editable.ok()) return false;
  if (options.sync) WINDLASS_RETURN_IF_ERROR((*editable)->Sync());
  return true;
}

}  // namespace

std::string TemporaryPath(const Location& folder, const std::string& name) {
  const std::string path = JoinPath(folder.path, name);
  return JoinPath(DirName(path), TemporaryName(BaseName(path)));
}

absl::Status WriteTemporaries(const TransferPlan& plan, const Location& folder,
                              const TransferOptions& options,
                              WholeFiles* whole) {
  FirstError error;
  {
    WorkQueue queue(plan, folder, options, whole);
    RunOnThreads(options.threads,
                 [&] { Worker(&queue, options, &error).Run(); });
  }
  absl::Status status = error.Take();
  if (status.ok()) return status;
  for (const PlannedFile& file : plan.files) {
    if (whole->count(file.name) > 0) continue;
    folder.storage->Remove(TemporaryPath(folder, file.name)).IgnoreError();
  }
  return status;
}

absl::StatusOr<WholeFiles> FindWholeFiles(
    const TransferPlan& plan, const Location& folder,
    absl::Span<const WholeFile::Place> places, const TransferOptions& options) {
  WholeFiles whole;
  for (const PlannedFile& planned : plan.files) {
    for (const WholeFile::Place place : places) {
      const std::string path = place == WholeFile::kFinal
                                   ? JoinPath(folder.path, planned.name)
                                   : TemporaryPath(folder, planned.name);
      WholeFile file{place, {}};
      WINDLASS_ASSIGN_OR_RETURN(
          const bool is_whole,
          IsWholeAt(path, planned, *folder.storage, options, &file));
      if (!is_whole) continue;
      whole.emplace(planned.name, std::move(file));
      break;
    }
  }
  return whole;
}

}  // namespace windlass
