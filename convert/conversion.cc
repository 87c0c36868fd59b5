#include "windlass/convert/conversion.h"

#include <cstdlib>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "windlass/convert/rules_file.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/dtype.h"
#include "windlass/core/json.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/layout_table.h"
#include "windlass/core/model_config.h"
#include "windlass/core/quantised_names.h"
#include "windlass/core/regex.h"
#include "windlass/core/status_macros.h"
#include "windlass/core/tensor_ops.h"
#include "windlass/core/version.h"
#include "windlass/core/without_exceptions.h"
#include "windlass/io/in_place.h"
#include "windlass/io/model_config_file.h"
#include "windlass/io/parallel.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace windlass {
namespace {

constexpr char kBadRequest[] = "windlass/bad_request";

absl::Status BadRequest(absl::Status status) {
  if (!status.ok()) status.SetPayload(kBadRequest, absl::Cord());
  return status;
}

// The request's, or that beside the tensors. Without either, an adapter that
// was named may do with an empty one.
absl::StatusOr<ModelConfig> LoadConfig(const ConversionRequest& request,
                                       const Location& folder) {
  Location location{folder.storage, JoinPath(folder.path, kConfigName)};
  if (!request.config.empty()) {
    WINDLASS_ASSIGN_OR_RETURN(location, ResolveLocation(request.config));
  }
  WINDLASS_ASSIGN_OR_RETURN(Storage::Kind kind,
                            location.storage->GetKind(location.path));
  if (kind == Storage::Kind::kMissing && request.config.empty()) {
    const std::string kept =
        JoinPath(JoinPath(folder.path, kHfMetadata), kConfigName);
    WINDLASS_ASSIGN_OR_RETURN(kind, folder.storage->GetKind(kept));
    if (kind != Storage::Kind::kMissing) location.path = kept;
  }
  if (kind == Storage::Kind::kMissing && request.config.empty()) {
    if (request.adapter != "auto" || !request.rules.empty()) {
      return ModelConfig();
    }
    return absl::NotFoundError(absl::StrCat(
        location.path,
        ": no such file; give another config, or an adapter by its name"));
  }
  return ReadModelConfig(location);
}

// An adapter, chosen and built, and what is asked of it.
struct Chosen {
  const AdapterInfo* info = nullptr;
  std::shared_ptr<const AdapterInfo> own_info;  // of a file of rules
  std::unique_ptr<StateDictAdapter> adapter;
  ToHfOptions options;
  // config.json announces experts, of which the adapter has no row.
  bool no_experts = false;
};

absl::StatusOr<Chosen> ChooseAdapter(const ConversionRequest& request,
                                     const Location& folder) {
  Chosen chosen;
  if (!request.rules.empty()) {
    if (request.output.empty()) {
      return BadRequest(absl::InvalidArgumentError(
          "found rules, expected a registered adapter in place: it is known "
          "by its name who has begun"));
    }
    WINDLASS_ASSIGN_OR_RETURN(AdapterInfo info, ReadRulesFile(request.rules));
    chosen.own_info = std::make_shared<const AdapterInfo>(std::move(info));
    chosen.info = chosen.own_info.get();
  } else if (request.adapter != "auto") {
    const auto found = AdapterRegistry::FindByName(request.adapter);
    if (!found.ok()) return BadRequest(found.status());
    chosen.info = *found;
  }
  const auto options =
      JsonFields::Parse(request.adapter_options, "adapter_options");
  if (!options.ok()) return BadRequest(options.status());
  const auto exclude = NameFilter::Create(request.exclude_key_regex);
  if (!exclude.ok()) return BadRequest(exclude.status());
  chosen.options = {*exclude, request.v4_compatible, request.device_mesh};

  WINDLASS_ASSIGN_OR_RETURN(const ModelConfig config,
                            LoadConfig(request, folder));
  if (chosen.info == nullptr) {
    WINDLASS_ASSIGN_OR_RETURN(chosen.info,
                              AdapterRegistry::FindByConfig(config));
  }
  WINDLASS_RETURN_IF_ERROR(
      BadRequest(AdapterRegistry::CheckOptions(*chosen.info, *options)));
  const DeviceMesh& mesh = request.device_mesh;
  if (mesh.ep_size > 1 && !chosen.info->expert_parallel) {
    return BadRequest(absl::InvalidArgumentError(
        absl::StrCat("adapter \"", chosen.info->name,
                     "\" has no experts to share among ", mesh.ep_size)));
  }
  WINDLASS_ASSIGN_OR_RETURN(
      chosen.adapter, AdapterRegistry::Create(*chosen.info, config, *options));
  // One without any stage takes every model as it is.
  const auto* stages = chosen.adapter->stages();
  chosen.no_experts = stages != nullptr && !stages->empty() &&
                      !KnowExperts(*stages) && config.AnnouncesExperts();
  return chosen;
}

// A dense model's adapter would pass experts on as they are.
absl::Status CheckNoExperts(const StateDict& tensors, const AdapterInfo& info) {
  const auto expert = absl::c_find_if(tensors, [](const NamedTensor& named) {
    return absl::StrContains(named.name, ".experts.");
  });
  if (expert == tensors.end()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("tensor \"", expert->name,
                   "\": found an expert, as config.json says, "
                   "expected none: the adapter \"",
                   info.name, "\" is of dense models"));
}

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

// Whether tensors are in codes that need the config's word to be read.
bool HoldsPacked(const StateDict& tensors) {
  return absl::c_any_of(tensors, [](const NamedTensor& named) {
    const DType dtype = named.tensor.dtype();
    if (IsFloat(dtype)) return DTypeBits(dtype) <= 8;
    return dtype != DType::kBool && named.tensor.rank() >= 2 &&
           (DTypeBits(dtype) <= 8 || IsQuantisedName(named.name));
  });
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

// Floats in the dtypes that they were published in; codes and what was
// published as something else stay as they are.
absl::StatusOr<StateDict> CastAsPublished(
    const StateDict& tensors,
    const absl::flat_hash_map<std::string, DType>& dtypes) {
  const auto is_ordinary = [](DType dtype) {
    return IsFloat(dtype) && DTypeBits(dtype) > 8;
  };
  StateDict cast;
  cast.Reserve(tensors.size());
  for (const NamedTensor& named : tensors) {
    Tensor tensor = named.tensor;
    const auto found = dtypes.find(named.name);
    if (found != dtypes.end() && is_ordinary(found->second) &&
        is_ordinary(tensor.dtype())) {
      WINDLASS_ASSIGN_OR_RETURN(tensor, Cast(tensor, found->second));
    }
    WINDLASS_RETURN_IF_ERROR(cast.Insert(named.name, std::move(tensor)));
  }
  return cast;
}

// What a request that keeps the layout cannot ask for as well.
absl::Status CheckSame(const ConversionRequest& request) {
  const ConversionRequest plain;
  const char* what = nullptr;
  if (request.adapter != plain.adapter) what = "an adapter";
  if (request.adapter_options != plain.adapter_options) what = "its options";
  if (!request.rules.empty()) what = "rules";
  if (!request.config.empty()) what = "a config";
  if (request.exclude_key_regex != plain.exclude_key_regex) {
    what = "names to exclude";
  }
  if (request.v4_compatible) what = "v4_compatible";
  if (request.device_mesh.ep_size > 1) what = "a share of the experts";
  if (request.output.empty()) what = "no output";
  if (what == nullptr) return absl::OkStatus();
  return BadRequest(absl::InvalidArgumentError(absl::StrCat(
      "found ", what, ", expected none where the layout stays the same")));
}

// The formats exist, whatever else becomes of the request.
absl::Status CheckFormats(const ConversionRequest& request) {
  WINDLASS_RETURN_IF_ERROR(BadRequest(CheckFormatName(request.open.format)));
  return BadRequest(FindFormat(request.save.format).status());
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

absl::string_view LayoutName(Layout layout) {
  switch (layout) {
    case Layout::kNative:
      return "native";
    case Layout::kHf:
      return "hf";
    case Layout::kSame:
      break;
  }
  return "same";
}

bool IsBadRequest(const absl::Status& status) {
  return status.GetPayload(kBadRequest).has_value();
}

absl::StatusOr<Conversion> Conversion::Plan(const ConversionRequest& request,
                                            const TransferOptions& options,
                                            bool dry_run) {
  return WithoutExceptions([&]() -> absl::StatusOr<Conversion> {
    const bool in_place = request.output.empty();
    Conversion conversion;
    WINDLASS_ASSIGN_OR_RETURN(const CheckpointPlace place,
                              FindCheckpoint(request.input));
    const Location& folder = place.folder;
    WINDLASS_RETURN_IF_ERROR(CheckFormats(request));
    Chosen chosen;
    if (request.to == Layout::kSame) {
      WINDLASS_RETURN_IF_ERROR(CheckSame(request));
    } else {
      WINDLASS_ASSIGN_OR_RETURN(chosen, ChooseAdapter(request, folder));
      conversion.report_.adapter = chosen.info->name;
      conversion.tag_ = Tag(request, *chosen.info);
    }
    ConversionReport& report = conversion.report_;
    conversion.to_ = request.to;
    conversion.adapter_ = std::move(chosen.adapter);
    conversion.hf_options_ = chosen.options;
    if (!dry_run) {
      WINDLASS_ASSIGN_OR_RETURN(conversion.lock_, LockInput(folder, in_place));
    }
    if (in_place && !dry_run) {
      WINDLASS_RETURN_IF_ERROR(
          FinishInPlace(folder, conversion.tag_, options.sync).status());
    }
    WINDLASS_ASSIGN_OR_RETURN(conversion.input_,
                              OpenCheckpoint(request.input, request.open));
    ReleaseFreeMemory();
    const Checkpoint& input = conversion.input_;
    report.input_format = std::string(input.format->name());
    report.output_format = in_place ? report.input_format : request.save.format;
    report.left_out = input.left_out;
    report.left_behind = input.left_behind;
    if (in_place) {
      WINDLASS_ASSIGN_OR_RETURN(report.already_converted,
                                IsConvertedInPlace(input, conversion.tag_));
      if (report.already_converted) return conversion;
    }
    if (chosen.no_experts) {
      WINDLASS_RETURN_IF_ERROR(Annotate(
          CheckNoExperts(input.tensors, *chosen.info), input.folder.path));
    }
    WINDLASS_RETURN_IF_ERROR(Annotate(
        conversion.MakeOutput(request.wrapper_names), input.folder.path));
    if (request.check) WINDLASS_RETURN_IF_ERROR(conversion.Check());
    if (in_place) {
      WINDLASS_ASSIGN_OR_RETURN(conversion.in_place_,
                                PlanInPlace(conversion.output(), input));
      return conversion;
    }
    SaveOptions save = request.save;
    WINDLASS_RETURN_IF_ERROR(conversion.EditConfig(&save));
    WINDLASS_ASSIGN_OR_RETURN(
        conversion.save_,
        PlanSave(conversion.output(), input, request.output, save));
    if (conversion.save_->is_file) {
      report.edited.clear();
      report.left_behind.insert(report.left_behind.end(),
                                input.side_files.begin(),
                                input.side_files.end());
    }
    report.files = ListFiles(conversion.save_->transfer);
    report.bytes = conversion.save_->transfer.bytes();
    if (dry_run) {
      WINDLASS_RETURN_IF_ERROR(CheckSave(*conversion.save_, options));
    }
    return conversion;
  });
}

absl::Status Conversion::MakeOutput(const WrapperNames& wrapper_names) {
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
    absl::StatusOr<StateDict> made = Apply(to_, tensors());
    if (!made.ok() && report_.unwrapped > 0) {
      return Annotate(made.status(), "names being stripped of wrappers");
    }
    WINDLASS_ASSIGN_OR_RETURN(made_, std::move(made));
  }
  WINDLASS_RETURN_IF_ERROR(CheckOutput());
  if (!input_.published.dtypes.empty()) {
    WINDLASS_ASSIGN_OR_RETURN(
        made_, CastAsPublished(output(), input_.published.dtypes));
  }
  report_.summary = Summarize(input_.tensors, output());
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

// Weights that are no longer packed must not be announced as if they were. What
// the way back to HF packs again is still announced beside native weights.
absl::Status Conversion::EditConfig(SaveOptions* options) {
  constexpr char kField[] = "quantization_config";
  if (to_ == Layout::kSame ||
      !absl::c_linear_search(input_.side_files, kConfigName) ||
      HoldsPacked(output())) {
    return absl::OkStatus();
  }
  WINDLASS_ASSIGN_OR_RETURN(
      const std::string text,
      ReadConfigText(
          {input_.folder.storage, SideFilePath(input_, kConfigName)}));
  std::string edited = WithoutMembers(text, kField);
  if (edited.size() == text.size()) return absl::OkStatus();
  if (to_ == Layout::kNative) {
    // A rank's share may have no way back.
    const absl::StatusOr<StateDict>& back = WayBack();
    if (back.ok() && HoldsPacked(*back)) return absl::OkStatus();
  }
  options->edited.push_back({kConfigName, std::move(edited)});
  report_.edited.push_back(
      absl::StrCat(kConfigName, ": without ", kField,
                   ", as no tensor is quantised any more"));
  return absl::OkStatus();
}

absl::StatusOr<StateDict> Conversion::Apply(Layout to,
                                            const StateDict& tensors) const {
  return to == Layout::kHf
             ? adapter_->ToHf(tensors, hf_options_)
             : adapter_->FromHf(tensors,
                                FromHfOptions{hf_options_.device_mesh});
}

const absl::StatusOr<StateDict>& Conversion::WayBack() {
  if (back_.has_value()) return *back_;
  if (to_ == Layout::kHf)
    return back_.emplace(Apply(Layout::kNative, output()));
  // Names are excluded on a way to HF that is asked for, not on the way back.
  ToHfOptions options = hf_options_;
  options.exclude_key_regex = NameFilter();
  return back_.emplace(adapter_->ToHf(output(), options));
}

absl::StatusOr<std::vector<Loss>> Conversion::Losses() {
  if (to_ == Layout::kSame) return std::vector<Loss>();
  const absl::StatusOr<StateDict>& back = WayBack();
  if (!back.ok()) return Annotate(back.status(), "on the way back");
  return FindLosses(tensors(), output(), report_.summary, *back);
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
