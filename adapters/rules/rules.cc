#include "windlass/adapters/rules/rules.h"

#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "windlass/adapters/rules/operations.h"
#include "windlass/adapters/rules/parameters.h"
#include "windlass/core/json.h"
#include "windlass/core/key_rewriter.h"
#include "windlass/core/layout_table.h"
#include "windlass/core/located_json.h"
#include "windlass/core/regex.h"
#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

using Kind = LocatedJson::Kind;

// One string, or a list of them.
absl::StatusOr<std::vector<std::string>> Strings(const LocatedJson& json) {
  if (json.kind == Kind::kString) return std::vector<std::string>{json.text};
  if (json.kind != Kind::kList) return json.Unexpected("a name, or a list");
  std::vector<std::string> strings;
  for (const LocatedJson& element : json.elements) {
    WINDLASS_ASSIGN_OR_RETURN(std::string text, element.String());
    strings.push_back(std::move(text));
  }
  if (strings.empty()) return json.Unexpected("at least one name");
  return strings;
}

absl::StatusOr<std::string> OneString(const LocatedJson& object,
                                      absl::string_view field) {
  const LocatedJson* found = object.Find(field);
  if (found != nullptr) return found->String();
  return object.Error(absl::StrCat("found no \"", field, "\", expected one"));
}

// Whether a field is there and true.
absl::StatusOr<bool> IsTrue(const LocatedJson& object,
                            absl::string_view field) {
  const LocatedJson* found = object.Find(field);
  if (found == nullptr) return false;
  if (found->kind == Kind::kScalar && found->text == "true") return true;
  return found->Unexpected("true");
}

// Builds an adapter's stages out of a document.
class Reader {
 public:
  Reader(const RulesParameters& parameters, const JsonFields& options)
      : parameters_(parameters), options_(options) {}

  absl::StatusOr<std::vector<LayoutStage>> Document(const LocatedJson& json) {
    const LocatedJson* stages = json.Find("stages");
    if (stages != nullptr && json.Find("rows") == nullptr) {
      return Stages(*stages);
    }
    if (stages != nullptr || json.Find("rows") == nullptr) {
      return json.Error(
          "found no rows, expected either \"rows\" or "
          "\"stages\"");
    }
    WINDLASS_ASSIGN_OR_RETURN(const LayoutTable table, Table(json));
    return std::vector<LayoutStage>{table};
  }

  // An error of the tables' own checks, which names a row, with the place where
  // that stands.
  absl::Status Located(const absl::Status& status) const {
    const Placed* best = nullptr;
    for (const Placed& placed : rows_) {
      if (absl::StrContains(status.message(), placed.row) &&
          (best == nullptr || placed.row.size() > best->row.size())) {
        best = &placed;
      }
    }
    return best == nullptr ? status : best->json->Error(status.message());
  }

 private:
  struct Placed {
    std::string row;  // as messages name it
    const LocatedJson* json;
  };

  absl::StatusOr<std::vector<LayoutStage>> Stages(const LocatedJson& list) {
    if (list.kind != Kind::kList) return list.Unexpected("a list of stages");
    std::vector<LayoutStage> stages;
    for (const LocatedJson& json : list.elements) {
      WINDLASS_ASSIGN_OR_RETURN(LayoutStage stage, Stage(json));
      stages.push_back(std::move(stage));
    }
    return stages;
  }

  absl::StatusOr<LayoutStage> Stage(const LocatedJson& json) {
    if (json.Find("rows") != nullptr) {
      WINDLASS_RETURN_IF_ERROR(
          json.ExpectMembers({"rows", "experts", "closed"}));
      WINDLASS_ASSIGN_OR_RETURN(const LayoutTable table, Table(json));
      return LayoutStage(table);
    }
    if (json.Find("names_to_native") != nullptr ||
        json.Find("names_to_hf") != nullptr) {
      return Names(json);
    }
    WINDLASS_RETURN_IF_ERROR(
        json.ExpectMembers({"under_hf", "under_native", "stages"}));
    Under under;
    WINDLASS_ASSIGN_OR_RETURN(under.hf, OneString(json, "under_hf"));
    WINDLASS_ASSIGN_OR_RETURN(under.native, OneString(json, "under_native"));
    const LocatedJson* stages = json.Find("stages");
    if (stages == nullptr) return json.Error("found no \"stages\"");
    WINDLASS_ASSIGN_OR_RETURN(under.stages, Stages(*stages));
    return LayoutStage(under);
  }

  absl::StatusOr<LayoutStage> Names(const LocatedJson& json) {
    WINDLASS_RETURN_IF_ERROR(
        json.ExpectMembers({"names_to_native", "names_to_hf", "examples",
                            "held_names", "held", "held_in_native_only"}));
    NameRules rules;
    WINDLASS_ASSIGN_OR_RETURN(rules.to_native,
                              Rewriter(json.Find("names_to_native")));
    WINDLASS_ASSIGN_OR_RETURN(rules.to_hf, Rewriter(json.Find("names_to_hf")));
    if (const LocatedJson* examples = json.Find("examples")) {
      WINDLASS_ASSIGN_OR_RETURN(rules.examples, Strings(*examples));
    }
    if (const LocatedJson* held = json.Find("held_names")) {
      WINDLASS_RETURN_IF_ERROR(ReadHeld(json, *held, &rules));
    }
    return LayoutStage(rules);
  }

  absl::Status ReadHeld(const LocatedJson& json, const LocatedJson& names,
                        NameRules* rules) const {
    WINDLASS_ASSIGN_OR_RETURN(const std::string pattern, names.String());
    absl::StatusOr<NameFilter> filter =
        NameFilter::Create(pattern, NameFilter::Anchor::kSearch);
    if (!filter.ok()) return names.Error(filter.status().message());
    rules->held_names = *std::move(filter);
    const LocatedJson* dtype = json.Find("held");
    if (dtype == nullptr) return json.Error("found no \"held\", a dtype");
    WINDLASS_ASSIGN_OR_RETURN(rules->held, parameters_.GetDType(*dtype));
    WINDLASS_ASSIGN_OR_RETURN(const bool native_only,
                              IsTrue(json, "held_in_native_only"));
    rules->held_in_hf = !native_only;
    return absl::OkStatus();
  }

  static absl::StatusOr<KeyRewriter> Rewriter(const LocatedJson* list) {
    std::vector<KeyRewriter::Rule> rules;
    if (list == nullptr) return KeyRewriter();
    if (list->kind != Kind::kList) return list->Unexpected("a list of rules");
    for (const LocatedJson& json : list->elements) {
      WINDLASS_ASSIGN_OR_RETURN(KeyRewriter::Rule rule, NameRule(json));
      rules.push_back(std::move(rule));
    }
    absl::StatusOr<KeyRewriter> rewriter =
        KeyRewriter::Create(std::move(rules));
    if (!rewriter.ok()) return list->Error(rewriter.status().message());
    return rewriter;
  }

  static absl::StatusOr<KeyRewriter::Rule> NameRule(const LocatedJson& json) {
    WINDLASS_RETURN_IF_ERROR(json.ExpectMembers(
        {"regex", "replace", "exact", "prefix", "substring", "if", "unless"}));
    KeyRewriter::Rule rule{};
    int kinds = 0;
    for (const auto& [kind, value] : json.members) {
      if (kind == "replace") continue;
      if (kind == "if" || kind == "unless") {
        WINDLASS_ASSIGN_OR_RETURN((kind == "if" ? rule.with : rule.without),
                                  value.String());
        continue;
      }
      ++kinds;
      if (kind == "regex") {
        WINDLASS_ASSIGN_OR_RETURN(std::string regex, value.String());
        WINDLASS_ASSIGN_OR_RETURN(std::string text, OneString(json, "replace"));
        rule.kind = KeyRewriter::Rule::Kind::kRegex;
        rule.pairs = {{std::move(regex), std::move(text)}};
        continue;
      }
      if (value.kind != Kind::kObject)
        return value.Unexpected("pairs of names");
      for (const auto& [from, to] : value.members) {
        WINDLASS_ASSIGN_OR_RETURN(std::string text, to.String());
        rule.pairs.emplace_back(from, std::move(text));
      }
      rule.kind = kind == "exact"    ? KeyRewriter::Rule::Kind::kExact
                  : kind == "prefix" ? KeyRewriter::Rule::Kind::kPrefix
                                     : KeyRewriter::Rule::Kind::kSubstring;
    }
    if (kinds == 1) return rule;
    return json.Error("expected one of regex, exact, prefix, substring");
  }

  absl::StatusOr<LayoutTable> Table(const LocatedJson& json) {
    WINDLASS_ASSIGN_OR_RETURN(LayoutTable table, Rows(*json.Find("rows")));
    if (const LocatedJson* experts = json.Find("experts")) {
      WINDLASS_RETURN_IF_ERROR(experts->ExpectMembers({"router"}));
      WINDLASS_ASSIGN_OR_RETURN(std::string router,
                                OneString(*experts, "router"));
      table.ClosedExperts({std::move(router), nullptr});
    }
    WINDLASS_ASSIGN_OR_RETURN(const bool closed, IsTrue(json, "closed"));
    if (closed) table.Closed();
    return table;
  }

  absl::StatusOr<LayoutTable> Rows(const LocatedJson& list) {
    if (list.kind != Kind::kList) return list.Unexpected("a list of rows");
    LayoutTable table;
    for (const LocatedJson& json : list.elements) {
      if (json.kind == Kind::kString && json.text == "else") {
        table.Else();
        continue;
      }
      if (json.kind == Kind::kList) {
        WINDLASS_ASSIGN_OR_RETURN(const LayoutTable inner, Rows(json));
        table.Append(inner);
        continue;
      }
      if (json.kind != Kind::kObject) return json.Unexpected("a row");
      const size_t before = table.rows().size();
      WINDLASS_RETURN_IF_ERROR(AddRow(json, &table));
      // Rows of a choice or a set are known already.
      if (table.rows().size() == before + 1) {
        rows_.push_back({table.rows().back().ToString(), &json});
      }
    }
    return table;
  }

  absl::Status AddRow(const LocatedJson& json, LayoutTable* table) {
    if (json.Find("one_of") != nullptr) return AddChoice(json, table);
    if (const LocatedJson* rows = json.Find("together")) {
      WINDLASS_RETURN_IF_ERROR(json.ExpectMembers({"together"}));
      WINDLASS_ASSIGN_OR_RETURN(LayoutTable set, Rows(*rows));
      table->Append(set.Together());
      return absl::OkStatus();
    }
    for (const char* drop : {"drop_hf", "drop_native"}) {
      if (json.Find(drop) == nullptr) continue;
      WINDLASS_RETURN_IF_ERROR(json.ExpectMembers({drop}));
      WINDLASS_ASSIGN_OR_RETURN(std::string name, OneString(json, drop));
      absl::EndsWith(drop, "hf") ? table->DropHf(std::move(name))
                                 : table->DropNative(std::move(name));
      return absl::OkStatus();
    }
    WINDLASS_RETURN_IF_ERROR(AddMap(json, table));
    return Modify(json, table);
  }

  absl::Status AddMap(const LocatedJson& json, LayoutTable* table) {
    WINDLASS_ASSIGN_OR_RETURN(std::vector<LayoutOp> ops,
                              ReadOperations(json.Find("ops"), parameters_));
    if (json.Find("rename") != nullptr) {
      WINDLASS_RETURN_IF_ERROR(json.ExpectMembers(
          {"rename", "to", "at_end", "at_end_in_hf", "only"}));
      WINDLASS_ASSIGN_OR_RETURN(std::string hf, OneString(json, "rename"));
      WINDLASS_ASSIGN_OR_RETURN(std::string native, OneString(json, "to"));
      table->Rename(std::move(hf), std::move(native));
      return absl::OkStatus();
    }
    if (json.Find("synthesize") != nullptr) {
      WINDLASS_RETURN_IF_ERROR(json.ExpectMembers(
          {"synthesize", "from", "ops", "at_end", "at_end_in_hf", "only"}));
      WINDLASS_ASSIGN_OR_RETURN(std::string native,
                                OneString(json, "synthesize"));
      WINDLASS_ASSIGN_OR_RETURN(std::string from, OneString(json, "from"));
      table->Synthesize(std::move(native), std::move(from), std::move(ops));
      return absl::OkStatus();
    }
    WINDLASS_RETURN_IF_ERROR(json.ExpectMembers(
        {"hf", "beside", "native", "ops", "at_end", "at_end_in_hf", "only"}));
    for (const char* field : {"hf", "native"}) {
      if (json.Find(field) == nullptr) {
        return json.Error(absl::StrCat("found no \"", field, "\" in a row"));
      }
    }
    WINDLASS_ASSIGN_OR_RETURN(auto hf, Strings(*json.Find("hf")));
    WINDLASS_ASSIGN_OR_RETURN(auto native, Strings(*json.Find("native")));
    const LocatedJson* beside = json.Find("beside");
    if (beside == nullptr) {
      table->Map(std::move(hf), std::move(native), std::move(ops));
      return absl::OkStatus();
    }
    WINDLASS_ASSIGN_OR_RETURN(auto companions, Strings(*beside));
    if (hf.size() != 1 || native.size() != 1) {
      return json.Error("\"beside\" goes with one \"hf\" and one \"native\"");
    }
    table->Decode(hf[0], std::move(companions), native[0], std::move(ops));
    return absl::OkStatus();
  }

  static absl::Status Modify(const LocatedJson& json, LayoutTable* table) {
    const LocatedJson* at_end = json.Find("at_end");
    if (at_end != nullptr && at_end->text == "as_they_come") {
      table->AtEndAsTheyCome();
    } else {
      WINDLASS_ASSIGN_OR_RETURN(const bool is, IsTrue(json, "at_end"));
      if (is) table->AtEnd();
    }
    WINDLASS_ASSIGN_OR_RETURN(const bool in_hf, IsTrue(json, "at_end_in_hf"));
    if (in_hf) table->AtEndInHf();
    if (const LocatedJson* only = json.Find("only")) {
      if (only->text == "to_native") {
        table->OnlyToNative();
      } else if (only->text == "to_hf") {
        table->OnlyToHf();
      } else {
        return only->Unexpected("\"to_native\" or \"to_hf\"");
      }
    }
    return absl::OkStatus();
  }

  absl::Status AddChoice(const LocatedJson& json, LayoutTable* table) {
    WINDLASS_RETURN_IF_ERROR(json.ExpectMembers({"one_of", "export", "forms"}));
    LayoutChoice choice;
    WINDLASS_ASSIGN_OR_RETURN(choice.name, OneString(json, "one_of"));
    WINDLASS_ASSIGN_OR_RETURN(choice.on_export, OneString(json, "export"));
    if (options_.Has(choice.name)) {
      WINDLASS_ASSIGN_OR_RETURN(choice.on_export,
                                options_.GetString(choice.name));
    }
    const LocatedJson* forms = json.Find("forms");
    if (forms == nullptr || forms->kind != Kind::kObject) {
      return json.Error("expected \"forms\", an object of lists of rows");
    }
    std::vector<std::pair<std::string, LayoutTable>> tables;
    for (const auto& [name, rows] : forms->members) {
      WINDLASS_ASSIGN_OR_RETURN(LayoutTable form, Rows(rows));
      tables.emplace_back(name, std::move(form));
    }
    if (forms->Find(choice.on_export) == nullptr) {
      return json.Error(absl::StrCat("found no form \"", choice.on_export,
                                     "\", which is to be written"));
    }
    table->OneOf(std::move(choice), std::move(tables));
    return absl::OkStatus();
  }

  const RulesParameters& parameters_;
  const JsonFields& options_;
  std::vector<Placed> rows_;
};

absl::StatusOr<std::unique_ptr<StateDictAdapter>> CreateFromRules(
    const LocatedJson& rules, const ModelConfig& config,
    const JsonFields& options) {
  WINDLASS_ASSIGN_OR_RETURN(
      const RulesParameters parameters,
      RulesParameters::Read(rules.Find("parameters"), config, options));
  Reader reader(parameters, options);
  WINDLASS_ASSIGN_OR_RETURN(std::vector<LayoutStage> stages,
                            reader.Document(rules));
  absl::StatusOr<std::unique_ptr<StateDictAdapter>> adapter =
      MakeLayoutAdapter(std::move(stages));
  if (!adapter.ok()) return reader.Located(adapter.status());
  return adapter;
}

// The choices that rows have, wherever they stand.
void FindChoices(const LocatedJson& json, std::vector<AdapterOption>* options) {
  const LocatedJson* name = json.Find("one_of");
  const LocatedJson* written = json.Find("export");
  if (name != nullptr && written != nullptr) {
    std::string text;
    AppendJsonString(written->text, &text);
    options->push_back({name->text, std::move(text), "the form to write"});
  }
  for (const auto& member : json.members) FindChoices(member.value, options);
  for (const auto& element : json.elements) FindChoices(element, options);
}

// Whether a rank of an expert-parallel mesh has a share of something.
bool SharesExperts(const LocatedJson& json) {
  const auto shares = [](const auto& part) { return SharesExperts(part); };
  return json.Find("stack") != nullptr || json.Find("share") != nullptr ||
         absl::c_any_of(json.elements, shares) ||
         absl::c_any_of(json.members, [&](const auto& member) {
           return shares(member.value);
         });
}

// What dtypes are named by, wherever they stand.
void FindDTypes(const LocatedJson& json, std::set<std::string>* names) {
  for (const auto& [name, value] : json.members) {
    if (name == "cast" || name == "cast_floats" || name == "hold" ||
        name == "to") {
      names->insert(value.text);
    }
    FindDTypes(value, names);
  }
  for (const auto& element : json.elements) FindDTypes(element, names);
}

// A config.json with all that the parameters ask for.
std::string ExampleConfig(const LocatedJson& rules) {
  std::set<std::string> dtypes;
  FindDTypes(rules, &dtypes);
  Json config = Json::object();
  for (const auto& [name, value] : rules.Find("parameters")->members) {
    const LocatedJson* path = value.Find("config");
    if (path == nullptr || value.Find("default") != nullptr) continue;
    if (!path->elements.empty()) path = &path->elements[0];
    Json* at = &config;
    for (absl::string_view part : absl::StrSplit(path->text, '.')) {
      if (!at->is_object()) *at = Json::object();
      at = &(*at)[std::string(part)];
    }
    *at = dtypes.count(name) > 0 ? Json("bfloat16") : Json(8);
  }
  return config.dump();
}

absl::Status AddParameters(const LocatedJson& rules, AdapterInfo* info) {
  const LocatedJson* parameters = rules.Find("parameters");
  if (parameters == nullptr) return absl::OkStatus();
  if (parameters->kind != Kind::kObject) {
    return parameters->Unexpected("an object of parameters");
  }
  for (const auto& [name, value] : parameters->members) {
    WINDLASS_RETURN_IF_ERROR(value.ExpectMembers({"config", "default"}));
    const LocatedJson* fallback = value.Find("default");
    info->options.push_back(
        {name, fallback == nullptr ? "config.json's" : fallback->text,
         "a parameter of the rules"});
  }
  info->example_config = ExampleConfig(rules);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<AdapterInfo> ParseRules(absl::string_view text,
                                       std::string origin) {
  absl::StatusOr<LocatedJson> parsed = ParseLocatedJson(text);
  if (!parsed.ok()) return Annotate(parsed.status(), origin);
  const auto rules = std::make_shared<const LocatedJson>(*std::move(parsed));
  AdapterInfo info;
  const absl::Status status = [&]() -> absl::Status {
    WINDLASS_RETURN_IF_ERROR(
        rules->ExpectMembers({"$schema", "name", "summary", "parameters",
                              "rows", "experts", "closed", "stages"}));
    WINDLASS_ASSIGN_OR_RETURN(info.name, OneString(*rules, "name"));
    if (rules->Find("summary") != nullptr) {
      WINDLASS_ASSIGN_OR_RETURN(info.summary, OneString(*rules, "summary"));
    }
    return AddParameters(*rules, &info);
  }();
  if (!status.ok()) return Annotate(status, origin);
  FindChoices(*rules, &info.options);
  info.framework = "rules";
  info.expert_parallel = SharesExperts(*rules);
  info.factory = [rules, origin](const ModelConfig& config,
                                 const JsonFields& options)
      -> absl::StatusOr<std::unique_ptr<StateDictAdapter>> {
    auto adapter = CreateFromRules(*rules, config, options);
    if (!adapter.ok()) return Annotate(adapter.status(), origin);
    return adapter;
  };
  return info;
}

}  // namespace windlass
