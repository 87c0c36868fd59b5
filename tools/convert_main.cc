// convert: moves a checkpoint from one layout to the other.
//
// A library with a main(), so that a repository with adapters of its own can
// link them into a convert of its own (examples/custom_adapter).

#include <signal.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/conversion_summary.h"
#include "windlass/core/json.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/model_config.h"
#include "windlass/core/regex.h"
#include "windlass/core/state_dict.h"
#include "windlass/core/state_dict_adapter.h"
#include "windlass/core/status_macros.h"
#include "windlass/core/version.h"
#include "windlass/io/checkpoint.h"
#include "windlass/io/in_place.h"
#include "windlass/io/storage/storage.h"
#include "windlass/io/transfer/digest.h"
#include "windlass/io/transfer/transfer.h"
#include "windlass/tools/command_line.h"
#include "windlass/tools/progress.h"

namespace windlass {
namespace {

constexpr Flag kFlags[] = {
    {"to", "native|hf", "the layout to write (required)"},
    {"adapter", "auto|NAME", "auto: by INPUT's config.json"},
    {"adapter_options", "JSON", "see //tools:adapters"},
    {"config", "PATH", "config.json, where INPUT has none"},
    {"exclude_key_regex", "REGEX", "HF names to drop, matched at their start"},
    {"ep_size", "N", "write only one of N expert-parallel ranks' share"},
    {"ep_rank", "K", "which one, from 0"},
    {"max_shard_size", "5GB", "fill new shards, not the input's"},
    {"v4_compatible", "true|false", "expert LoRA with a key an expert"},
    {"threads", "N", "the cores, 8 at most, when not given"},
    {"in_place", nullptr, "rewrite INPUT's headers; only names may change"},
    {"resume", nullptr, "go on where a killed conversion stopped"},
    {"checksum", "none|xxh3|sha256", "digests for //tools:verify"},
    {"nofsync", nullptr, "do not wait for the device (scratch work)"},
    {"overwrite", nullptr, "replace the checkpoint in OUTPUT"},
    {"dry_run", nullptr, "print the plan; write nothing"},
    {"progress", "auto|bar|plain|none", "on stderr"},
    {"json", nullptr, "report as JSON on stdout"},
};

constexpr char kUsage[] =
    "Moves a checkpoint between Hugging Face's layout and the native one of\n"
    "NeMo Automodel.\n\n"
    "  convert --to=native Qwen3.5-0.8B /tmp/native\n"
    "  convert --to=hf --dry_run /tmp/native /tmp/hf\n\n"
    "convert [flags] INPUT OUTPUT\n"
    "convert --in_place [flags] INPUT\n";

// What the command line says.
struct Request {
  bool to_hf = false;
  std::string input;
  std::string output;
  std::string adapter;
  std::string config;
  JsonFields adapter_options;
  ToHfOptions to_hf_options;
  SaveOptions save;
  TransferOptions transfer;
  bool in_place = false;
  bool dry_run = false;
  bool json = false;
  std::string progress;
};

absl::StatusOr<DeviceMesh> ParseMesh(const CommandLine& line) {
  DeviceMesh mesh;
  WINDLASS_ASSIGN_OR_RETURN(mesh.ep_size,
                            line.GetInt("ep_size", 1, 1, 1 << 20));
  WINDLASS_ASSIGN_OR_RETURN(mesh.ep_rank,
                            line.GetInt("ep_rank", 0, 0, mesh.ep_size - 1));
  return mesh;
}

absl::StatusOr<Request> ParseRequest(const CommandLine& line) {
  Request request;
  WINDLASS_ASSIGN_OR_RETURN(request.in_place, line.GetBool("in_place"));
  const size_t expected = request.in_place ? 1 : 2;
  if (line.arguments().size() != expected) {
    return absl::InvalidArgumentError(
        absl::StrCat("found ", line.arguments().size(), " arguments, expected ",
                     request.in_place ? "INPUT alone" : "INPUT and OUTPUT"));
  }
  request.input = line.arguments()[0];
  if (!request.in_place) request.output = line.arguments()[1];
  if (!line.Has("to")) {
    return absl::InvalidArgumentError("expected --to=native or --to=hf");
  }
  WINDLASS_ASSIGN_OR_RETURN(const std::string to,
                            line.GetChoice("to", {"native", "hf"}));
  request.to_hf = to == "hf";
  request.adapter = line.Get("adapter", "auto");
  request.config = line.Get("config");
  WINDLASS_ASSIGN_OR_RETURN(request.adapter_options,
                            JsonFields::Parse(line.Get("adapter_options", "{}"),
                                              "--adapter_options"));
  WINDLASS_ASSIGN_OR_RETURN(
      request.to_hf_options.exclude_key_regex,
      NameFilter::Create(line.Get("exclude_key_regex", ".*_extra_state.*")));
  WINDLASS_ASSIGN_OR_RETURN(request.to_hf_options.device_mesh, ParseMesh(line));
  WINDLASS_ASSIGN_OR_RETURN(request.to_hf_options.v4_compatible,
                            line.GetBool("v4_compatible"));
  WINDLASS_ASSIGN_OR_RETURN(request.save.max_shard_bytes,
                            line.GetSize("max_shard_size", 0));
  WINDLASS_ASSIGN_OR_RETURN(request.save.overwrite, line.GetBool("overwrite"));
  const int cores = std::thread::hardware_concurrency();
  WINDLASS_ASSIGN_OR_RETURN(
      request.transfer.threads,
      line.GetInt("threads", std::clamp(cores, 1, 8), 1, 1024));
  WINDLASS_ASSIGN_OR_RETURN(request.transfer.resume, line.GetBool("resume"));
  WINDLASS_ASSIGN_OR_RETURN(const bool nofsync, line.GetBool("nofsync"));
  request.transfer.sync = !nofsync;
  WINDLASS_ASSIGN_OR_RETURN(
      const std::string digest,
      line.GetChoice("checksum", {"none", "xxh3", "sha256"}));
  request.transfer.digest = *ParseDigestKind(digest);
  WINDLASS_ASSIGN_OR_RETURN(request.dry_run, line.GetBool("dry_run"));
  WINDLASS_ASSIGN_OR_RETURN(request.json, line.GetBool("json"));
  WINDLASS_ASSIGN_OR_RETURN(
      request.progress,
      line.GetChoice("progress", {"auto", "bar", "plain", "none"}));
  return request;
}

// The folder of a checkpoint, which may be named by a file in it.
absl::StatusOr<Location> FindFolder(const std::string& input) {
  WINDLASS_ASSIGN_OR_RETURN(Location location, ResolveLocation(input));
  WINDLASS_ASSIGN_OR_RETURN(const Storage::Kind kind,
                            location.storage->GetKind(location.path));
  if (kind == Storage::Kind::kMissing) {
    return absl::NotFoundError(absl::StrCat(input, ": no such file or folder"));
  }
  if (kind == Storage::Kind::kFile) location.path = DirName(location.path);
  return location;
}

// --config's, or that beside the tensors. Without either, an adapter that was
// named may do with an empty one.
absl::StatusOr<ModelConfig> LoadConfig(const Request& request,
                                       const Location& folder) {
  constexpr int64_t kMaxBytes = 64 << 20;
  Location location{folder.storage, JoinPath(folder.path, "config.json")};
  if (!request.config.empty()) {
    WINDLASS_ASSIGN_OR_RETURN(location, ResolveLocation(request.config));
  } else {
    WINDLASS_ASSIGN_OR_RETURN(const Storage::Kind kind,
                              location.storage->GetKind(location.path));
    if (kind == Storage::Kind::kMissing) {
      if (request.adapter != "auto") return ModelConfig();
      return absl::NotFoundError(
          absl::StrCat(location.path,
                       ": no such file; give --config=PATH or --adapter=NAME"));
    }
  }
  WINDLASS_ASSIGN_OR_RETURN(
      const std::string text,
      ReadFile(*location.storage, location.path, kMaxBytes));
  return ModelConfig::Parse(text, location.path);
}

void PrintPlan(const SavePlan& plan, const ConversionSummary& summary) {
  for (const PlannedFile& file : plan.transfer.files) {
    std::printf("%12s  %6d tensors  %s\n", FormatBytes(file.size).c_str(),
                static_cast<int>(file.header.empty() ? 0 : file.tensors.size()),
                file.name.c_str());
  }
  for (const ClosingFile& file : plan.transfer.closing) {
    std::printf("%12s  %6d tensors  %s\n",
                FormatBytes(file.contents.size()).c_str(), 0,
                file.name.c_str());
  }
  constexpr size_t kShown = 20;
  for (size_t i = 0; i < std::min(kShown, summary.dropped.size()); ++i) {
    std::printf("%12s  %s\n", "dropped", summary.dropped[i].c_str());
  }
  if (summary.dropped.size() > kShown) {
    std::printf("%12s  %d tensors more\n", "dropped",
                static_cast<int>(summary.dropped.size() - kShown));
  }
}

struct Report {
  std::string adapter;
  ConversionSummary summary;
  int64_t bytes = 0;
  double seconds = 0;
  bool dry_run = false;
};

void PrintReport(const Report& report, bool as_json) {
  const ConversionSummary& summary = report.summary;
  const double rate =
      report.seconds > 0 ? report.bytes / report.seconds / 1e9 : 0;
  if (as_json) {
    Json json;
    json["adapter"] = report.adapter;
    json["dry_run"] = report.dry_run;
    json["tensors_in"] = summary.tensors_in;
    json["tensors_out"] = summary.tensors_out;
    json["renamed"] = summary.renamed;
    json["computed"] = summary.computed;
    json["dropped"] = summary.dropped.size();
    json["dropped_names"] = summary.dropped;
    json["bytes"] = report.bytes;
    json["seconds"] = report.seconds;
    json["gb_per_s"] = report.dry_run ? 0 : rate;
    std::printf(
        "%s\n",
        json.dump(-1, ' ', false, Json::error_handler_t::replace).c_str());
    return;
  }
  std::printf(
      "%s: %d tensors in, %d out: %d renamed, %d computed, %d dropped\n",
      report.adapter.c_str(), static_cast<int>(summary.tensors_in),
      static_cast<int>(summary.tensors_out), static_cast<int>(summary.renamed),
      static_cast<int>(summary.computed),
      static_cast<int>(summary.dropped.size()));
  if (report.dry_run) {
    std::printf("%s to write; nothing was written\n",
                FormatBytes(report.bytes).c_str());
  } else {
    std::printf("%s in %.2f s, %.2f GB/s\n", FormatBytes(report.bytes).c_str(),
                report.seconds, rate);
  }
}

std::atomic<bool> interrupted{false};

void StopOnSignals() {
  struct sigaction action = {};
  action.sa_handler = [](int) { interrupted.store(true); };
  for (int signal : {SIGINT, SIGTERM, SIGHUP}) {
    ::sigaction(signal, &action, nullptr);
  }
}

// A checkpoint of many shards needs as many open files.
void RaiseFileLimit() {
  struct rlimit limit;
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

// Plans and, unless it is a dry run, writes the output.
absl::Status Save(const Request& request, const StateDict& output,
                  const Checkpoint& input, Report* report) {
  WINDLASS_ASSIGN_OR_RETURN(
      const SavePlan plan,
      PlanSave(output, input, request.output, request.save));
  report->bytes = plan.transfer.bytes();
  if (request.dry_run) {
    if (!request.json) PrintPlan(plan, report->summary);
    return absl::OkStatus();
  }
  Progress progress(request.progress, report->bytes);
  TransferOptions options = request.transfer;
  options.bytes_done = progress.bytes_done();
  options.cancelled = &interrupted;
  absl::Status status = SaveCheckpoint(plan, options);
  if (!absl::IsCancelled(status)) return status;
  return absl::CancelledError(
      "interrupted; the same command with --resume goes on from here");
}

// What a plan's tensors do not show of how they were made.
std::string Tag(const Request& request, const CommandLine& line,
                const AdapterInfo& info) {
  std::string tag = absl::StrCat("windlass ", kVersion,
                                 " --to=", request.to_hf ? "hf" : "native",
                                 " --adapter=", info.name);
  for (const char* flag : {"adapter_options", "exclude_key_regex", "ep_size",
                           "ep_rank", "v4_compatible"}) {
    if (line.Has(flag)) absl::StrAppend(&tag, " --", flag, "=", line.Get(flag));
  }
  return tag;
}

absl::Status Convert(const Request& request, const AdapterInfo& info,
                     const ModelConfig& config, const Checkpoint& input) {
  const absl::Time start = absl::Now();
  WINDLASS_ASSIGN_OR_RETURN(
      const auto adapter,
      AdapterRegistry::Create(info, config, request.adapter_options));
  absl::StatusOr<StateDict> output =
      request.to_hf
          ? adapter->ToHf(input.tensors, request.to_hf_options)
          : adapter->FromHf(input.tensors,
                            FromHfOptions{request.to_hf_options.device_mesh});
  if (!output.ok()) return Annotate(output.status(), input.folder.path);
  Report report;
  report.adapter = info.name;
  report.summary = Summarize(input.tensors, *output);
  report.dry_run = request.dry_run;
  if (request.in_place) {
    WINDLASS_RETURN_IF_ERROR(RenameInPlace(*output, input, request.save.tag,
                                           request.transfer.sync,
                                           request.dry_run));
  } else {
    WINDLASS_RETURN_IF_ERROR(Save(request, *output, input, &report));
  }
  report.seconds = absl::ToDoubleSeconds(absl::Now() - start);
  PrintReport(report, request.json);
  return absl::OkStatus();
}

int Fail(const absl::Status& status, ExitCode code = kExitFailed) {
  PrintError("convert", status);
  return code;
}

int Main(int argc, char** argv) {
  EnterCallersDirectory();
  const absl::StatusOr<CommandLine> line =
      CommandLine::Parse(argc, argv, kFlags);
  if (!line.ok()) return Fail(line.status(), kExitUsage);
  if (line->Has("help")) {
    std::printf("%s%s", kUsage, FlagsHelp(kFlags).c_str());
    return kExitDone;
  }
  absl::StatusOr<Request> request = ParseRequest(*line);
  if (!request.ok()) return Fail(request.status(), kExitUsage);
  const AdapterInfo* info = nullptr;
  if (request->adapter != "auto") {
    const auto found = AdapterRegistry::FindByName(request->adapter);
    if (!found.ok()) return Fail(found.status(), kExitUsage);
    info = *found;
  }

  StopOnSignals();
  RaiseFileLimit();
  const absl::StatusOr<Location> folder = FindFolder(request->input);
  if (!folder.ok()) return Fail(folder.status());
  const absl::StatusOr<ModelConfig> config = LoadConfig(*request, *folder);
  if (!config.ok()) return Fail(config.status());
  if (info == nullptr) {
    const auto found = AdapterRegistry::FindByConfig(*config);
    if (!found.ok()) return Fail(found.status());
    info = *found;
  }
  const absl::Status known =
      AdapterRegistry::CheckOptions(*info, request->adapter_options);
  if (!known.ok()) return Fail(known, kExitUsage);
  if (request->to_hf_options.device_mesh.ep_size > 1 &&
      !info->expert_parallel) {
    return Fail(absl::InvalidArgumentError(absl::StrCat(
                    "--ep_size: adapter \"", info->name, "\" has no experts")),
                kExitUsage);
  }
  request->save.tag = Tag(*request, *line, *info);
  if (request->in_place && !request->dry_run) {
    const absl::StatusOr<InPlaceState> state =
        ResumeInPlace(*folder, request->save.tag, request->transfer.sync);
    if (!state.ok()) return Fail(state.status());
    if (*state == InPlaceState::kFinished) {
      std::printf("%s: already converted in place\n", info->name.c_str());
      return kExitDone;
    }
  }
  const absl::StatusOr<Checkpoint> input = OpenCheckpoint(request->input);
  if (!input.ok()) return Fail(input.status());
  const absl::Status status = Convert(*request, *info, *config, *input);
  const int code = status.ok() ? kExitDone : Fail(status);
  // All is written. Taking a hundred thousand tensors apart one by one would
  // take as long as planning them did.
  std::fflush(stdout);
  std::_Exit(code);
}

}  // namespace
}  // namespace windlass

int main(int argc, char** argv) { return windlass::Main(argc, argv); }
