// A whole conversion: from a request to a report.
//
//   ConversionRequest request;
//   request.input = "Qwen3.5-0.8B";
//   request.output = "native";
//   absl::StatusOr<ConversionReport> report = Convert(request);
//
// Chooses the adapter by config.json, holds the folders against others, plans,
// writes and reports. What tools, tests and other programs call; adapters,
// formats and storages are those that are linked in.

#ifndef WINDLASS_CONVERT_CONVERSION_H_
#define WINDLASS_CONVERT_CONVERSION_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "windlass/convert/request.h"
#include "windlass/core/conversion_summary.h"
#include "windlass/core/dtype.h"
#include "windlass/core/state_dict.h"
#include "windlass/core/state_dict_adapter.h"
#include "windlass/io/checkpoint.h"
#include "windlass/io/in_place_plan.h"
#include "windlass/io/save.h"
#include "windlass/io/storage/storage.h"
#include "windlass/io/transfer/transfer.h"

namespace windlass {

// An output file.
struct ReportedFile {
  std::string name;
  int64_t bytes = 0;
  int64_t tensors = 0;
};

struct ConversionReport {
  // The folder that INPUT stands for; empty where it is one itself.
  std::string input;
  std::string adapter;  // empty for none
  // "hf", "native", or "same" where no adapter is at work. INPUT's is told by
  // its tensors' names, and empty where both layouts have them all.
  std::string input_layout;
  std::string output_layout;
  // Names of formats.
  std::string input_format;
  std::string output_format;
  ConversionSummary summary;
  // What is written, and how much that is. In place: nothing is listed.
  std::vector<ReportedFile> files;
  int64_t bytes = 0;
  // Names in INPUT's folder that do not go along: other weights, which are not
  // part of the model, and files that nobody is known to need.
  std::vector<std::string> left_out;
  std::vector<std::string> left_behind;
  // Tensors of INPUT that share bytes with others there and are written as
  // copies.
  std::vector<std::string> copied;
  // Entries of INPUT that are no tensors, and that are not written.
  std::vector<std::string> left_out_objects;
  // Tensors whose names lost those of wrappers.
  int64_t unwrapped = 0;
  // Side files that go along changed, and how: "config.json: without ...".
  std::vector<std::string> edited;
  // Tensors that came from `fill_from`.
  std::vector<std::string> filled;
  // What is not as in `like`, a line each.
  std::vector<std::string> differences;
  // What the inverse would not give back; set by Run, and by Plan where the
  // request asks for a check.
  std::optional<std::vector<Loss>> losses;
  // In place: an earlier run had done it all, or INPUT was in the layout
  // already, and nothing was to do.
  bool already_converted = false;
};

// A conversion that is planned. INPUT is held shared (where it can be written
// to) until this is destroyed, so that nobody rewrites it in place meanwhile;
// exclusively, if it is this conversion that does.
class Conversion {
 public:
  // Opens INPUT and plans every byte. With `dry_run` nothing at all is written,
  // nothing is held, and what Run would refuse is refused. Otherwise an
  // unfinished conversion in place of the same request is finished first.
  // Errors are those of the registry, the adapter and io; Unavailable names
  // who else is at a folder.
  static absl::StatusOr<Conversion> Plan(const ConversionRequest& request,
                                         const TransferOptions& options,
                                         bool dry_run);

  const ConversionReport& report() const { return report_; }

  // Carries the plan out; save.h and in_place.h say what holds after an error.
  // Once at most.
  absl::Status Run(const TransferOptions& options);

  // Lets go of INPUT before the end, for a process that ends without taking
  // its objects apart.
  void Unlock() {
    lock_.reset();
    base_locks_.clear();
  }

 private:
  Conversion() = default;

  absl::Status Write(const TransferOptions& options) const;
  // Of the output, that which the inverse does not give back.
  absl::StatusOr<std::vector<Loss>> Losses();
  absl::Status Open(const ConversionRequest& request,
                    const TransferOptions& options, bool dry_run);
  absl::Status OpenInput(const ConversionRequest& request,
                         const OpenOptions& open, const Location& folder,
                         bool sync, bool dry_run);
  absl::Status PlanRename();
  absl::Status PlanWrite(const ConversionRequest& request);
  absl::Status OpenBases(const ConversionRequest& request, bool dry_run);
  absl::Status MakeOutput(const ConversionRequest& request);
  absl::Status MakeOptimizer(const ConversionRequest& request);
  absl::Status FindInputLayout(const ConversionRequest& request,
                               const StateDict& tensors);
  // In the layout that is written, of tensors in either.
  absl::StatusOr<StateDict> Change(const ConversionRequest& request,
                                   const StateDict& tensors) const;
  // Of a checkpoint that is in the layout that is written already.
  absl::StatusOr<StateDict> Rewrite(const ConversionRequest& request,
                                    const StateDict& tensors) const;
  // Whether it was in that layout, and has not changed.
  bool ChangesNothing() const;
  absl::Status FinishOutput(const ConversionRequest& request);
  absl::Status Check();
  absl::Status CheckOutput() const;
  absl::Status CheckNoCodes() const;
  absl::Status CheckBaseLayout(const Checkpoint& base) const;
  absl::Status CompareWithLike(bool allow_differences);
  absl::Status EditConfig(SaveOptions* options);
  absl::Status EditPeftConfig(SaveOptions* options);
  void AddObjects(SaveOptions* options);
  // Where the side file of that name comes from; nullopt for none.
  std::optional<Location> SideFile(absl::string_view name) const;

  // INPUT's tensors, as the adapter sees them.
  const StateDict& tensors() const {
    return unwrapped_.empty() ? input_.tensors : unwrapped_;
  }
  // The output but for what was filled in.
  const StateDict& OwnOutput();
  const StateDict& output() const {
    return made_.has_value() ? *made_ : tensors();
  }
  // By an adapter, to one layout or the other.
  absl::StatusOr<StateDict> Apply(const StateDictAdapter& adapter, Layout to,
                                  const StateDict& tensors) const;
  // To HF without excluding any name.
  absl::StatusOr<StateDict> ApplyWholeToHf(const StateDict& tensors) const;
  // From the layout that is written to the other one.
  absl::StatusOr<StateDict> Undo(const StateDict& tensors) const;
  // What the inverse makes of the output; computed once.
  const absl::StatusOr<StateDict>& WayBack();

  std::unique_ptr<FolderLock> lock_;
  std::vector<std::unique_ptr<FolderLock>> base_locks_;
  std::string tag_;
  Layout to_ = Layout::kNative;
  bool optimizer_ = false;
  // INPUT's; the other one than `to_` where names do not tell.
  Layout from_ = Layout::kHf;
  std::unique_ptr<StateDictAdapter> adapter_;  // null for none
  // What reads HF's layout to write it anew; null where `adapter_` does.
  std::unique_ptr<StateDictAdapter> reader_;
  ToHfOptions hf_options_;
  Checkpoint input_;
  std::optional<Checkpoint> like_;
  std::optional<Checkpoint> fill_from_;
  // What config.json shall say; nullopt for what it says.
  std::optional<DType> dtype_;
  bool casts_all_ = false;
  StateDict unwrapped_;  // empty where no name has a wrapper's
  // What became of them; not set where they stay as they are.
  std::optional<StateDict> made_;
  std::optional<StateDict> own_;  // OwnOutput's, where it is none of the above
  // An optimizer's, beside its tensors.
  StateDict objects_;
  std::optional<absl::StatusOr<StateDict>> back_;  // WayBack's, once computed
  std::optional<SavePlan> save_;
  std::optional<InPlacePlan> in_place_;
  ConversionReport report_;
};

// Plans and runs.
absl::StatusOr<ConversionReport> Convert(const ConversionRequest& request,
                                         const TransferOptions& options = {});

}  // namespace windlass

#endif  // WINDLASS_CONVERT_CONVERSION_H_
