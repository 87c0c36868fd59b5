#include "windlass/convert/conversion.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "windlass/convert/base_checkpoint.h"
#include "windlass/convert/choose_adapter.h"
#include "windlass/convert/config_dtype.h"
#include "windlass/convert/optimizer_state.h"
#include "windlass/convert/output_dtypes.h"
#include "windlass/convert/peft_config.h"
#include "windlass/convert/same_layout.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/dtype.h"
#include "windlass/core/json.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/layout_evidence.h"
#include "windlass/core/model_config.h"
#include "windlass/core/quantised_names.h"
#include "windlass/core/regex.h"
#include "windlass/core/status_macros.h"
#include "windlass/core/version.h"
#include "windlass/core/without_exceptions.h"
#include "windlass/io/copied_tensors.h"
#include "windlass/io/in_place.h"
#include "windlass/io/model_config_file.h"
#include "windlass/io/parallel.h"
#include "windlass/io/training_root.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace windlass {
namespace {

// Options that ask for values where codes would be written.
constexpr absl::string_view kUnpacking[] = {"export_fp8", "quantize_experts"};

// Options that say what a model is like, and not how it shall be written.
constexpr absl::string_view kDescribing[] = {"moe_intermediate_size",
                                             "num_experts", "shared_lora_a"};

// What identifies the conversion that a journal is of.
std::string Tag(const ConversionRequest& request, const AdapterInfo& info) {
  return absl::StrCat(
      "windlass ", kVersion, " to ", LayoutName(request.to), ", adapter ",
      info.name, " ", request.adapter_options, ", without ",
      request.exclude_key_regex, request.v4_compatible ? ", v4_compatible" : "",
      request.wrapper_names.keep ? ", with wrappers" : "",
      request.wrapper_names.prefixes.empty()
          ? ""
          : absl::StrCat(", stripped of ",
                         absl::StrJoin(request.wrapper_names.prefixes, " ")));
}

// A launcher that starts one process a rank starts as many conversions.
absl::Status NameLauncher(const absl::Status& status) {
  if (!absl::IsUnavailable(status)) return status;
  for (const auto& [variable, launcher] :
       {std::make_pair("TORCHELASTIC_RUN_ID", "torchrun"),
        std::make_pair("OMPI_COMM_WORLD_SIZE", "mpirun"),
        std::make_pair("PMI_SIZE", "mpirun"),
        std::make_pair("SLURM_PROCID", "srun")}) {
    if (std::getenv(variable) == nullptr) continue;
    return absl::Status(
        status.code(),
        absl::StrCat(status.message(), "; ", launcher,
                     " starts a process a rank: start one alone"));
  }
  return status;
}

// Holds INPUT, as far as it can be held: who may not write there cannot be in
// the way of one who may.
absl::StatusOr<std::unique_ptr<FolderLock>> LockInput(const Location& folder,
                                                      bool in_place) {
  auto lock = folder.storage->Lock(
      folder.path, in_place ? LockMode::kExclusive : LockMode::kShared);
  if (lock.ok() || in_place || absl::IsUnavailable(lock.status())) {
    if (!lock.ok()) return NameLauncher(lock.status());
    return lock;
  }
  return std::unique_ptr<FolderLock>();
}

// Their names are no parameters', so that adapters would pass them on.
absl::Status CheckNoMoments(const StateDict& tensors) {
  const auto moment = absl::c_find_if(tensors, [](const NamedTensor& named) {
    return IsMomentName(named.name);
  });
  if (moment == tensors.end()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("tensor \"", moment->name,
                   "\": found an optimizer's state, expected a model's weights "
                   "(or to be told that it is one)"));
}

std::vector<ReportedFile> ListFiles(const TransferPlan& plan) {
  std::vector<ReportedFile> files;
  for (const PlannedFile& file : plan.files) {
    files.push_back({file.name, file.size, file.CountTensors()});
  }
  for (const ClosingFile& file : plan.closing) {
    files.push_back({file.name, static_cast<int64_t>(file.contents.size()), 0});
  }
  return files;
}

// Headers were read on several threads, and glibc keeps for each what it freed.
void ReleaseFreeMemory() {
#ifdef __GLIBC__
  ::malloc_trim(0);
#endif
}

}  // namespace

absl::StatusOr<Conversion> Conversion::Plan(const ConversionRequest& request,
                                            const TransferOptions& options,
                                            bool dry_run) {
  return WithoutExceptions([&]() -> absl::StatusOr<Conversion> {
    Conversion conversion;
    WINDLASS_RETURN_IF_ERROR(CheckRequest(request));
    WINDLASS_RETURN_IF_ERROR(conversion.Open(request, options, dry_run));
    const ConversionReport& report = conversion.report_;
    if (report.already_converted) return conversion;
    WINDLASS_RETURN_IF_ERROR(Annotate(conversion.MakeOutput(request),
                                      conversion.input_.folder.path));
    WINDLASS_RETURN_IF_ERROR(conversion.FinishOutput(request));
    if (request.check) WINDLASS_RETURN_IF_ERROR(conversion.Check());
    if (request.output.empty()) {
      WINDLASS_RETURN_IF_ERROR(conversion.PlanRename());
    } else {
      WINDLASS_RETURN_IF_ERROR(conversion.PlanWrite(request));
      if (dry_run) {
        WINDLASS_RETURN_IF_ERROR(CheckSave(*conversion.save_, options));
      }
    }
    return conversion;
  });
}

// Chooses the adapter, takes hold of INPUT and reads its headers.
absl::Status Conversion::Open(const ConversionRequest& request,
                              const TransferOptions& options, bool dry_run) {
  OpenOptions open = request.open;
  if (request.optimizer) open.part = TrainingPart::kOptimizer;
  WINDLASS_ASSIGN_OR_RETURN(const CheckpointPlace place,
                            FindCheckpoint(request.input, open.part));
  if (place.is_found) report_.input = place.folder.path;
  WINDLASS_RETURN_IF_ERROR(OpenBases(request, dry_run));
  to_ = request.to;
  optimizer_ = request.optimizer;
  report_.input_layout = report_.output_layout = std::string(LayoutName(to_));
  ChosenAdapter chosen;
  if (to_ != Layout::kSame) {
    WINDLASS_ASSIGN_OR_RETURN(
        chosen, ChooseAdapter(request, place.folder,
                              like_.has_value() ? &*like_ : nullptr, dtype_));
    report_.adapter = chosen.info->name;
    tag_ = Tag(request, *chosen.info);
  }
  adapter_ = std::move(chosen.adapter);
  reader_ = std::move(chosen.reader);
  hf_options_ = chosen.options;
  WINDLASS_RETURN_IF_ERROR(
      OpenInput(request, open, place.folder, options.sync, dry_run));
  if (to_ != Layout::kSame && !optimizer_ && !report_.already_converted) {
    WINDLASS_RETURN_IF_ERROR(
        Annotate(CheckNoMoments(input_.tensors), input_.folder.path));
  }
  if (!chosen.no_experts || report_.already_converted) return absl::OkStatus();
  return Annotate(CheckNoExperts(input_.tensors, *chosen.info),
                  input_.folder.path);
}

absl::Status Conversion::OpenInput(const ConversionRequest& request,
                                   const OpenOptions& open,
                                   const Location& folder, bool sync,
                                   bool dry_run) {
  const bool in_place = request.output.empty();
  if (!dry_run) {
    WINDLASS_ASSIGN_OR_RETURN(lock_, LockInput(folder, in_place));
  }
  if (in_place && !dry_run) {
    WINDLASS_RETURN_IF_ERROR(FinishInPlace(folder, tag_, sync).status());
  }
  WINDLASS_ASSIGN_OR_RETURN(input_, OpenCheckpoint(request.input, open));
  ReleaseFreeMemory();
  report_.input_format = std::string(input_.format->name());
  report_.output_format = in_place ? report_.input_format : request.save.format;
  report_.left_out = input_.left_out;
  report_.left_behind = input_.left_behind;
  if (!in_place) return absl::OkStatus();
  WINDLASS_ASSIGN_OR_RETURN(report_.already_converted,
                            IsConvertedInPlace(input_, tag_));
  return absl::OkStatus();
}

absl::Status Conversion::PlanRename() {
  report_.already_converted = ChangesNothing();
  if (report_.already_converted) return absl::OkStatus();
  SaveOptions edits;
  WINDLASS_RETURN_IF_ERROR(EditPeftConfig(&edits));
  if (!edits.edited.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat(input_.folder.path, ": ", report_.edited.back(),
                     ", expected only names of tensors to change in place"));
  }
  WINDLASS_ASSIGN_OR_RETURN(in_place_, PlanInPlace(output(), input_));
  return absl::OkStatus();
}

absl::Status Conversion::PlanWrite(const ConversionRequest& request) {
  SaveOptions save = request.save;
  save.like = like_.has_value() ? &*like_ : nullptr;
  if (fill_from_.has_value()) save.others.push_back(&*fill_from_);
  WINDLASS_RETURN_IF_ERROR(EditConfig(&save));
  WINDLASS_RETURN_IF_ERROR(EditPeftConfig(&save));
  AddObjects(&save);
  WINDLASS_ASSIGN_OR_RETURN(save_,
                            PlanSave(output(), input_, request.output, save));
  if (save_->is_file) {
    report_.edited.clear();
    report_.left_behind.insert(report_.left_behind.end(),
                               input_.side_files.begin(),
                               input_.side_files.end());
  }
  report_.copied = FindCopied(input_.tensors, save_->transfer);
  report_.files = ListFiles(save_->transfer);
  report_.bytes = save_->transfer.bytes();
  return absl::OkStatus();
}

absl::Status Conversion::OpenBases(const ConversionRequest& request,
                                   bool dry_run) {
  const auto open = [&](const std::string& uri,
                        std::optional<Checkpoint>* base) -> absl::Status {
    if (uri.empty()) return absl::OkStatus();
    WINDLASS_ASSIGN_OR_RETURN(const CheckpointPlace place, FindCheckpoint(uri));
    if (!dry_run) {
      WINDLASS_ASSIGN_OR_RETURN(std::unique_ptr<FolderLock> lock,
                                LockInput(place.folder, /*in_place=*/false));
      base_locks_.push_back(std::move(lock));
    }
    WINDLASS_ASSIGN_OR_RETURN(*base, OpenCheckpoint(uri));
    return absl::OkStatus();
  };
  WINDLASS_RETURN_IF_ERROR(open(request.like, &like_));
  WINDLASS_RETURN_IF_ERROR(open(request.fill_from, &fill_from_));
  dtype_ = request.dtype;
  casts_all_ = dtype_.has_value();
  if (dtype_.has_value() || !like_.has_value() ||
      !absl::c_linear_search(like_->side_files, kConfigName)) {
    return absl::OkStatus();
  }
  WINDLASS_ASSIGN_OR_RETURN(
      const ModelConfig config,
      ReadModelConfig(
          {like_->folder.storage, SideFilePath(*like_, kConfigName)}));
  WINDLASS_ASSIGN_OR_RETURN(dtype_, config.FindDType());
  return absl::OkStatus();
}

// The other checkpoint may not be in the layout that is not written.
absl::Status Conversion::CheckBaseLayout(const Checkpoint& base) const {
  if (adapter_ == nullptr) return absl::OkStatus();
  const LayoutEvidence evidence = FindLayoutEvidence(*adapter_, base.tensors);
  const NamedTensor* const wrong =
      to_ == Layout::kHf ? evidence.native : evidence.hf;
  if (wrong == nullptr) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      base.folder.path, ": tensor \"", wrong->name,
      "\": found a name of the other layout, expected those of the layout that "
      "is written, ",
      LayoutName(to_)));
}

// The names that wrappers left are the parameters', within those of the state.
absl::Status Conversion::MakeOptimizer(const ConversionRequest& request) {
  input_.published = Published();
  const auto convert = [&](const LayoutChange& change) {
    return ConvertOptimizerState(input_.tensors, input_.object_bytes,
                                 request.wrapper_names, change);
  };
  bool is_first = true;
  WINDLASS_ASSIGN_OR_RETURN(
      OptimizerState made,
      convert([&](const StateDict& parameters) -> absl::StatusOr<StateDict> {
        // Of all parameters; a kind of state may not be of each.
        if (is_first) {
          WINDLASS_RETURN_IF_ERROR(FindInputLayout(request, parameters));
        }
        is_first = false;
        return Change(request, parameters);
      }));
  report_.unwrapped = made.unwrapped;
  report_.left_out_objects = std::move(made.left_out);
  objects_ = std::move(made.objects);
  made_ = std::move(made.tensors);
  if (report_.unwrapped > 0) {
    WINDLASS_ASSIGN_OR_RETURN(
        OptimizerState unwrapped,
        convert([](const StateDict& parameters) { return parameters.Copy(); }));
    unwrapped_ = std::move(unwrapped.tensors);
  }
  return absl::OkStatus();
}

absl::Status Conversion::MakeOutput(const ConversionRequest& request) {
  if (to_ != Layout::kSame && optimizer_) return MakeOptimizer(request);
  const WrapperNames& wrapper_names = request.wrapper_names;
  if (to_ != Layout::kSame || !wrapper_names.prefixes.empty()) {
    WINDLASS_ASSIGN_OR_RETURN(unwrapped_,
                              StripWrapperNames(input_.tensors, wrapper_names));
  }
  if (!unwrapped_.empty()) {
    auto before = input_.tensors.begin();
    for (const NamedTensor& named : unwrapped_) {
      report_.unwrapped += named.name != before++->name;
    }
  }
  // Names of native models were never published.
  if (to_ == Layout::kNative) input_.published = Published();
  if (to_ != Layout::kSame) {
    WINDLASS_RETURN_IF_ERROR(FindInputLayout(request, tensors()));
    absl::StatusOr<StateDict> made = Change(request, tensors());
    if (!made.ok() && report_.unwrapped > 0) {
      return Annotate(made.status(), "names being stripped of wrappers");
    }
    WINDLASS_ASSIGN_OR_RETURN(made_, std::move(made));
  }
  return CheckOutput();
}

// Told by the names; what both layouts have is converted as if it were not yet.
absl::Status Conversion::FindInputLayout(const ConversionRequest& request,
                                         const StateDict& tensors) {
  const LayoutEvidence evidence = FindLayoutEvidence(*adapter_, tensors);
  if (evidence.hf != nullptr && evidence.native != nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(
        "tensor \"", evidence.native->name,
        "\": found a name of the native layout beside \"", evidence.hf->name,
        "\", which is of the HF layout; expected one layout"));
  }
  from_ = to_ == Layout::kHf ? Layout::kNative : Layout::kHf;
  report_.input_layout = "";
  if (evidence.hf != nullptr) from_ = Layout::kHf;
  if (evidence.native != nullptr) from_ = Layout::kNative;
  if (evidence.hf != nullptr || evidence.native != nullptr) {
    report_.input_layout = std::string(LayoutName(from_));
  }
  if (from_ == to_ && to_ == Layout::kHf && request.device_mesh.ep_size > 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "tensor \"", evidence.hf->name,
        "\": found a name of the HF layout, of which there are no shares of "
        "experts, expected native names"));
  }
  return absl::OkStatus();
}

bool Conversion::ChangesNothing() const {
  return from_ == to_ &&
         absl::c_equal(input_.tensors, output(),
                       [](const NamedTensor& a, const NamedTensor& b) {
                         return a.name == b.name &&
                                a.tensor.source() == b.tensor.source();
                       });
}

absl::StatusOr<StateDict> Conversion::Change(const ConversionRequest& request,
                                             const StateDict& tensors) const {
  if (from_ == to_) return Rewrite(request, tensors);
  return Apply(*adapter_, to_, tensors);
}

absl::StatusOr<StateDict> Conversion::Rewrite(const ConversionRequest& request,
                                              const StateDict& tensors) const {
  const StateDictAdapter& reader = reader_ != nullptr ? *reader_ : *adapter_;
  AskedChanges asked;
  asked.lora = request.v4_compatible;
  WINDLASS_ASSIGN_OR_RETURN(
      const JsonFields options,
      JsonFields::Parse(request.adapter_options, "adapter_options"));
  for (const std::string& name : options.Names()) {
    if (name == kPeftLayout) {
      asked.lora = true;
    } else if (name == "dtype") {
      asked.casts = true;
    } else if (!absl::c_linear_search(kDescribing, name)) {
      asked.others = true;
    }
  }
  const bool unpack =
      absl::c_any_of(kUnpacking, [&options](absl::string_view name) {
        return options.Has(name) &&
               !options.GetBoolOr(name, true).value_or(true);
      });
  asked.unpack =
      (unpack || request.dtype.has_value()) && FindCodes(tensors) != nullptr;
  if (to_ == Layout::kHf) {
    asked.excluded =
        hf_options_.exclude_key_regex.With(NameFilter::Anchor::kSearch);
  }
  return RewriteInSameLayout(
      tensors, asked,
      [&](const StateDict& before) -> absl::StatusOr<StateDict> {
        if (to_ == Layout::kNative) {
          WINDLASS_ASSIGN_OR_RETURN(const StateDict hf, ApplyWholeToHf(before));
          return Apply(*adapter_, Layout::kNative, hf);
        }
        WINDLASS_ASSIGN_OR_RETURN(const StateDict native,
                                  Apply(reader, Layout::kNative, before));
        return Apply(*adapter_, Layout::kHf, native);
      });
}

// What is done to the output whatever the adapter: it is filled, cast, and put
// in order.
absl::Status Conversion::FinishOutput(const ConversionRequest& request) {
  for (const auto& base : {&like_, &fill_from_}) {
    if (base->has_value()) WINDLASS_RETURN_IF_ERROR(CheckBaseLayout(**base));
  }
  if (fill_from_.has_value()) {
    absl::StatusOr<StateDict> filled =
        FillFrom(fill_from_->tensors, output(), &report_.filled);
    if (!filled.ok()) {
      return Annotate(filled.status(), fill_from_->folder.path);
    }
    made_ = *std::move(filled);
  }
  if (like_.has_value()) {
    WINDLASS_RETURN_IF_ERROR(CompareWithLike(request.allow_differences));
  }
  OutputDTypes dtypes;
  dtypes.asked = request.dtype;
  if (like_.has_value()) dtypes.like = &like_->tensors;
  dtypes.published = input_.published.dtypes;
  if (!dtypes.empty()) {
    if (request.dtype.has_value()) {
      WINDLASS_RETURN_IF_ERROR(CheckNoCodes());
      if (adapter_ != nullptr) {
        for (auto& [name, dtype] :
             to_ == Layout::kHf
                 ? adapter_->ForcedHfDtypeMapping(output())
                 : adapter_->ForcedNativeDtypeMapping(output())) {
          dtypes.forced.emplace(name, dtype);
        }
      }
    }
    dtypes.as_they_are.insert(report_.filled.begin(), report_.filled.end());
    WINDLASS_ASSIGN_OR_RETURN(made_, CastTensors(output(), dtypes));
  }
  if (like_.has_value()) {
    WINDLASS_ASSIGN_OR_RETURN(made_, InOrderOf(like_->tensors, output()));
  }
  report_.summary = Summarize(input_.tensors, output());
  return absl::OkStatus();
}

absl::Status Conversion::CompareWithLike(bool allow_differences) {
  report_.differences = DifferencesFrom(like_->tensors, output());
  const size_t count = report_.differences.size();
  if (count == 0 || allow_differences) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      like_->folder.path, ": ", report_.differences[0],
      count > 1 ? absl::StrCat(" (and ", count - 1, " more differences)")
                : ""));
}

// Floats are not to be cast where they may be scales, or are announced as
// something else than values.
absl::Status Conversion::CheckNoCodes() const {
  if (const NamedTensor* const codes = FindCodes(output())) {
    return absl::InvalidArgumentError(
        absl::StrCat(input_.folder.path, ": tensor \"", codes->name,
                     "\": found ", codes->tensor.ToString(),
                     " of a quantised model, expected values to cast"));
  }
  return absl::OkStatus();
}

// What no row of an adapter has taken goes on as it is. Of a quantised layout
// that would be no native model, and a model of which nothing is left was in
// the other layout already.
absl::Status Conversion::CheckOutput() const {
  if (output().empty() && !input_.tensors.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("nothing is left of ", input_.tensors.size(),
                     " tensors, expected a model in the ",
                     to_ == Layout::kHf ? "native" : "HF", " layout"));
  }
  if (to_ != Layout::kNative || adapter_->stages() == nullptr ||
      adapter_->stages()->empty()) {
    return absl::OkStatus();
  }
  for (const NamedTensor& named : output()) {
    if (!IsQuantisedName(named.name)) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "tensor \"", named.name,
        "\": found a quantised layout that this adapter does not know, "
        "expected weights"));
  }
  return absl::OkStatus();
}

std::optional<Location> Conversion::SideFile(absl::string_view name) const {
  for (const auto& [found, location] :
       SideFilesOf(input_, like_.has_value() ? &*like_ : nullptr)) {
    if (found == name) return location;
  }
  return std::nullopt;
}

// Weights that are no longer packed must not be announced as if they were. What
// the way back to HF packs again is still announced beside native weights.
absl::Status Conversion::EditConfig(SaveOptions* options) {
  constexpr char kField[] = "quantization_config";
  const std::optional<Location> location = SideFile(kConfigName);
  if (!location.has_value() || optimizer_) return absl::OkStatus();
  WINDLASS_ASSIGN_OR_RETURN(const std::string text, ReadConfigText(*location));
  std::string edited = text;
  if (to_ != Layout::kSame && FindPacked(output()) == nullptr) {
    edited = WithoutMembers(text, kField);
  }
  if (edited.size() != text.size() && to_ == Layout::kNative) {
    // A rank's share may have no way back.
    const absl::StatusOr<StateDict>& back = WayBack();
    if (back.ok() && FindPacked(*back) != nullptr) edited = text;
  }
  if (edited.size() != text.size()) {
    report_.edited.push_back(
        absl::StrCat(kConfigName, ": without ", kField,
                     ", as no tensor is quantised any more"));
  }
  if (dtype_.has_value()) {
    WINDLASS_ASSIGN_OR_RETURN(const ModelConfig config,
                              ModelConfig::Parse(edited, location->path));
    if (casts_all_ && to_ != Layout::kNative && config.Has(kField)) {
      return absl::InvalidArgumentError(
          absl::StrCat(location->path, ": found ", kField,
                       ", expected none: floats that "
                       "are cast may be scales"));
    }
    std::string with_dtype = WithConfigDType(edited, *dtype_);
    if (with_dtype != edited) {
      report_.edited.push_back(
          absl::StrCat(kConfigName, ": dtype ", TorchDTypeName(*dtype_)));
    }
    edited = std::move(with_dtype);
  }
  if (edited != text) {
    options->edited.push_back({kConfigName, std::move(edited)});
  }
  return absl::OkStatus();
}

// adapter_config.json says which modules the tensors are of.
absl::Status Conversion::EditPeftConfig(SaveOptions* options) {
  const std::optional<Location> location = SideFile(kPeftConfigName);
  if (!location.has_value() || to_ == Layout::kSame || optimizer_ ||
      !HasLora(tensors())) {
    return absl::OkStatus();
  }
  WINDLASS_ASSIGN_OR_RETURN(const std::string text, ReadConfigText(*location));
  for (const StateDict* side : {&tensors(), &output()}) {
    WINDLASS_RETURN_IF_ERROR(
        Annotate(CheckPeftRank(text, *side), location->path));
  }
  absl::StatusOr<std::string> edited = FollowLora(text, tensors(), output());
  if (!edited.ok()) return Annotate(edited.status(), location->path);
  if (*edited == text) return absl::OkStatus();
  options->edited.push_back({kPeftConfigName, *std::move(edited)});
  report_.edited.push_back(absl::StrCat(
      kPeftConfigName, ": targets as modules and parameters are called there"));
  return absl::OkStatus();
}

// What is no tensor goes along where the layout stays, or follows parameters.
void Conversion::AddObjects(SaveOptions* options) {
  const bool follows = optimizer_ && to_ != Layout::kSame;
  const auto format = FindFormat(options->format);
  if (format.ok() && (*format)->HasObjects() &&
      (follows || to_ == Layout::kSame)) {
    options->objects = follows ? &objects_ : &input_.object_bytes;
    return;
  }
  report_.left_out_objects = input_.objects;
}

absl::StatusOr<StateDict> Conversion::Apply(const StateDictAdapter& adapter,
                                            Layout to,
                                            const StateDict& tensors) const {
  return to == Layout::kHf
             ? adapter.ToHf(tensors, hf_options_)
             : adapter.FromHf(tensors,
                              FromHfOptions{hf_options_.device_mesh,
                                            hf_options_.optimizer_state});
}

// Names are excluded on a way to HF that is asked for, not on others.
absl::StatusOr<StateDict> Conversion::ApplyWholeToHf(
    const StateDict& tensors) const {
  ToHfOptions options = hf_options_;
  options.exclude_key_regex = NameFilter();
  return adapter_->ToHf(tensors, options);
}

absl::StatusOr<StateDict> Conversion::Undo(const StateDict& tensors) const {
  return to_ == Layout::kHf ? Apply(*adapter_, Layout::kNative, tensors)
                            : ApplyWholeToHf(tensors);
}

const absl::StatusOr<StateDict>& Conversion::WayBack() {
  if (back_.has_value()) return *back_;
  // What came from elsewhere is not INPUT's to be given back.
  const StateDict& own = OwnOutput();
  if (!optimizer_) return back_.emplace(Undo(own));
  WrapperNames as_they_are;
  as_they_are.keep = true;
  absl::StatusOr<OptimizerState> state = ConvertOptimizerState(
      own, {}, as_they_are,
      [this](const StateDict& parameters) { return Undo(parameters); });
  if (!state.ok()) return back_.emplace(state.status());
  return back_.emplace(std::move(state->tensors));
}

absl::StatusOr<std::vector<Loss>> Conversion::Losses() {
  if (to_ == Layout::kSame || from_ == to_) {
    // What is written otherwise in the same layout can be written so again.
    const StateDict& own = OwnOutput();
    std::vector<Loss> losses = FindLosses(tensors(), own, report_.summary, own);
    losses.erase(std::remove_if(losses.begin(), losses.end(),
                                [](const Loss& loss) {
                                  return loss.reason == "stored otherwise";
                                }),
                 losses.end());
    return losses;
  }
  const absl::StatusOr<StateDict>& back = WayBack();
  if (!back.ok()) return Annotate(back.status(), "on the way back");
  return FindLosses(tensors(), OwnOutput(), report_.summary, *back);
}

const StateDict& Conversion::OwnOutput() {
  if (report_.filled.empty()) return output();
  if (own_.has_value()) return *own_;
  const absl::flat_hash_set<absl::string_view> filled(report_.filled.begin(),
                                                      report_.filled.end());
  own_.emplace();
  for (const auto& [name, tensor] : output()) {
    // No name comes twice.
    if (!filled.contains(name)) own_->Insert(name, tensor).IgnoreError();
  }
  return *own_;
}

absl::Status Conversion::Check() {
  WINDLASS_ASSIGN_OR_RETURN(report_.losses, Losses());
  if (report_.losses->empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(input_.folder.path, ": ", DescribeLosses(*report_.losses)));
}

absl::Status Conversion::Write(const TransferOptions& options) const {
  if (in_place_.has_value()) {
    return WithoutExceptions([&] {
      return RenameInPlace(*in_place_, input_.folder, tag_, options.sync);
    });
  }
  return NameLauncher(SaveCheckpoint(*save_, options));
}

absl::Status Conversion::Run(const TransferOptions& options) {
  if (report_.already_converted) return absl::OkStatus();
  if (report_.losses.has_value()) return Write(options);
  // What is lost is found out while the bytes flow.
  return ParallelFor(2, [&](int turn) {
    if (turn == 0) return Write(options);
    absl::StatusOr<std::vector<Loss>> losses = Losses();
    if (losses.ok()) {
      report_.losses = *std::move(losses);
    } else {
      report_.losses = {Loss{std::string(losses.status().message()), 0, {}}};
    }
    back_.reset();
    return absl::OkStatus();
  });
}

absl::StatusOr<ConversionReport> Convert(const ConversionRequest& request,
                                         const TransferOptions& options) {
  WINDLASS_ASSIGN_OR_RETURN(
      Conversion conversion,
      Conversion::Plan(request, options, /*dry_run=*/false));
  WINDLASS_RETURN_IF_ERROR(conversion.Run(options));
  return conversion.report();
}

}  // namespace windlass
