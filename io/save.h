// Saving a StateDict as a checkpoint in a folder.
//
//   absl::StatusOr<SavePlan> plan = PlanSave(tensors, input, "native", {});
//   absl::Status status = SaveCheckpoint(*plan, {});
//
// The protocol that makes it safe to kill at any moment, and to run twice, is
// in save.cc, a step a function; docs/commit.md is its page.

#ifndef WINDLASS_IO_SAVE_H_
#define WINDLASS_IO_SAVE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "windlass/core/state_dict.h"
#include "windlass/io/checkpoint.h"
#include "windlass/io/storage/storage.h"
#include "windlass/io/transfer/plan.h"
#include "windlass/io/transfer/transfer.h"

namespace windlass {

// A side file that is written with other contents than the input's.
struct EditedFile {
  std::string name;
  std::string contents;
};

struct SaveOptions {
  // The output's format, whatever the input's.
  std::string format = "safetensors";
  // As in LayOutOptions.
  int64_t max_shard_bytes = 0;
  int num_shards = 0;
  // Replace the checkpoint that OUTPUT holds: its index and the shards that it
  // names, its digests, and files of the names that are written. Nothing else
  // that stands in OUTPUT is ever touched.
  bool overwrite = false;
  // Keep what an earlier run of the same plan has left whole, which may be all.
  bool resume = false;
  std::vector<EditedFile> edited;
  // A checkpoint that tensors are laid out like, by their names, and that side
  // files come from which the input lacks. Null for none.
  const Checkpoint* like = nullptr;
  // Whose files the tensors need besides the input's.
  std::vector<const Checkpoint*> others;
  // As in LayOutOptions; not needed once the plan is made.
  const StateDict* objects = nullptr;
};

// The side files that go along from `input` and from `like`, which may be null:
// names, sorted, and where each lies.
std::vector<std::pair<std::string, Location>> SideFilesOf(
    const Checkpoint& input, const Checkpoint* like);

// A conversion that can be carried out, to the byte.
struct SavePlan {
  TransferPlan transfer;
  Location output;  // the folder
  // The output is one file of that folder, and nothing else there is looked at
  // or touched.
  bool is_file = false;
  const CheckpointFormat* format = nullptr;
  // The files that are read, to be found unchanged when all is written.
  std::vector<std::shared_ptr<const ReadableFile>> inputs;
  bool overwrite = false;
  bool resume = false;
};

// Plans to save `tensors` in the folder `output`, or as the one file of that
// name, where the format knows it as a file's; side files stay behind then.
// Writes nothing. NotFound for an unknown format; FailedPrecondition where the
// folder holds files, or the file is there, and overwriting was not asked for;
// InvalidArgument where it is the input, one lies in the other or the input's
// files are reached through it (so for `like` and the `others`), where two
// files would have one name, and for a tensor's name that is no text.
absl::StatusOr<SavePlan> PlanSave(const StateDict& tensors,
                                  const Checkpoint& input,
                                  absl::string_view output,
                                  const SaveOptions& options);

// The refusals of SaveCheckpoint that PlanSave cannot know, because they take
// reading what an earlier run has left. Writes nothing, takes no lock.
absl::Status CheckSave(const SavePlan& plan, const TransferOptions& options);

// Carries a plan out, with the folder locked against others: Unavailable, at
// once, where somebody else is at it. FailedPrecondition where files stand
// there that are not ours to replace; ResourceExhausted where the disk has no
// room.
//
// Until the last tensor is written nothing changes under a final name; an error
// before removes all that was written. After a cancellation, and after a crash
// at any moment, the same plan can be carried out again: from the start, or
// with `resume` from the files that are whole, which may be all of them.
absl::Status SaveCheckpoint(const SavePlan& plan,
                            const TransferOptions& options);

}  // namespace windlass

#endif  // WINDLASS_IO_SAVE_H_
