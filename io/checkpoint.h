// Checkpoints: opening one as a StateDict.
//
//   absl::StatusOr<Checkpoint> in = OpenCheckpoint("Qwen3.5-0.8B");
//   absl::StatusOr<StateDict> out = adapter.FromHf(in->tensors, {});
//
// save.h saves the result, in_place.h renames tensors where they lie.
//
// Formats register with one constant at the end of their .cc, in a target that
// is `alwayslink` (safetensors/format.cc is the example to copy), and run the
// suite of //testing:format_suite.

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
#include "windlass/io/published.h"
#include "windlass/io/storage/storage.h"
#include "windlass/io/training_root.h"
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
  // Entries beside the tensors that are none ("epoch", "lr_scheduler"), by
  // name, where the format can have them.
  std::vector<std::string> objects;
  // The bytes of those that the format keeps each by itself (dcp), U8, as
  // torch.save wrote them.
  StateDict object_bytes;
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
  // The folder in `folder` that the side files lie in; empty for `folder`.
  std::string side_folder;
  // What else lies in the folder and does not go along; "original/" for a
  // folder.
  std::vector<std::string> left_behind;
  // The shards hold parts of tensors, a rank's each: what is made of them need
  // not be grouped so.
  bool is_ranks = false;
  // How the model was published, where a training job has kept that; by HF
  // names.
  Published published;
};

// The path of a checkpoint's side file.
std::string SideFilePath(const Checkpoint& checkpoint, absl::string_view name);

struct OpenOptions {
  // A format's name; "auto" goes by what lies there.
  std::string format = "auto";
  // Read the shards that lie there, whatever an index says.
  bool ignore_index = false;
  // Where in the file the tensors lie, for formats that nest: keys joined by
  // dots, "." for the top. Empty to find out.
  std::string state_dict_key;
  // Which part of a training job's checkpoint is meant, where that is what lies
  // there.
  TrainingPart part = TrainingPart::kModel;
};

// The files that make a checkpoint, by their names in its folder.
struct CheckpointFiles {
  std::string index;  // empty for none
  std::vector<std::string> shards;
};

// How sure a format is that what lies somewhere is its own. The surest one has
// it.
enum class Certainty {
  kNone,      // no file of its own is there
  kPossible,  // files whose names others use, too
  kLikely,    // files named as its own are
  kCertain,   // the very file that loaders of this format look for
};

// How a checkpoint shall be laid out.
struct LayOutOptions {
  // 0 keeps together what lay together: each tensor goes where its first source
  // lay. Otherwise tensors fill shards of at most this many bytes of data, in
  // order.
  int64_t max_shard_bytes = 0;
  // In how many files' parts tensors are cut, in formats that cut them; 0 where
  // nobody asked.
  int num_shards = 0;
  // The name of the one file that shall hold it all; empty for a folder's.
  std::string file;
  // What the tensors shall be laid out like is another checkpoint, and not the
  // one that they were made from: a tensor goes where its namesake lies.
  bool by_name = false;
  // As Checkpoint::object_bytes, to go beside the tensors in formats that can
  // have them; null for none. Others leave them out.
  const StateDict* objects = nullptr;
};

// How one format lies on disk. Stateless and thread-safe.
class CheckpointFormat {
 public:
  virtual ~CheckpointFormat() = default;

  virtual absl::string_view name() const = 0;

  // How sure it is that a folder with these names (sorted), or a file of this
  // name, holds this format. A pure function.
  virtual Certainty Detect(const std::vector<std::string>& names) const = 0;

  // Whether a checkpoint that is written to an output of this name is that one
  // file. A pure function.
  virtual bool IsFileName(absl::string_view /*name*/) const { return false; }

  // Whether LayOutOptions::objects are written.
  virtual bool HasObjects() const { return false; }

  // Opens the folder, in which `names` lie; where `file` is not empty, that
  // file of it alone. Fills in all but the location and what no format owns.
  virtual absl::StatusOr<Checkpoint> Open(const Location& folder,
                                          const std::vector<std::string>& names,
                                          const std::string& file,
                                          const OpenOptions& options) const = 0;

  // Lays tensors out, in files that this format names. `like` is the checkpoint
  // that they were made from, in whichever format.
  virtual absl::StatusOr<TransferPlan> Plan(
      const StateDict& tensors, const Checkpoint& like,
      const LayOutOptions& options) const = 0;

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
// snapshots of a Hugging Face cache stands for one of them, one above the
// checkpoints of a training job for a part of one. NotFound where nothing is
// there; the errors of ResolveSnapshot and ResolveTrainingRoot.
struct CheckpointPlace {
  Location location;
  Location folder;
  bool is_file = false;
  // The folder was looked for below the one that was given.
  bool is_found = false;
};
absl::StatusOr<CheckpointPlace> FindCheckpoint(
    absl::string_view uri, TrainingPart part = TrainingPart::kModel);

// Opens a folder or a single file, in whichever format it is. Reads headers
// only. NotFound where there is no checkpoint; FailedPrecondition where a
// conversion has left it half-written, or where two formats are equally sure
// that it is theirs; else the errors of FindFormat, the format's and those of
// FindSideFiles.
absl::StatusOr<Checkpoint> OpenCheckpoint(absl::string_view uri,
                                          const OpenOptions& options = {});

// The formats that are linked in, sorted by name.
std::vector<const CheckpointFormat*> KnownFormats();

// The format of that name. NotFound lists those that are linked in.
absl::StatusOr<const CheckpointFormat*> FindFormat(absl::string_view name);

// OK for a format's name and for "auto"; the errors of FindFormat.
absl::Status CheckFormatName(absl::string_view name);

// The files of the checkpoints that stand in a folder, for whoever replaces
// them: those of `format`, and those of the format that OpenCheckpoint would
// open, if that is another.
absl::StatusOr<std::vector<CheckpointFiles>> FindCheckpointFiles(
    const Location& folder, const CheckpointFormat& format);

}  // namespace windlass

#endif  // WINDLASS_IO_CHECKPOINT_H_
