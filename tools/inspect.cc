// inspect: what a checkpoint holds. Flags and printing; the looking is done by
// io/inspection.h and io/statistics.h.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "windlass/core/dtype.h"
#include "windlass/core/json.h"
#include "windlass/core/kernels/numbers.h"
#include "windlass/core/module_tree.h"
#include "windlass/core/regex.h"
#include "windlass/core/status_macros.h"
#include "windlass/core/tensor.h"
#include "windlass/io/checkpoint.h"
#include "windlass/io/inspection.h"
#include "windlass/io/statistics.h"
#include "windlass/io/tensor_parts.h"
#include "windlass/tools/command_line.h"
#include "windlass/tools/numbers_json.h"
#include "windlass/tools/process.h"
#include "windlass/tools/progress.h"
#include "windlass/tools/table.h"

namespace windlass {
namespace {

constexpr Flag kFlags[] = {
    {"input_format", "auto|NAME", "auto: by the files that are there"},
    {"state_dict_key", "KEY", "where in a nested file the tensors lie"},
    {"regex", "REGEX", "only tensors whose names hold a match"},
    {"sort", "disk|name|size|dtype|file", "the order of the tensors"},
    {"depth", "N", "segments of the tree of modules; 3 when not given"},
    {"summary", nullptr, "totals alone, no list of tensors"},
    {"stats", nullptr, "read all: min, max, mean, deviation, zeros, NaN, Inf"},
    {"threads", "N", "for --stats; the cores, 8 at most, when not given"},
    {"progress", "auto|bar|plain|none", "on stderr, after a second"},
    {"json", nullptr, "one JSON object on stdout"},
};

constexpr char kUsage[] =
    "Shows what a checkpoint holds; reads headers alone.\n\n"
    "  inspect Qwen3.5-0.8B\n"
    "  inspect --regex='layers\\.0\\.' --stats Qwen3.5-0.8B\n\n"
    "inspect [flags] CHECKPOINT\n\n";

struct Request {
  std::string uri;
  OpenOptions open;
  NameFilter filter;
  bool has_filter = false;
  std::string sort;
  int depth = 0;
  bool summary = false;
  bool stats = false;
  int threads = 0;
  std::string progress;
  bool json = false;
};

// The tensors that are asked for.
struct Selection {
  std::vector<InspectedTensor> tensors;
  std::vector<NumberStatistics> statistics;  // as many, or none
  Module root;
  int64_t quantised = 0;
  int64_t with_scales = 0;
};

absl::StatusOr<Request> ParseRequest(const CommandLine& line) {
  Request request;
  if (line.arguments().size() != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("found ", line.arguments().size(),
                     line.arguments().size() == 1 ? " argument" : " arguments",
                     ", expected a folder or a file"));
  }
  request.uri = line.arguments()[0];
  request.open.format = line.Get("input_format", request.open.format);
  WINDLASS_RETURN_IF_ERROR(CheckFormatName(request.open.format));
  request.open.state_dict_key = line.Get("state_dict_key");
  request.has_filter = line.Has("regex");
  WINDLASS_ASSIGN_OR_RETURN(
      request.filter,
      NameFilter::Create(line.Get("regex"), NameFilter::Anchor::kSearch));
  WINDLASS_ASSIGN_OR_RETURN(
      request.sort,
      line.GetChoice("sort", {"disk", "name", "size", "dtype", "file"}));
  WINDLASS_ASSIGN_OR_RETURN(request.depth, line.GetInt("depth", 3, 0, 100));
  WINDLASS_ASSIGN_OR_RETURN(request.summary, line.GetBool("summary"));
  WINDLASS_ASSIGN_OR_RETURN(request.stats, line.GetBool("stats"));
  WINDLASS_ASSIGN_OR_RETURN(request.threads, line.GetThreads());
  WINDLASS_ASSIGN_OR_RETURN(
      request.progress,
      line.GetChoice("progress", {"auto", "bar", "plain", "none"}));
  WINDLASS_ASSIGN_OR_RETURN(request.json, line.GetBool("json"));
  return request;
}

void Sort(const Request& request, std::vector<InspectedTensor>* tensors) {
  const auto by = [tensors](auto less) { absl::c_stable_sort(*tensors, less); };
  using T = InspectedTensor;
  if (request.sort == "name") {
    by([](const T& a, const T& b) { return NaturalLess(a.name, b.name); });
  } else if (request.sort == "size") {
    by([](const T& a, const T& b) {
      return a.tensor->bytes() > b.tensor->bytes();
    });
  } else if (request.sort == "dtype") {
    by([](const T& a, const T& b) {
      return DTypeName(a.tensor->dtype()) < DTypeName(b.tensor->dtype());
    });
  } else if (request.sort == "file") {
    // Shards stand in the order of their names.
    by([](const T& a, const T& b) { return a.shard < b.shard; });
  }
}

absl::StatusOr<std::vector<NumberStatistics>> ComputeAll(
    const Request& request, const std::vector<InspectedTensor>& tensors) {
  std::vector<const Tensor*> read;
  int64_t bytes = 0;
  for (const InspectedTensor& tensor : tensors) {
    read.push_back(tensor.tensor);
    bytes += tensor.tensor->bytes();
  }
  Progress progress(request.progress, bytes, absl::Seconds(1));
  return ComputeStatistics(
      read, ReadingOptions{request.threads, progress.bytes_done()});
}

absl::StatusOr<Selection> Select(const Request& request,
                                 const Inspection& inspection) {
  Selection selection;
  std::vector<TensorByName> named;
  for (const InspectedTensor& tensor : inspection.tensors) {
    if (request.has_filter && !request.filter.Matches(tensor.name)) continue;
    selection.tensors.push_back(tensor);
    named.push_back({tensor.name, tensor.tensor});
    selection.quantised += tensor.quantised;
    selection.with_scales += tensor.quantised && !tensor.scales.empty();
  }
  selection.root = BuildModuleTree(named, request.depth);
  Sort(request, &selection.tensors);
  if (request.stats) {
    WINDLASS_ASSIGN_OR_RETURN(selection.statistics,
                              ComputeAll(request, selection.tensors));
  }
  return selection;
}

std::string FileOf(const InspectedTensor& tensor,
                   const Checkpoint& checkpoint) {
  if (tensor.shard < 0) return "";
  const std::string& name = checkpoint.shards[tensor.shard].name;
  if (tensor.shards == 1) return name;
  return absl::StrCat(name, " and ", tensor.shards - 1, " more");
}

void PrintTensors(const Selection& selection, const Checkpoint& checkpoint,
                  const Terminal& terminal) {
  Table table(
      {{"tensor"}, {"dtype"}, {"shape"}, {"size", /*right=*/true}, {"file"}});
  for (const InspectedTensor& tensor : selection.tensors) {
    table.AddRow({OneLine(tensor.name),
                  std::string(DTypeName(tensor.tensor->dtype())),
                  ShapeString(tensor.tensor->shape()),
                  FormatBytes(tensor.tensor->bytes()),
                  OneLine(FileOf(tensor, checkpoint))});
  }
  std::fputs(table.Render(terminal).c_str(), stdout);
}

// What a column of numbers says of none.
std::string NumberOr(bool has, double number) {
  return has ? FormatNumber(number) : "-";
}

void PrintStatistics(const Selection& selection, const Terminal& terminal) {
  Table table({{"tensor"},
               {"dtype"},
               {"shape"},
               {"min", true},
               {"max", true},
               {"mean", true},
               {"std", true},
               {"zeros", true},
               {"NaN", true},
               {"Inf", true}});
  for (size_t i = 0; i < selection.tensors.size(); ++i) {
    const InspectedTensor& tensor = selection.tensors[i];
    const NumberStatistics& found = selection.statistics[i];
    const bool has_order = found.count > found.nans;
    const bool has_mean = found.finite() > 0;
    const bool is_read = HasNumbers(tensor.tensor->dtype());
    const auto count = [is_read](int64_t n) {
      return is_read ? FormatCount(n) : "-";
    };
    table.AddRow(
        {OneLine(tensor.name), std::string(DTypeName(tensor.tensor->dtype())),
         ShapeString(tensor.tensor->shape()), NumberOr(has_order, found.min),
         NumberOr(has_order, found.max), NumberOr(has_mean, found.mean),
         NumberOr(has_mean, found.StandardDeviation()), count(found.zeros),
         count(found.nans), count(found.infinities)},
        found.nans + found.infinities > 0 ? Style::kRed : Style::kPlain);
  }
  std::fputs(table.Render(terminal).c_str(), stdout);
}

std::string DTypesOf(const Module& module) {
  std::vector<std::string> names;
  for (int i = 0; i < kDTypeCount; ++i) {
    if (module.by_dtype[i].tensors == 0) continue;
    names.emplace_back(DTypeName(static_cast<DType>(i)));
  }
  return absl::StrJoin(names, " ");
}

std::vector<std::string> TotalsCells(std::string title,
                                     const TensorTotals& totals,
                                     int64_t times) {
  return {std::move(title), FormatCount(totals.tensors * times),
          FormatQuantity(totals.elements * times),
          FormatBytes(totals.bytes * times)};
}

bool IsNumber(const std::string& name) {
  return !name.empty() &&
         absl::c_all_of(name, [](char c) { return c >= '0' && c <= '9'; });
}

// A row for each module below this one, of which there are `times`. Numbered
// ones that are alike, layers and experts, share a row.
void AddModules(const Module& module, int level, int64_t times, Table* table) {
  const std::vector<Module>& children = module.children;
  for (size_t i = 0; i < children.size();) {
    size_t end = i + 1;
    while (end < children.size() && IsNumber(children[i].name) &&
           IsNumber(children[end].name) && children[i].IsLike(children[end])) {
      ++end;
    }
    const Module& child = children[i];
    const int64_t alike = static_cast<int64_t>(end - i);
    std::string title =
        absl::StrCat(std::string(2 * level, ' '), OneLine(child.name));
    if (alike > 1) {
      absl::StrAppend(&title, "-", children[end - 1].name, "  (", alike,
                      " alike)");
    }
    std::vector<std::string> cells =
        TotalsCells(std::move(title), child.totals, times * alike);
    cells.push_back(DTypesOf(child));
    table->AddRow(cells);
    AddModules(child, level + 1, times * alike, table);
    i = end;
  }
}

void PrintTotals(const Selection& selection, const Terminal& terminal) {
  Table modules({{"module"},
                 {"tensors", true},
                 {"parameters", true},
                 {"size", true},
                 {"dtypes"}});
  AddModules(selection.root, 0, 1, &modules);
  if (!modules.empty()) {
    std::printf("%s\n", modules.Render(terminal).c_str());
  }
  Table dtypes(
      {{"dtype"}, {"tensors", true}, {"parameters", true}, {"size", true}});
  for (int i = 0; i < kDTypeCount; ++i) {
    const TensorTotals& totals = selection.root.by_dtype[i];
    if (totals.tensors == 0) continue;
    dtypes.AddRow(
        TotalsCells(std::string(DTypeName(static_cast<DType>(i))), totals, 1));
  }
  if (!dtypes.empty()) std::printf("%s\n", dtypes.Render(terminal).c_str());
}

// A few of many names.
std::string SomeNames(const std::vector<std::string>& names) {
  constexpr size_t kMost = 5;
  std::string text = absl::StrJoin(
      names.begin(), names.begin() + std::min(names.size(), kMost), ", ");
  if (names.size() > kMost) {
    absl::StrAppend(&text, " and ", FormatCount(names.size() - kMost), " more");
  }
  return text;
}

// Lines of a word and what there is to say of it.
class Facts {
 public:
  explicit Facts(const Terminal& terminal) : terminal_(terminal) {}

  void Add(const char* word, const std::string& text,
           Style style = Style::kPlain) const {
    if (text.empty()) return;
    std::printf(
        "%s  %s\n",
        Styled(absl::StrFormat("%-11s", word), Style::kBold, terminal_).c_str(),
        Styled(OneLine(text), style, terminal_).c_str());
  }

 private:
  const Terminal& terminal_;
};

std::string DescribeQuantised(const Inspection& inspection,
                              const Selection& selection) {
  std::vector<std::string> parts;
  if (!inspection.quantisation.empty()) {
    parts.push_back(absl::StrCat(inspection.quantisation, " (config.json)"));
  }
  if (selection.quantised > 0) {
    parts.push_back(absl::StrCat(
        FormatCount(selection.quantised), " tensors of codes, ",
        FormatCount(selection.with_scales), " of them with scales"));
  }
  return absl::StrJoin(parts, "; ");
}

// A line a key: what the files say alike, else in how many ways they differ.
void PrintMetadata(const Inspection& inspection, const Facts& facts) {
  constexpr int kMost = 160;
  const int64_t files = inspection.checkpoint.shards.size();
  std::vector<std::string> keys;
  for (const FileMetadata& item : inspection.metadata) {
    if (!absl::c_linear_search(keys, item.key)) keys.push_back(item.key);
  }
  for (const std::string& key : keys) {
    int64_t values = 0, count = 0;
    std::string value;
    for (const FileMetadata& item : inspection.metadata) {
      if (item.key != key) continue;
      ++values;
      count += item.files;
      value = Shorten(OneLine(item.value), kMost);
    }
    if (values > 1) value = absl::StrCat(values, " values");
    if (count < files)
      absl::StrAppend(&value, " (in ", count, " of ", files, " files)");
    facts.Add("metadata", absl::StrCat(key, ": ", value));
  }
}

void PrintSummary(const Inspection& inspection, const Selection& selection,
                  const Terminal& terminal) {
  const Checkpoint& checkpoint = inspection.checkpoint;
  const Facts facts(terminal);
  const TensorTotals& totals = selection.root.totals;
  facts.Add("checkpoint", checkpoint.location.path);
  facts.Add("format",
            absl::StrCat(checkpoint.format->name(), ", ",
                         FormatCount(checkpoint.shards.size()),
                         checkpoint.shards.size() == 1 ? " file" : " files"));
  facts.Add("holds", absl::StrCat(FormatCount(totals.tensors), " tensors, ",
                                  FormatQuantity(totals.elements),
                                  " parameters, ", FormatBytes(totals.bytes)));
  facts.Add("objects", SomeNames(checkpoint.objects));
  facts.Add("quantised", DescribeQuantised(inspection, selection));
  for (const TiedTensor& tied : inspection.tied) {
    facts.Add("tied", absl::StrCat(tied.name, " is ", tied.to, " (",
                                   tied.said_by, ")"));
  }
  PrintMetadata(inspection, facts);
  facts.Add("index", checkpoint.index_name);
  for (const auto& [name, value] : checkpoint.index_metadata) {
    facts.Add("", absl::StrCat(name, ": ", value));
  }
  facts.Add("side files", SomeNames(checkpoint.side_files));
  facts.Add("left out", SomeNames(checkpoint.left_out));
  facts.Add("left behind", SomeNames(checkpoint.left_behind));
  for (const std::string& problem : inspection.problems) {
    facts.Add("problem", problem, Style::kRed);
  }
  const IndexFindings& index = inspection.index;
  facts.Add("unlisted", SomeNames(index.unlisted), Style::kRed);
  facts.Add("missing", SomeNames(index.missing), Style::kRed);
  facts.Add("misplaced", SomeNames(index.misplaced), Style::kRed);
}

Json ToJson(const TensorTotals& totals) {
  Json json;
  json["tensors"] = totals.tensors;
  json["parameters"] = totals.elements;
  json["bytes"] = totals.bytes;
  return json;
}

Json DTypesToJson(const Module& module) {
  Json json = Json::object();
  for (int i = 0; i < kDTypeCount; ++i) {
    if (module.by_dtype[i].tensors == 0) continue;
    json[std::string(DTypeName(static_cast<DType>(i)))] =
        ToJson(module.by_dtype[i]);
  }
  return json;
}

Json ToJson(const Module& module) {
  Json json = ToJson(module.totals);
  json["name"] = module.name;
  json["dtypes"] = DTypesToJson(module);
  json["children"] = Json::array();
  for (const Module& child : module.children) {
    json["children"].push_back(ToJson(child));
  }
  return json;
}

Json ToJson(const NumberStatistics& found) {
  Json json;
  const bool has_order = found.count > found.nans;
  const bool has_mean = found.finite() > 0;
  json["min"] = has_order ? NumberToJson(found.min) : Json();
  json["max"] = has_order ? NumberToJson(found.max) : Json();
  json["mean"] = has_mean ? NumberToJson(found.mean) : Json();
  json["std"] = has_mean ? NumberToJson(found.StandardDeviation()) : Json();
  json["zeros"] = found.zeros;
  json["nan"] = found.nans;
  json["inf"] = found.infinities;
  return json;
}

// As text: a checkpoint may have a million, and a tree of JSON takes ten times
// as much memory.
void AppendTensor(const InspectedTensor& tensor, const Checkpoint& checkpoint,
                  const NumberStatistics* found, std::string* text) {
  const Tensor& is = *tensor.tensor;
  absl::StrAppend(text, "{\"bytes\":", is.bytes(), ",\"dtype\":\"",
                  DTypeName(is.dtype()), "\",\"file\":");
  if (tensor.shard < 0) {
    text->append("null");
  } else {
    AppendJsonString(checkpoint.shards[tensor.shard].name, text);
  }
  if (tensor.shards > 1) absl::StrAppend(text, ",\"files\":", tensor.shards);
  text->append(",\"name\":");
  AppendJsonString(tensor.name, text);
  if (tensor.quantised) {
    text->append(",\"quantised\":true,\"scales\":");
    if (tensor.scales.empty()) {
      text->append("null");
    } else {
      AppendJsonString(tensor.scales, text);
    }
  }
  absl::StrAppend(text, ",\"shape\":[", absl::StrJoin(is.shape(), ","), "]");
  if (found != nullptr) {
    absl::StrAppend(
        text, ",\"stats\":",
        HasNumbers(is.dtype()) ? ToJson(*found).dump() : std::string("null"));
  }
  text->append("}");
}

void PrintTensorsAsJson(const Selection& selection,
                        const Checkpoint& checkpoint) {
  std::string text;
  for (size_t i = 0; i < selection.tensors.size(); ++i) {
    text = i == 0 ? "" : ",";
    AppendTensor(
        selection.tensors[i], checkpoint,
        selection.statistics.empty() ? nullptr : &selection.statistics[i],
        &text);
    std::fwrite(text.data(), 1, text.size(), stdout);
  }
}

Json IndexToJson(const Inspection& inspection) {
  Json json;
  json["name"] = inspection.checkpoint.index_name.empty()
                     ? Json()
                     : Json(inspection.checkpoint.index_name);
  json["metadata"] = Json::object();
  for (const auto& [name, text] : inspection.checkpoint.index_metadata) {
    const absl::StatusOr<Json> value = ParseJson(text);
    json["metadata"][name] = value.ok() ? *value : Json(text);
  }
  json["unlisted"] = inspection.index.unlisted;
  json["missing"] = inspection.index.missing;
  json["misplaced"] = inspection.index.misplaced;
  return json;
}

// All but the tensors.
Json ToJson(const Inspection& inspection, const Selection& selection) {
  const Checkpoint& checkpoint = inspection.checkpoint;
  Json json;
  json["checkpoint"] = checkpoint.location.path;
  json["format"] = std::string(checkpoint.format->name());
  json["files"] = Json::array();
  for (const Shard& shard : checkpoint.shards) {
    json["files"].push_back(shard.name);
  }
  json["totals"] = ToJson(selection.root.totals);
  json["dtypes"] = DTypesToJson(selection.root);
  json["modules"] = ToJson(selection.root)["children"];
  json["quantisation"] =
      inspection.quantisation.empty() ? Json() : Json(inspection.quantisation);
  json["quantised"] = selection.quantised;
  json["tied"] = Json::array();
  for (const TiedTensor& tied : inspection.tied) {
    json["tied"].push_back(
        {{"name", tied.name}, {"to", tied.to}, {"said_by", tied.said_by}});
  }
  json["metadata"] = Json::array();
  for (const FileMetadata& item : inspection.metadata) {
    json["metadata"].push_back(
        {{"key", item.key}, {"value", item.value}, {"files", item.files}});
  }
  json["index"] = IndexToJson(inspection);
  json["objects"] = checkpoint.objects;
  json["side_files"] = checkpoint.side_files;
  json["left_out"] = checkpoint.left_out;
  json["left_behind"] = checkpoint.left_behind;
  json["problems"] = Json::array();
  for (const std::string& problem : inspection.problems) {
    json["problems"].push_back(OneLine(problem));
  }
  return json;
}

void PrintAsJson(const Request& request, const Inspection& inspection,
                 const Selection& selection) {
  const Json rest = ToJson(inspection, selection);
  if (request.summary) return PrintJson(rest);
  std::printf("{\"tensors\":[");
  PrintTensorsAsJson(selection, inspection.checkpoint);
  const std::string text =
      rest.dump(-1, ' ', false, Json::error_handler_t::replace);
  std::printf("],%s\n", text.c_str() + 1);
}

void Print(const Request& request, const Inspection& inspection,
           const Selection& selection) {
  const Terminal terminal = StdoutTerminal();
  if (request.stats) {
    PrintStatistics(selection, terminal);
    std::printf("\n");
  } else if (!request.summary) {
    PrintTensors(selection, inspection.checkpoint, terminal);
    std::printf("\n");
  }
  PrintTotals(selection, terminal);
  PrintSummary(inspection, selection, terminal);
}

int Main(int argc, char** argv) {
  const Failure fail{"inspect", AsksForJson(argc, argv)};
  const absl::StatusOr<CommandLine> line =
      CommandLine::Parse(argc, argv, kFlags, {{"stats", "summary"}});
  if (!line.ok()) return fail(line.status(), kExitUsage);
  if (PrintHelpOrVersion(*line, kUsage, kFlags)) return kExitDone;
  const absl::StatusOr<Request> request = ParseRequest(*line);
  if (!request.ok()) return fail(request.status(), kExitUsage);
  const absl::StatusOr<Inspection> inspection =
      Inspect(request->uri, request->open);
  if (!inspection.ok()) return fail(inspection.status());
  const absl::StatusOr<Selection> selection = Select(*request, *inspection);
  if (!selection.ok()) return fail(selection.status());
  if (request->json) {
    PrintAsJson(*request, *inspection, *selection);
  } else {
    Print(*request, *inspection, *selection);
  }
  return kExitDone;
}

}  // namespace
}  // namespace windlass

int main(int argc, char** argv) {
  return windlass::RunTool("inspect", &windlass::Main, argc, argv);
}
