// diff: whether two checkpoints hold the same tensors. Flags and printing; the
// comparison is io/comparison.h's.

#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "windlass/convert/common_layout.h"
#include "windlass/core/dtype.h"
#include "windlass/core/json.h"
#include "windlass/core/kernels/numbers.h"
#include "windlass/core/regex.h"
#include "windlass/core/state_dict.h"
#include "windlass/core/status_macros.h"
#include "windlass/core/tensor.h"
#include "windlass/io/checkpoint.h"
#include "windlass/io/comparison.h"
#include "windlass/tools/command_line.h"
#include "windlass/tools/numbers_json.h"
#include "windlass/tools/process.h"
#include "windlass/tools/progress.h"
#include "windlass/tools/table.h"

namespace windlass {
namespace {

constexpr Flag kFlags[] = {
    {"allclose", nullptr, "values count, |a - b| <= atol + rtol * |b|"},
    {"rtol", "1e-5", "for --allclose"},
    {"atol", "1e-8", "for --allclose"},
    {"ignore_dtype", nullptr, "for --allclose: values alone count"},
    {"adapter", "auto|NAME", "across layouts; auto: by config.json"},
    {"adapter_options", "JSON", "see //tools:adapters"},
    {"config", "PATH", "config.json, where neither has one"},
    {"a_format", "auto|NAME", "auto: by the files that are there"},
    {"b_format", "auto|NAME", "likewise"},
    {"a_state_dict_key", "KEY", "where in a nested file the tensors lie"},
    {"b_state_dict_key", "KEY", "likewise"},
    {"regex", "REGEX", "only tensors whose names hold a match"},
    {"threads", "N", "the cores, 8 at most, when not given"},
    {"progress", "auto|bar|plain|none", "on stderr, after a second"},
    {"json", nullptr, "one JSON object on stdout"},
};

constexpr char kUsage[] =
    "Compares the tensors of two checkpoints: names, dtypes, shapes, bytes.\n"
    "Exits with 0 where they are the same, 1 where they differ, 2 for "
    "trouble.\n"
    "\n"
    "  diff Qwen3.5-0.8B /tmp/copy\n"
    "  diff --adapter=auto --allclose Qwen3.5-0.8B /tmp/native\n\n"
    "diff [flags] A B\n\n";

enum DiffExitCode { kExitSame = 0, kExitDifferent = 1 };
constexpr ExitCode kExitTrouble = kExitUsage;

struct Request {
  std::string a, b;
  OpenOptions a_open, b_open;
  NameFilter filter;
  bool has_filter = false;
  std::optional<CommonLayoutRequest> layout;
  ComparisonOptions comparison;
  std::string progress;
  bool json = false;
};

absl::StatusOr<double> GetTolerance(const CommandLine& line, const char* flag,
                                    double fallback) {
  if (!line.Has(flag)) return fallback;
  double value = 0;
  // NaN compares with nothing.
  if (absl::SimpleAtod(line.Get(flag), &value) && value >= 0) return value;
  return absl::InvalidArgumentError(
      absl::StrCat("--", flag, ": found \"", line.Get(flag),
                   "\", expected a number that is not negative"));
}

// Flags that mean something together with another alone.
absl::Status CheckDependent(const CommandLine& line) {
  for (const auto& [flag, needed] :
       {std::make_pair("rtol", "allclose"), std::make_pair("atol", "allclose"),
        std::make_pair("ignore_dtype", "allclose"),
        std::make_pair("adapter_options", "adapter"),
        std::make_pair("config", "adapter")}) {
    if (!line.Has(flag) || line.Has(needed)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("--", flag, " means nothing without --", needed));
  }
  return absl::OkStatus();
}

absl::StatusOr<ComparisonOptions> ParseComparison(const CommandLine& line) {
  ComparisonOptions options;
  WINDLASS_ASSIGN_OR_RETURN(const bool allclose, line.GetBool("allclose"));
  Tolerance tolerance;
  WINDLASS_ASSIGN_OR_RETURN(tolerance.relative,
                            GetTolerance(line, "rtol", 1e-5));
  WINDLASS_ASSIGN_OR_RETURN(tolerance.absolute,
                            GetTolerance(line, "atol", 1e-8));
  if (allclose) options.tolerance = tolerance;
  WINDLASS_ASSIGN_OR_RETURN(options.any_dtype, line.GetBool("ignore_dtype"));
  WINDLASS_ASSIGN_OR_RETURN(options.reading.threads, line.GetThreads());
  return options;
}

// How the side "a" or "b" is opened.
absl::StatusOr<OpenOptions> ParseOpen(const CommandLine& line,
                                      const std::string& side) {
  OpenOptions open;
  open.state_dict_key = line.Get(side + "_state_dict_key");
  open.format = line.Get(side + "_format", open.format);
  WINDLASS_RETURN_IF_ERROR(CheckFormatName(open.format));
  return open;
}

absl::StatusOr<Request> ParseRequest(const CommandLine& line) {
  Request request;
  if (line.arguments().size() != 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("found ", line.arguments().size(),
                     line.arguments().size() == 1 ? " argument" : " arguments",
                     ", expected two checkpoints"));
  }
  request.a = line.arguments()[0];
  request.b = line.arguments()[1];
  WINDLASS_RETURN_IF_ERROR(CheckDependent(line));
  WINDLASS_ASSIGN_OR_RETURN(request.a_open, ParseOpen(line, "a"));
  WINDLASS_ASSIGN_OR_RETURN(request.b_open, ParseOpen(line, "b"));
  WINDLASS_ASSIGN_OR_RETURN(request.comparison, ParseComparison(line));
  request.has_filter = line.Has("regex");
  WINDLASS_ASSIGN_OR_RETURN(
      request.filter,
      NameFilter::Create(line.Get("regex"), NameFilter::Anchor::kSearch));
  if (line.Has("adapter")) {
    CommonLayoutRequest layout;
    layout.adapter = line.Get("adapter");
    layout.adapter_options =
        line.Get("adapter_options", layout.adapter_options);
    layout.config = line.Get("config");
    request.layout = std::move(layout);
  }
  WINDLASS_ASSIGN_OR_RETURN(
      request.progress,
      line.GetChoice("progress", {"auto", "bar", "plain", "none"}));
  WINDLASS_ASSIGN_OR_RETURN(request.json, line.GetBool("json"));
  return request;
}

// What is compared, and all that it refers to.
struct Inputs {
  Checkpoint a_checkpoint, b_checkpoint;
  CommonLayout layout;
  std::optional<StateDict> a_filtered, b_filtered;

  const StateDict& a() const {
    return a_filtered.has_value() ? *a_filtered
           : layout.a.has_value() ? *layout.a
                                  : a_checkpoint.tensors;
  }
  const StateDict& b() const {
    return b_filtered.has_value() ? *b_filtered
           : layout.b.has_value() ? *layout.b
                                  : b_checkpoint.tensors;
  }
};

absl::StatusOr<StateDict> Filter(const StateDict& tensors,
                                 const NameFilter& filter) {
  StateDict filtered;
  for (const auto& [name, tensor] : tensors) {
    if (!filter.Matches(name)) continue;
    WINDLASS_RETURN_IF_ERROR(filtered.Insert(name, tensor));
  }
  return filtered;
}

absl::StatusOr<Inputs> OpenInputs(const Request& request) {
  Inputs inputs;
  WINDLASS_ASSIGN_OR_RETURN(inputs.a_checkpoint,
                            OpenCheckpoint(request.a, request.a_open));
  WINDLASS_ASSIGN_OR_RETURN(inputs.b_checkpoint,
                            OpenCheckpoint(request.b, request.b_open));
  if (request.layout.has_value()) {
    WINDLASS_ASSIGN_OR_RETURN(
        inputs.layout, FindCommonLayout(inputs.a_checkpoint,
                                        inputs.b_checkpoint, *request.layout));
  }
  if (request.has_filter) {
    WINDLASS_ASSIGN_OR_RETURN(StateDict a, Filter(inputs.a(), request.filter));
    WINDLASS_ASSIGN_OR_RETURN(StateDict b, Filter(inputs.b(), request.filter));
    inputs.a_filtered = std::move(a);
    inputs.b_filtered = std::move(b);
  }
  return inputs;
}

std::string CellOf(const Tensor* tensor) {
  return tensor == nullptr ? "-" : tensor->ToString();
}

void PrintDifferences(const Comparison& comparison, const Terminal& terminal) {
  Table table({{"tensor"},
               {"what"},
               {"A"},
               {"B"},
               {"unequal", /*right=*/true},
               {"of", true},
               {"max abs", true},
               {"max rel", true}});
  for (const ComparedTensor& tensor : comparison.tensors) {
    if (tensor.verdict == Verdict::kSame) continue;
    std::vector<std::string> cells = {OneLine(tensor.name),
                                      std::string(VerdictName(tensor.verdict)),
                                      CellOf(tensor.a), CellOf(tensor.b)};
    if (tensor.numbers.has_value()) {
      cells.push_back(FormatCount(tensor.numbers->unequal));
      cells.push_back(FormatCount(tensor.numbers->count));
      cells.push_back(FormatNumber(tensor.numbers->max_absolute));
      cells.push_back(FormatNumber(tensor.numbers->max_relative));
    } else {
      cells.resize(8, "-");
    }
    table.AddRow(cells, tensor.verdict == Verdict::kClose ? Style::kYellow
                                                          : Style::kRed);
  }
  if (!table.empty()) std::printf("%s\n", table.Render(terminal).c_str());
}

constexpr Verdict kVerdicts[] = {
    Verdict::kSame,  Verdict::kClose,   Verdict::kValues, Verdict::kDType,
    Verdict::kShape, Verdict::kOnlyInA, Verdict::kOnlyInB};

void Print(const Inputs& inputs, const Comparison& comparison) {
  const Terminal terminal = StdoutTerminal();
  PrintDifferences(comparison, terminal);
  if (!inputs.layout.what.empty()) {
    std::printf("adapter %s: %s\n", inputs.layout.adapter.c_str(),
                inputs.layout.what.c_str());
  }
  std::vector<std::string> counts;
  for (const Verdict verdict : kVerdicts) {
    const int64_t count = comparison.Count(verdict);
    if (count == 0) continue;
    counts.push_back(
        absl::StrCat(FormatCount(count), " ", VerdictName(verdict)));
  }
  std::printf("%s: %s tensors%s%s\n",
              comparison.same()
                  ? Styled("same", Style::kGreen, terminal).c_str()
                  : Styled("different", Style::kRed, terminal).c_str(),
              FormatCount(comparison.tensors.size()).c_str(),
              counts.empty() ? "" : ", ", absl::StrJoin(counts, ", ").c_str());
}

Json ToJson(const Tensor* tensor) {
  if (tensor == nullptr) return nullptr;
  Json json;
  json["dtype"] = std::string(DTypeName(tensor->dtype()));
  json["shape"] =
      std::vector<int64_t>(tensor->shape().begin(), tensor->shape().end());
  return json;
}

Json ToJson(const ComparedTensor& tensor) {
  Json json;
  json["name"] = std::string(tensor.name);
  json["what"] = std::string(VerdictName(tensor.verdict));
  json["a"] = ToJson(tensor.a);
  json["b"] = ToJson(tensor.b);
  if (!tensor.numbers.has_value()) return json;
  json["unequal"] = tensor.numbers->unequal;
  json["elements"] = tensor.numbers->count;
  json["max_abs"] = NumberToJson(tensor.numbers->max_absolute);
  json["max_rel"] = NumberToJson(tensor.numbers->max_relative);
  return json;
}

Json ToJson(const Inputs& inputs, const Comparison& comparison) {
  Json json;
  json["a"] = inputs.a_checkpoint.location.path;
  json["b"] = inputs.b_checkpoint.location.path;
  if (!inputs.layout.what.empty()) {
    json["adapter"] = inputs.layout.adapter;
    json["layout"] = inputs.layout.what;
  }
  json["same"] = comparison.same();
  json["tensors"] = comparison.tensors.size();
  json["counts"] = Json::object();
  for (const Verdict verdict : kVerdicts) {
    json["counts"][std::string(VerdictName(verdict))] =
        comparison.Count(verdict);
  }
  json["differences"] = Json::array();
  for (const ComparedTensor& tensor : comparison.tensors) {
    if (tensor.verdict == Verdict::kSame) continue;
    json["differences"].push_back(ToJson(tensor));
  }
  return json;
}

int Main(int argc, char** argv) {
  const Failure fail{"diff", AsksForJson(argc, argv)};
  const absl::StatusOr<CommandLine> line =
      CommandLine::Parse(argc, argv, kFlags);
  if (!line.ok()) return fail(line.status(), kExitTrouble);
  if (PrintHelpOrVersion(*line, kUsage, kFlags)) return kExitDone;
  absl::StatusOr<Request> request = ParseRequest(*line);
  if (!request.ok()) return fail(request.status(), kExitTrouble);
  const absl::StatusOr<Inputs> inputs = OpenInputs(*request);
  if (!inputs.ok()) return fail(inputs.status(), kExitTrouble);
  Progress progress(request->progress, BytesToCompare(inputs->a(), inputs->b()),
                    absl::Seconds(1));
  request->comparison.reading.bytes_done = progress.bytes_done();
  const absl::StatusOr<Comparison> comparison =
      CompareTensors(inputs->a(), inputs->b(), request->comparison);
  progress.Stop();
  if (!comparison.ok()) return fail(comparison.status(), kExitTrouble);
  if (request->json) {
    PrintJson(ToJson(*inputs, *comparison));
  } else {
    Print(*inputs, *comparison);
  }
  return comparison->same() ? kExitSame : kExitDifferent;
}

}  // namespace
}  // namespace windlass

int main(int argc, char** argv) {
  return windlass::RunTool("diff", &windlass::Main, argc, argv,
                           windlass::kExitUsage);
}
