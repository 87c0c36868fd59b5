// adapters: lists the registered adapters.

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_join.h"
#include "windlass/adapters/rules/write_rules.h"
#include "windlass/convert/rules_file.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/json.h"
#include "windlass/core/model_config.h"
#include "windlass/core/state_dict_adapter.h"
#include "windlass/core/status_macros.h"
#include "windlass/io/model_config_file.h"
#include "windlass/io/storage/storage.h"
#include "windlass/tools/adapter_docs.h"
#include "windlass/tools/command_line.h"
#include "windlass/tools/process.h"

namespace windlass {
namespace {

constexpr Flag kFlags[] = {
    {"json", nullptr, "as JSON"},
    {"markdown", nullptr, "as the README's table"},
    {"docs", nullptr, "as the second half of docs/adapters.md"},
    {"rules", "FILE", "what an adapter in a file does, and does not undo"},
    {"as_rules", "NAME", "an adapter as such a file, for one model"},
    {"config", "PATH", "that model's config.json, with --as_rules"},
};

constexpr char kUsage[] =
    "Lists the registered adapters.\n\n  adapters --json\n\n";

constexpr Conflict kConflicts[] = {{"json", "markdown"},  {"json", "docs"},
                                   {"markdown", "docs"},  {"rules", "json"},
                                   {"rules", "markdown"}, {"rules", "docs"}};

void PrintText(const AdapterInfo& info) {
  std::printf("%s  %s\n", info.name.c_str(), info.summary.c_str());
  std::printf("  architectures: %s\n",
              absl::StrJoin(info.architectures, ", ").c_str());
  std::printf("  model types:   %s\n",
              absl::StrJoin(info.model_types, ", ").c_str());
  for (const AdapterOption& option : info.options) {
    std::printf("  option %s=%s: %s\n", option.name.c_str(),
                option.default_value.c_str(), option.summary.c_str());
  }
}

void PrintMarkdown(const AdapterInfo& info) {
  std::printf("| `%s` | %s | %s |\n", info.name.c_str(), info.summary.c_str(),
              absl::StrJoin(info.architectures, ", ").c_str());
}

Json ToJson(const AdapterInfo& info) {
  Json json;
  json["name"] = info.name;
  json["framework"] = info.framework;
  json["summary"] = info.summary;
  json["architectures"] = info.architectures;
  json["model_types"] = info.model_types;
  json["options"] = Json::array();
  for (const AdapterOption& option : info.options) {
    Json item;
    item["name"] = option.name;
    item["default"] = option.default_value;
    item["summary"] = option.summary;
    json["options"].push_back(item);
  }
  return json;
}

absl::StatusOr<std::string> DocsOfRules(const std::string& path) {
  WINDLASS_ASSIGN_OR_RETURN(const AdapterInfo info, ReadRulesFile(path));
  return AdapterDocs({&info});
}

// A small model of the adapter's own, where no config is given.
absl::StatusOr<WrittenRules> AsRules(const CommandLine& line) {
  WINDLASS_ASSIGN_OR_RETURN(const AdapterInfo* info,
                            AdapterRegistry::FindByName(line.Get("as_rules")));
  absl::StatusOr<ModelConfig> config =
      ModelConfig::Parse(info->example_config, "its example config");
  if (line.Has("config")) {
    WINDLASS_ASSIGN_OR_RETURN(const Location location,
                              ResolveLocation(line.Get("config")));
    config = ReadModelConfig(location);
  }
  WINDLASS_RETURN_IF_ERROR(config.status());
  WINDLASS_ASSIGN_OR_RETURN(const std::unique_ptr<StateDictAdapter> adapter,
                            AdapterRegistry::Create(*info, *config, {}));
  return WriteRules(info->name, info->summary, *adapter);
}

// The rules on stdout, what they do not say on stderr.
int PrintAsRules(const Failure& fail, const CommandLine& line) {
  const absl::StatusOr<WrittenRules> rules = AsRules(line);
  if (!rules.ok()) return fail(rules.status());
  std::printf("%s", rules->text.c_str());
  for (const std::string& left_out : rules->left_out) {
    std::fprintf(stderr, "not expressible: %s\n", left_out.c_str());
  }
  return kExitDone;
}

int PrintDocs(const Failure& fail, const absl::StatusOr<std::string>& docs) {
  if (!docs.ok()) return fail(docs.status());
  std::printf("%s", docs->c_str());
  return kExitDone;
}

int Main(int argc, char** argv) {
  const Failure fail{"adapters", AsksForJson(argc, argv)};
  const absl::StatusOr<CommandLine> line =
      CommandLine::Parse(argc, argv, kFlags, kConflicts);
  if (!line.ok()) return fail(line.status(), kExitUsage);
  if (!line->arguments().empty()) {
    return fail(absl::InvalidArgumentError("expected no argument"), kExitUsage);
  }
  if (PrintHelpOrVersion(*line, kUsage, kFlags)) return kExitDone;
  if (line->Has("json")) {
    Json all = Json::array();
    for (const AdapterInfo* info : AdapterRegistry::All()) {
      all.push_back(ToJson(*info));
    }
    std::printf("%s\n", all.dump(2).c_str());
    return kExitDone;
  }
  if (line->Has("as_rules")) return PrintAsRules(fail, *line);
  if (line->Has("rules")) {
    return PrintDocs(fail, DocsOfRules(line->Get("rules")));
  }
  if (line->Has("docs")) {
    return PrintDocs(fail, AdapterDocs(AdapterRegistry::All()));
  }
  if (line->Has("markdown")) {
    std::printf("| adapter | models | architectures |\n|---|---|---|\n");
  }
  for (const AdapterInfo* info : AdapterRegistry::All()) {
    line->Has("markdown") ? PrintMarkdown(*info) : PrintText(*info);
  }
  return kExitDone;
}

}  // namespace
}  // namespace windlass

int main(int argc, char** argv) {
  return windlass::RunTool("adapters", &windlass::Main, argc, argv);
}
