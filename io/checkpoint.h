// Checkpoints: opening one as a StateDict, and saving a StateDict as one.
//
//   absl::StatusOr<Checkpoint> in = OpenCheckpoint("Qwen3.5-0.8B");
//   absl::StatusOr<StateDict> out = adapter.FromHf(in->tensors, {});
//   absl::StatusOr<SavePlan> plan = PlanSave(*out, *in, "native", {});
//   absl::Status status = SaveCheckpoint(*plan, {});
//
// Formats register with one constant at the end of their .cc, in a target that
// is `alwayslink` (safetensors/format.cc is the example to copy).

#ifndef WINDLASS_IO_CHECKPOINT_H_
#define WINDLASS_IO_CHECKPOINT_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "windlass/core/state_dict.h"
#include "windlass/io/storage/storage.h"
#include "windlass/io/transfer/plan.h"
#include "windlass/io/transfer/transfer.h"

namespace windlass {

// A file of a checkpoint that holds tensors.
struct Shard {
  std::string name;  // in its folder
  std::shared_ptr<const ReadableFile> file;
  std::vector<std::pair<std::string, std::string>> metadata;
};

// An open checkpoint. Its tensors keep their files open; their bytes are read
// when somebody asks for them.
struct Checkpoint {
  // What was opened: the folder, or one file in it.
  Location location;
  Location folder;
  // In the order of the shards' names, then of the data in them.
  StateDict tensors;
  std::vector<Shard> shards;
  bool has_index = false;
  // Files that belong to the model but hold no tensors (config.json, the
  // tokenizer's, chat templates, code), by name.
  std::vector<std::string> side_files;
};

struct SaveOptions {
  // 0 keeps the input's shards: each tensor goes where its first source lay.
  // Otherwise tensors fill shards of at most this many bytes of data, in order.
  int64_t max_shard_bytes = 0;
  // Replace the checkpoint that OUTPUT holds.
  bool overwrite = false;
};

// A conversion that can be carried out, to the byte.
struct SavePlan {
  TransferPlan transfer;
  Location output;
  // The input's files, to be found unchanged when all is written.
  std::vector<std::shared_ptr<const ReadableFile>> inputs;
  bool overwrite = false;
};

// How one format lies on disk. Stateless and thread-safe.
class CheckpointFormat {
 public:
  virtual ~CheckpointFormat() = default;

  virtual absl::string_view name() const = 0;

  // Whether a folder with these names (sorted), or a file of this name, holds
  // this format. A pure function.
  virtual bool Detect(const std::vector<std::string>& names) const = 0;

  // Opens the folder; of `names`, those that Detect saw.
  virtual absl::StatusOr<Checkpoint> Open(
      const Location& folder, const std::vector<std::string>& names) const = 0;

  // Lays tensors out. `like` is the checkpoint that they were made from.
  virtual absl::StatusOr<TransferPlan> Plan(const StateDict& tensors,
                                            const Checkpoint& like,
                                            int64_t max_shard_bytes) const = 0;

  // Whether a file of this name in an output folder is this format's, so that
  // replacing the checkpoint has to remove it.
  virtual bool Owns(absl::string_view name) const = 0;
};

class CheckpointFormatRegistrar {
 public:
  explicit CheckpointFormatRegistrar(const CheckpointFormat* format);
};

// Opens a folder or a single file, in whichever format it is. Reads headers
// only. NotFound where there is no checkpoint; else the format's errors.
absl::StatusOr<Checkpoint> OpenCheckpoint(absl::string_view uri);

// Plans to save `tensors` in the folder `output`. Writes nothing.
// FailedPrecondition where the folder is not empty and overwriting was not
// asked for; InvalidArgument where it is the input, or one lies in the other;
// ResourceExhausted where the disk has no room.
absl::StatusOr<SavePlan> PlanSave(const StateDict& tensors,
                                  const Checkpoint& input,
                                  absl::string_view output,
                                  const SaveOptions& options);

// Carries a plan out. On an error, and on cancellation, nothing stands under a
// final name that was not there before.
absl::Status SaveCheckpoint(const SavePlan& plan,
                            const TransferOptions& options);

}  // namespace windlass

#endif  // WINDLASS_IO_CHECKPOINT_H_
