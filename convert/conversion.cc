#include "windlass/convert/conversion.h"

#include <cstdlib>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/model_config.h"
#include "windlass/core/regex.h"
#include "windlass/core/status_macros.h"
#include "windlass/core/version.h"
#include "windlass/core/without_exceptions.h"
#include "windlass/io/in_place.h"

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
  constexpr int64_t kMaxBytes = 64 << 20;
  Location location{folder.storage, JoinPath(folder.path, "config.json")};
  if (!request.config.empty()) {
    WINDLASS_ASSIGN_OR_RETURN(location, ResolveLocation(request.config));
  }
  WINDLASS_ASSIGN_OR_RETURN(const Storage::Kind kind,
                            location.storage->GetKind(location.path));
  if (kind == Storage::Kind::kMissing && request.config.empty()) {
    if (request.adapter != "auto") return ModelConfig();
    return absl::NotFoundError(absl::StrCat(
        location.path,
        ": no such file; give another config, or an adapter by its name"));
  }
  WINDLASS_ASSIGN_OR_RETURN(
      const std::string text,
      ReadFile(*location.storage, location.path, kMaxBytes));
  return ModelConfig::Parse(text, location.path);
}

// An adapter, chosen and built, and what is asked of it.
struct Chosen {
  const AdapterInfo* info = nullptr;
  std::unique_ptr<StateDictAdapter> adapter;
  ToHfOptions options;
};

absl::StatusOr<Chosen> ChooseAdapter(const ConversionRequest& request,
                                     const Location& folder) {
  Chosen chosen;
  if (request.adapter != "auto") {
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
  return chosen;
}

// What identifies the conversion that a journal is of.
std::string Tag(const ConversionRequest& request, const AdapterInfo& info) {
  return absl::StrCat("windlass ", kVersion, " to ", LayoutName(request.to),
                      ", adapter ", info.name, " ", request.adapter_options,
                      ", without ", request.exclude_key_regex,
                      request.v4_compatible ? ", v4_compatible" : "");
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

std::vector<ReportedFile> ListFiles(const TransferPlan& plan) {
  std::vector<ReportedFile> files;
  for (const PlannedFile& file : plan.files) {
    const int64_t tensors = file.header.empty() ? 0 : file.tensors.size();
    files.push_back({file.name, file.size, tensors});
  }
  for (const ClosingFile& file : plan.closing) {
    files.push_back({file.name, static_cast<int64_t>(file.contents.size()), 0});
  }
  return files;
}

}  // namespace

absl::string_view LayoutName(Layout layout) {
  return layout == Layout::kHf ? "hf" : "native";
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
    WINDLASS_ASSIGN_OR_RETURN(const Chosen chosen,
                              ChooseAdapter(request, folder));
    ConversionReport& report = conversion.report_;
    report.adapter = chosen.info->name;
    conversion.tag_ = Tag(request, *chosen.info);
    if (!dry_run) {
      WINDLASS_ASSIGN_OR_RETURN(conversion.lock_, LockInput(folder, in_place));
    }
    if (in_place && !dry_run) {
      WINDLASS_RETURN_IF_ERROR(
          FinishInPlace(folder, conversion.tag_, options.sync).status());
    }
    WINDLASS_ASSIGN_OR_RETURN(conversion.input_,
                              OpenCheckpoint(request.input, request.open));
    const Checkpoint& input = conversion.input_;
    report.left_out = input.left_out;
    report.left_behind = input.left_behind;
    if (in_place) {
      WINDLASS_ASSIGN_OR_RETURN(report.already_converted,
                                IsConvertedInPlace(input, conversion.tag_));
      if (report.already_converted) return conversion;
    }
    absl::StatusOr<StateDict> output =
        request.to == Layout::kHf
            ? chosen.adapter->ToHf(input.tensors, chosen.options)
            : chosen.adapter->FromHf(input.tensors,
                                     FromHfOptions{request.device_mesh});
    if (!output.ok()) return Annotate(output.status(), input.folder.path);
    report.summary = Summarize(input.tensors, *output);
    if (in_place) {
      WINDLASS_ASSIGN_OR_RETURN(conversion.in_place_,
                                PlanInPlace(*output, input));
      return conversion;
    }
    WINDLASS_ASSIGN_OR_RETURN(
        conversion.save_,
        PlanSave(*output, input, request.output, request.save));
    report.files = ListFiles(conversion.save_->transfer);
    report.bytes = conversion.save_->transfer.bytes();
    if (dry_run) {
      WINDLASS_RETURN_IF_ERROR(CheckSave(*conversion.save_, options));
    }
    return conversion;
  });
}

absl::Status Conversion::Run(const TransferOptions& options) const {
  if (report_.already_converted) return absl::OkStatus();
  if (in_place_.has_value()) {
    return WithoutExceptions([&] {
      return RenameInPlace(*in_place_, input_.folder, tag_, options.sync);
    });
  }
  return NameLauncher(SaveCheckpoint(*save_, options));
}

absl::StatusOr<ConversionReport> Convert(const ConversionRequest& request,
                                         const TransferOptions& options) {
  WINDLASS_ASSIGN_OR_RETURN(
      const Conversion conversion,
      Conversion::Plan(request, options, /*dry_run=*/false));
  WINDLASS_RETURN_IF_ERROR(conversion.Run(options));
  return conversion.report();
}

}  // namespace windlass
