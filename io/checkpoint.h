// Checkpoints: opening one as a StateDict.
//
//   absl::StatusOr<Checkpoint> in = OpenCheckpoint("Qwen3.5-0.8B");
//   absl::StatusOr<StateDict> out = adapter.FromHf(in->tensors, {});
//
// save.h saves the result, in_place.h renames tensors where they lie.
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
#include "windlass/io/in_place_plan.h"
#include "windlass/io/storage/storage.h"
#include "windlass/io/transfer/plan.h"

namespace windlass {

// A file of a checkpoint that holds tensors.
struct Shard {
  std::string name;  // in its folder
  std::shared_ptr<const ReadableFile> file;
  std::vector<std::pair<std::string, std::string>> metadata;
};

class CheckpointFormat;

// An open checkpoint. Its tensors keep their files open; their bytes are read
// when somebody asks for them.
struct Checkpoint {
  // Null for a checkpoint that was put together in memory.
  const CheckpointFormat* format = nullptr;
  // What was opened: the folder, or one file in it.
  Location location;
  Location folder;
  // In the order of the shards' names, then of the data in them.
  StateDict tensors;
  std::vector<Shard> shards;
  // The file that says which tensor lies in which shard; empty for none.
  std::string index_name;
  // What the index says beside that: names and their JSON.
  std::vector<std::pair<std::string, std::string>> index_metadata;
  // A single file was opened, and others of its folder speak of its tensors or
  // hold the rest of them: an index names it, or it is one of a numbered
  // family.
  bool is_part = false;
  // Files of the format in the folder that are no part of this checkpoint
  // (adapters, consolidated.safetensors, variants), by name.
  std::vector<std::string> left_out;
  // Files that belong to the model but hold none of its tensors (config.json,
  // the tokenizer's, chat templates, code): paths in the folder, some of them
  // in a folder of their own ("1_Pooling/config.json").
  std::vector<std::string> side_files;
  // What else lies in the folder and does not go along; "original/" for a
  // folder.
  std::vector<std::string> left_behind;
};

struct OpenOptions {
  // Read the shards that lie there, whatever an index says.
  bool ignore_index = false;
};

// The files that make a checkpoint, by their names in its folder.
struct CheckpointFiles {
  std::string index;  // empty for none
  std::vector<std::string> shards;
};

// How one format lies on disk. Stateless and thread-safe.
class CheckpointFormat {
 public:
  virtual ~CheckpointFormat() = default;

  virtual absl::string_view name() const = 0;

  // Whether a folder with these names (sorted), or a file of this name, holds
  // this format. A pure function.
  virtual bool Detect(const std::vector<std::string>& names) const = 0;

  // Opens the folder, in which `names` lie; where `file` is not empty, that
  // file of it alone. Fills in all but the location and what no format owns.
  virtual absl::StatusOr<Checkpoint> Open(const Location& folder,
                                          const std::vector<std::string>& names,
                                          const std::string& file,
                                          const OpenOptions& options) const = 0;

  // Lays tensors out. `like` is the checkpoint that they were made from.
  virtual absl::StatusOr<TransferPlan> Plan(const StateDict& tensors,
                                            const Checkpoint& like,
                                            int64_t max_shard_bytes) const = 0;

  // The files of the checkpoint that stands in a folder, for whoever replaces
  // it: the index and the shards that it names, or without one the shards of
  // the one checkpoint that is there. Files of other names are nobody's, and
  // those listed may be missing.
  virtual absl::StatusOr<CheckpointFiles> FindFiles(
      const Location& folder) const = 0;

  // What renaming in place has to write; Unimplemented where the format cannot.
  virtual absl::StatusOr<InPlacePlan> PlanInPlace(
      const StateDict& tensors, const Checkpoint& input) const;
};

class CheckpointFormatRegistrar {
 public:
  explicit CheckpointFormatRegistrar(const CheckpointFormat* format);
};

// What `uri` names, and the folder that it is or lies in. A folder above the
// snapshots of a Hugging Face cache stands for one of them. NotFound where
// nothing is there; the errors of ResolveSnapshot.
struct CheckpointPlace {
  Location location;
  Location folder;
  bool is_file = false;
};
absl::StatusOr<CheckpointPlace> FindCheckpoint(absl::string_view uri);

// Opens a folder or a single file, in whichever format it is. Reads headers
// only. NotFound where there is no checkpoint; FailedPrecondition where a
// conversion has left it half-written; else the format's errors and those of
// FindSideFiles.
absl::StatusOr<Checkpoint> OpenCheckpoint(absl::string_view uri,
                                          const OpenOptions& options = {});

// The format of a checkpoint; the first one for a checkpoint that was not
// opened.
const CheckpointFormat* FormatOf(const Checkpoint& checkpoint);

}  // namespace windlass

#endif  // WINDLASS_IO_CHECKPOINT_H_
