// convert: moves a checkpoint from one layout to the other. Flags, signals and
// printing; the conversion itself is in convert/.
//
// A library with a main(), so that a repository with adapters of its own can
// link them into a convert of its own (examples/custom_adapter).

#include <signal.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "windlass/convert/conversion.h"
#include "windlass/core/conversion_summary.h"
#include "windlass/core/dtype.h"
#include "windlass/core/json.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/state_dict_adapter.h"
#include "windlass/core/status_macros.h"
#include "windlass/io/transfer/digest.h"
#include "windlass/io/transfer/transfer.h"
#include "windlass/tools/command_line.h"
#include "windlass/tools/process.h"
#include "windlass/tools/progress.h"

namespace windlass {
namespace {

constexpr Flag kFlags[] = {
    {"to", "native|hf|same", "the layout to write (required)"},
    {"input_format", "auto|NAME", "auto: by what lies there"},
    {"output_format", "NAME", "safetensors when not given"},
    {"adapter", "auto|NAME", "auto: by INPUT's config.json"},
    {"adapter_options", "JSON", "see //tools:adapters"},
    {"rules", "FILE", "an adapter of your own, in JSON (docs/rules.md)"},
    {"config", "PATH", "config.json, where INPUT has none"},
    {"optimizer", nullptr, "INPUT is an optimizer's state: follow parameters"},
    {"state_dict_key", "KEY", "which of a torch file's state dicts is meant"},
    {"ignore_index", nullptr, "read the shards, whatever an index says"},
    {"exclude_key_regex", "REGEX", "HF names to drop, matched at their start"},
    {"strip_prefix", "PREFIX", "take it off the names that have it", true},
    {"keep_wrapper_names", nullptr, "leave _orig_mod and the like in names"},
    {"ep_size", "N", "write only one of N expert-parallel ranks' share"},
    {"ep_rank", "K", "which one, from 0"},
    {"dtype", "DTYPE", "cast floats: bfloat16, float16 or float32"},
    {"like", "BASE", "dtypes, shards, order, missing side files as BASE's"},
    {"allow_differences", nullptr,
     "names and shapes may be others than BASE's"},
    {"fill_from", "BASE", "take tensors from BASE that the output lacks"},
    {"max_shard_size", "5GB", "fill new shards, not the input's"},
    {"num_shards", "N", "files to cut tensors into, in DCP"},
    {"v4_compatible", nullptr, "expert LoRA with a key an expert"},
    {"threads", "N", "the cores, 8 at most, when not given"},
    {"in_place", nullptr, "rewrite INPUT's headers; only names may change"},
    {"resume", nullptr, "go on where a killed conversion stopped"},
    {"checksum", "none|xxh3|sha256", "digests for //tools:verify"},
    {"nofsync", nullptr, "do not wait for the device (scratch work)"},
    {"overwrite", nullptr, "replace the checkpoint in OUTPUT"},
    {"check", nullptr, "refuse what the way back would not undo"},
    {"dry_run", nullptr, "print the plan; write nothing"},
    {"progress", "auto|bar|plain|none", "on stderr"},
    {"json", nullptr, "report as JSON on stdout"},
};

constexpr Conflict kConflicts[] = {
    {"rules", "adapter"},           {"in_place", "rules"},
    {"in_place", "overwrite"},      {"in_place", "resume"},
    {"in_place", "max_shard_size"}, {"in_place", "checksum"},
    {"in_place", "ep_size"},        {"in_place", "ignore_index"},
    {"in_place", "output_format"},  {"in_place", "num_shards"},
    {"in_place", "dtype"},          {"in_place", "like"},
    {"in_place", "fill_from"},      {"in_place", "allow_differences"},
    {"in_place", "optimizer"},
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
  ConversionRequest conversion;
  TransferOptions transfer;
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

absl::Status ParseArguments(const CommandLine& line,
                            ConversionRequest* request) {
  WINDLASS_ASSIGN_OR_RETURN(const bool in_place, line.GetBool("in_place"));
  const size_t expected = in_place ? 1 : 2;
  if (line.arguments().size() != expected) {
    return absl::InvalidArgumentError(
        absl::StrCat("found ", line.arguments().size(), " arguments, expected ",
                     in_place ? "INPUT alone" : "INPUT and OUTPUT"));
  }
  std::vector<std::string> paths = line.arguments();
  paths.push_back(line.Get("config"));
  for (const std::string& path : paths) {
    if (!absl::StartsWith(path, "mem://")) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": memory ends with this process, expected a path"));
  }
  request->input = line.arguments()[0];
  if (in_place) return absl::OkStatus();
  request->output = line.arguments()[1];
  if (!request->output.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError("OUTPUT: found \"\", expected a folder");
}

absl::Status ParseBases(const CommandLine& line, ConversionRequest* request) {
  if (line.Has("dtype")) {
    WINDLASS_ASSIGN_OR_RETURN(
        const std::string dtype,
        line.GetChoice("dtype", {"bfloat16", "float16", "float32"}));
    request->dtype = ParseTorchDType(dtype);
  }
  request->like = line.Get("like");
  WINDLASS_ASSIGN_OR_RETURN(request->allow_differences,
                            line.GetBool("allow_differences"));
  request->fill_from = line.Get("fill_from");
  for (const char* flag : {"like", "fill_from"}) {
    if (line.Has(flag) && line.Get(flag).empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("--", flag, ": found \"\", expected a checkpoint"));
    }
  }
  if (request->allow_differences && request->like.empty()) {
    return absl::InvalidArgumentError(
        "--allow_differences: found no --like, expected one");
  }
  return absl::OkStatus();
}

absl::StatusOr<ConversionRequest> ParseConversion(const CommandLine& line) {
  ConversionRequest request;
  WINDLASS_RETURN_IF_ERROR(ParseArguments(line, &request));
  if (!line.Has("to")) {
    return absl::InvalidArgumentError(
        "expected --to=native, --to=hf or --to=same");
  }
  WINDLASS_ASSIGN_OR_RETURN(const std::string to,
                            line.GetChoice("to", {"native", "hf", "same"}));
  for (const Layout layout : {Layout::kNative, Layout::kHf, Layout::kSame}) {
    if (to == LayoutName(layout)) request.to = layout;
  }
  request.open.format = line.Get("input_format", request.open.format);
  request.save.format = line.Get("output_format", request.save.format);
  request.adapter = line.Get("adapter", request.adapter);
  request.adapter_options =
      line.Get("adapter_options", request.adapter_options);
  WINDLASS_RETURN_IF_ERROR(
      JsonFields::Parse(request.adapter_options, "--adapter_options").status());
  request.rules = line.Get("rules");
  request.config = line.Get("config");
  WINDLASS_ASSIGN_OR_RETURN(request.optimizer, line.GetBool("optimizer"));
  request.exclude_key_regex =
      line.Get("exclude_key_regex", request.exclude_key_regex);
  WINDLASS_ASSIGN_OR_RETURN(request.device_mesh, ParseMesh(line));
  WINDLASS_ASSIGN_OR_RETURN(request.v4_compatible,
                            line.GetBool("v4_compatible"));
  request.wrapper_names.prefixes = line.GetAll("strip_prefix");
  WINDLASS_ASSIGN_OR_RETURN(request.wrapper_names.keep,
                            line.GetBool("keep_wrapper_names"));
  WINDLASS_RETURN_IF_ERROR(ParseBases(line, &request));
  WINDLASS_ASSIGN_OR_RETURN(request.check, line.GetBool("check"));
  request.open.state_dict_key = line.Get("state_dict_key");
  WINDLASS_ASSIGN_OR_RETURN(request.open.ignore_index,
                            line.GetBool("ignore_index"));
  WINDLASS_ASSIGN_OR_RETURN(request.save.max_shard_bytes,
                            line.GetSize("max_shard_size", 0));
  WINDLASS_ASSIGN_OR_RETURN(const int64_t num_shards,
                            line.GetInt("num_shards", 0, 1, 1 << 16));
  request.save.num_shards = static_cast<int>(num_shards);
  WINDLASS_ASSIGN_OR_RETURN(request.save.overwrite, line.GetBool("overwrite"));
  WINDLASS_ASSIGN_OR_RETURN(request.save.resume, line.GetBool("resume"));
  return request;
}

absl::StatusOr<TransferOptions> ParseTransfer(const CommandLine& line) {
  TransferOptions options;
  WINDLASS_ASSIGN_OR_RETURN(options.threads, line.GetThreads());
  WINDLASS_ASSIGN_OR_RETURN(const bool nofsync, line.GetBool("nofsync"));
  options.sync = !nofsync;
  WINDLASS_ASSIGN_OR_RETURN(
      const std::string digest,
      line.GetChoice("checksum", {"none", "xxh3", "sha256"}));
  options.digest = *ParseDigestKind(digest);
  return options;
}

absl::StatusOr<Request> ParseRequest(const CommandLine& line) {
  Request request;
  WINDLASS_ASSIGN_OR_RETURN(request.conversion, ParseConversion(line));
  WINDLASS_ASSIGN_OR_RETURN(request.transfer, ParseTransfer(line));
  WINDLASS_ASSIGN_OR_RETURN(request.dry_run, line.GetBool("dry_run"));
  WINDLASS_ASSIGN_OR_RETURN(request.json, line.GetBool("json"));
  WINDLASS_ASSIGN_OR_RETURN(
      request.progress,
      line.GetChoice("progress", {"auto", "bar", "plain", "none"}));
  return request;
}

constexpr size_t kShownNames = 20;

void PrintNames(const char* what, const std::vector<std::string>& names) {
  for (size_t i = 0; i < std::min(kShownNames, names.size()); ++i) {
    std::printf("%12s  %s\n", what, OneLine(names[i]).c_str());
  }
  if (names.size() > kShownNames) {
    std::printf("%12s  %d more\n", what,
                static_cast<int>(names.size() - kShownNames));
  }
}

// "12 tensors filled in: a, b, c, d, e, ..."
void PrintSome(const char* what, const std::vector<std::string>& names) {
  if (names.empty()) return;
  constexpr size_t kSome = 5;
  const std::vector<std::string> some(
      names.begin(), names.begin() + std::min(kSome, names.size()));
  std::printf("%d %s: %s%s\n", static_cast<int>(names.size()), what,
              OneLine(absl::StrJoin(some, ", ")).c_str(),
              names.size() > kSome ? ", ..." : "");
}

void PrintPlan(const ConversionReport& report) {
  for (const ReportedFile& file : report.files) {
    std::printf("%12s  %6d tensors  %s\n", FormatBytes(file.bytes).c_str(),
                static_cast<int>(file.tensors), OneLine(file.name).c_str());
  }
  PrintNames("dropped", report.summary.dropped);
  PrintNames("left behind", report.left_behind);
}

// "qwen3_5 from hf to native"
std::string DescribeLayouts(const ConversionReport& report) {
  if (report.adapter.empty()) return "the same layout";
  return absl::StrCat(
      report.adapter, " from ",
      report.input_layout.empty() ? "either layout" : report.input_layout,
      " to ", report.output_layout);
}

// How many, what of them, and the first names; nothing where there are none.
void PrintCount(const std::vector<std::string>& names, const char* what) {
  constexpr size_t kShown = 3;
  if (names.empty()) return;
  const auto end = names.begin() + std::min(kShown, names.size());
  std::printf("%d %s: %s\n", static_cast<int>(names.size()), what,
              OneLine(absl::StrCat(absl::StrJoin(names.begin(), end, ", "),
                                   names.size() > kShown ? ", ..." : ""))
                  .c_str());
}

void PrintReport(const ConversionReport& report, bool dry_run, double seconds) {
  if (report.already_converted) {
    std::printf("%s: already converted in place\n", report.adapter.c_str());
    return;
  }
  const ConversionSummary& summary = report.summary;
  if (!report.input.empty()) {
    std::printf("reads %s\n", OneLine(report.input).c_str());
  }
  if (report.adapter.empty() || report.input_format != report.output_format) {
    std::printf("from %s to %s\n", report.input_format.c_str(),
                report.output_format.c_str());
  }
  std::printf(
      "%s: %d tensors in, %d out: %d renamed, %d computed, %d dropped\n",
      DescribeLayouts(report).c_str(), static_cast<int>(summary.tensors_in),
      static_cast<int>(summary.tensors_out), static_cast<int>(summary.renamed),
      static_cast<int>(summary.computed),
      static_cast<int>(summary.dropped.size()));
  for (const DTypeCast& cast : summary.casts) {
    std::printf("%d tensors cast from %s to %s\n", static_cast<int>(cast.count),
                std::string(DTypeName(cast.from)).c_str(),
                std::string(DTypeName(cast.to)).c_str());
  }
  if (report.unwrapped > 0) {
    std::printf("%d names stripped of wrappers\n",
                static_cast<int>(report.unwrapped));
  }
  for (const std::string& edited : report.edited) {
    std::printf("%s\n", OneLine(edited).c_str());
  }
  PrintSome("tensors filled in", report.filled);
  PrintSome("differences", report.differences);
  if (report.losses.has_value()) {
    std::printf("%s\n", OneLine(DescribeLosses(*report.losses)).c_str());
  }
  if (!report.left_out.empty()) {
    std::printf("left out, no part of this model: %s\n",
                OneLine(absl::StrJoin(report.left_out, ", ")).c_str());
  }
  PrintCount(report.copied, "tensors tied to others in INPUT, now copies");
  PrintCount(report.left_out_objects, "entries left out that are no tensors");
  if (dry_run) {
    std::printf("%s to write; nothing was written\n",
                FormatBytes(report.bytes).c_str());
  } else {
    std::printf("%s in %.2f s, %.2f GB/s\n", FormatBytes(report.bytes).c_str(),
                seconds, seconds > 0 ? report.bytes / seconds / 1e9 : 0);
  }
}

Json ReportToJson(const ConversionReport& report, bool dry_run,
                  double seconds) {
  const ConversionSummary& summary = report.summary;
  Json json;
  json["input"] = report.input.empty() ? Json() : Json(report.input);
  json["adapter"] = report.adapter;
  json["input_layout"] = report.input_layout;
  json["output_layout"] = report.output_layout;
  json["input_format"] = report.input_format;
  json["output_format"] = report.output_format;
  json["dry_run"] = dry_run;
  json["already_converted"] = report.already_converted;
  json["tensors_in"] = summary.tensors_in;
  json["tensors_out"] = summary.tensors_out;
  json["renamed"] = summary.renamed;
  json["computed"] = summary.computed;
  json["dropped"] = summary.dropped.size();
  json["dropped_names"] = summary.dropped;
  json["casts"] = Json::array();
  for (const DTypeCast& cast : summary.casts) {
    json["casts"].push_back({{"from", std::string(DTypeName(cast.from))},
                             {"to", std::string(DTypeName(cast.to))},
                             {"count", cast.count}});
  }
  json["files"] = Json::array();
  for (const ReportedFile& file : report.files) {
    json["files"].push_back({{"name", file.name},
                             {"bytes", file.bytes},
                             {"tensors", file.tensors}});
  }
  json["unwrapped"] = report.unwrapped;
  json["edited"] = report.edited;
  json["filled"] = report.filled;
  json["differences"] = report.differences;
  if (report.losses.has_value()) {
    json["reversible"] = report.losses->empty();
    json["losses"] = Json::array();
    for (const Loss& loss : *report.losses) {
      json["losses"].push_back({{"reason", loss.reason},
                                {"count", loss.count},
                                {"names", loss.names}});
    }
  }
  json["left_out"] = report.left_out;
  json["left_behind"] = report.left_behind;
  json["copied"] = report.copied;
  json["left_out_objects"] = report.left_out_objects;
  json["bytes"] = report.bytes;
  json["seconds"] = seconds;
  json["gb_per_s"] = dry_run || seconds <= 0 ? 0 : report.bytes / seconds / 1e9;
  return json;
}

std::atomic<bool> interrupted{false};

void StopOnSignals() {
  struct sigaction action = {};
  action.sa_handler = [](int) { interrupted.store(true); };
  // Who asks twice does not want to wait: what a kill leaves is repaired.
  action.sa_flags = SA_RESETHAND;
  for (int signal : {SIGINT, SIGTERM, SIGHUP}) {
    ::sigaction(signal, &action, nullptr);
  }
}

absl::Status Run(const Request& request, Conversion* conversion) {
  Progress progress(request.progress, conversion->report().bytes);
  TransferOptions options = request.transfer;
  options.bytes_done = progress.bytes_done();
  options.cancelled = &interrupted;
  absl::Status status = conversion->Run(options);
  if (!absl::IsCancelled(status)) return status;
  return absl::CancelledError(
      "interrupted; the same command with --resume goes on from here");
}

// Plans, runs unless it is a dry run, and reports.
int Convert(const Request& request, const Failure& fail) {
  const absl::Time start = absl::Now();
  TransferOptions options = request.transfer;
  options.cancelled = &interrupted;
  // Taking a hundred thousand tensors apart one by one would take as long as
  // planning them did; the process ends anyway.
  auto* const conversion = new absl::StatusOr<Conversion>(
      Conversion::Plan(request.conversion, options, request.dry_run));
  if (!conversion->ok()) {
    const absl::Status& status = conversion->status();
    return fail(status, IsBadRequest(status) ? kExitUsage : kExitFailed);
  }
  absl::Status status;
  if (!request.dry_run) status = Run(request, &**conversion);
  (*conversion)->Unlock();
  if (!status.ok()) return fail(status);
  const double seconds = absl::ToDoubleSeconds(absl::Now() - start);
  const ConversionReport& report = (*conversion)->report();
  if (request.json) {
    PrintJson(ReportToJson(report, request.dry_run, seconds));
  } else {
    if (request.dry_run) PrintPlan(report);
    PrintReport(report, request.dry_run, seconds);
  }
  return kExitDone;
}

int Main(int argc, char** argv) {
  const Failure fail{"convert", AsksForJson(argc, argv)};
  const absl::StatusOr<CommandLine> line =
      CommandLine::Parse(argc, argv, kFlags, kConflicts);
  if (!line.ok()) return fail(line.status(), kExitUsage);
  if (PrintHelpOrVersion(*line, kUsage, kFlags)) return kExitDone;
  const absl::StatusOr<Request> request = ParseRequest(*line);
  if (!request.ok()) return fail(request.status(), kExitUsage);
  StopOnSignals();
  return Convert(*request, fail);
}

}  // namespace
}  // namespace windlass

int main(int argc, char** argv) {
  std::_Exit(windlass::RunTool("convert", &windlass::Main, argc, argv));
}
