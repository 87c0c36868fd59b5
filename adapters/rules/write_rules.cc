#include "windlass/adapters/rules/write_rules.h"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "windlass/core/dtype.h"
#include "windlass/core/key_rewriter.h"
#include "windlass/core/layout_stage.h"
#include "windlass/core/layout_table.h"

namespace windlass {
namespace {

using Json = nlohmann::ordered_json;
using Row = LayoutTable::Row;

Json OneOrMany(const std::vector<std::string>& names) {
  return names.size() == 1 ? Json(names[0]) : Json(names);
}

Json WriteNames(const KeyRewriter& rewriter) {
  Json list = Json::array();
  for (const KeyRewriter::Rule& rule : rewriter.rules()) {
    Json json;
    if (rule.kind == KeyRewriter::Rule::Kind::kRegex) {
      json = {{"regex", rule.pairs[0].first},
              {"replace", rule.pairs[0].second}};
    } else {
      const char* kind = rule.kind == KeyRewriter::Rule::Kind::kExact ? "exact"
                         : rule.kind == KeyRewriter::Rule::Kind::kPrefix
                             ? "prefix"
                             : "substring";
      for (const auto& [from, to] : rule.pairs) json[kind][from] = to;
    }
    if (!rule.with.empty()) json["if"] = rule.with;
    if (!rule.without.empty()) json["unless"] = rule.without;
    list.push_back(std::move(json));
  }
  return list;
}

class Writer {
 public:
  Json Stages(const std::vector<LayoutStage>& stages) {
    Json list = Json::array();
    for (const LayoutStage& stage : stages) {
      const LayoutStage::Impl& impl = *stage.impl();
      if (impl.table() != nullptr) list.push_back(Table(*impl.table()));
      if (impl.rules() != nullptr) list.push_back(Names(*impl.rules()));
      if (impl.under() != nullptr) {
        list.push_back({{"under_hf", impl.under()->hf},
                        {"under_native", impl.under()->native},
                        {"stages", Stages(impl.under()->stages)}});
      }
    }
    return list;
  }

  std::vector<std::string> left_out() && { return std::move(left_out_); }

 private:
  using Rows = std::vector<const Row*>;
  using Range = std::pair<size_t, size_t>;

  static Json Names(const NameRules& rules) {
    Json json = {{"names_to_native", WriteNames(rules.to_native)},
                 {"names_to_hf", WriteNames(rules.to_hf)}};
    if (!rules.examples.empty()) json["examples"] = rules.examples;
    const std::string held = rules.held_names.SearchPattern();
    if (held.empty()) return json;
    json["held_names"] = held;
    json["held"] = std::string(DTypeName(rules.held));
    if (!rules.held_in_hf) json["held_in_native_only"] = true;
    return json;
  }

  Json Table(const LayoutTable& table) {
    table_ = &table;
    Rows rows;
    Rows broken;
    for (const Row& row : table.rows()) {
      (CanBeWritten(row) ? rows : broken).push_back(&row);
    }
    rows.erase(std::remove_if(rows.begin(), rows.end(),
                              [&](const Row* row) {
                                return absl::c_any_of(broken, [&](auto* other) {
                                  return Needs(*row, *other);
                                });
                              }),
               rows.end());
    for (const LayoutChoice& choice : table.choices()) {
      if (IsTold(choice)) {
        LeaveOut(absl::StrCat("how an input's or a model's \"", choice.name,
                              "\" is told; the form \"", choice.on_export,
                              "\" is taken"));
      } else if (!choice.on_v4_export.empty()) {
        LeaveOut(absl::StrCat("the form \"", choice.on_v4_export, "\" of \"",
                              choice.name, "\" for v4_compatible"));
      }
    }
    Json json = {{"rows", WriteRows(rows, 0, false, 0)}};
    if (table.experts().has_value()) {
      json["experts"] = {{"router", table.experts()->router}};
      if (table.experts()->sparse != nullptr) {
        LeaveOut("which layers config.json says to be mixtures");
      }
    }
    if (table.closed()) json["closed"] = true;
    return json;
  }

  // Whether a row makes no sense without the other: they are of one set, or of
  // one form of a choice, or the other is of the form that the choice writes.
  bool Needs(const Row& row, const Row& other) const {
    if (row.set >= 0 && row.set == other.set && row.forms == other.forms) {
      return true;
    }
    for (const auto& [choice, form] : other.forms) {
      const LayoutChoice& from = table_->choices()[choice];
      if (IsTold(from) && form != from.on_export) return false;
    }
    for (const auto& [choice, form] : row.forms) {
      for (const auto& [other_choice, other_form] : other.forms) {
        if (choice != other_choice) continue;
        if (form == other_form ||
            other_form == table_->choices()[choice].on_export) {
          return true;
        }
      }
    }
    return false;
  }

  void LeaveOut(std::string what) {
    if (!absl::c_linear_search(left_out_, what)) {
      left_out_.push_back(std::move(what));
    }
  }

  // Rules choose a form by an option alone.
  static bool IsTold(const LayoutChoice& choice) {
    return choice.detect != nullptr || choice.detect_on_export != nullptr;
  }

  bool CanBeWritten(const Row& row) {
    for (const auto& [choice, form] : row.forms) {
      const LayoutChoice& from = table_->choices()[choice];
      if (IsTold(from) && form != from.on_export) return false;
    }
    for (const LayoutOp& op : row.ops) {
      if (!op.rule.empty()) continue;
      LeaveOut(absl::StrCat("row ", row.ToString(), ": \"", op.name, "\""));
      return false;
    }
    return true;
  }

  // The forms of the row that rules choose by an option.
  std::vector<std::pair<int, std::string>> Forms(const Row& row) const {
    std::vector<std::pair<int, std::string>> forms;
    for (const auto& form : row.forms) {
      if (!IsTold(table_->choices()[form.first])) forms.push_back(form);
    }
    return forms;
  }

  // Rows whose choice at `depth` is that of the first; none where it has none.
  Rows OfOneChoice(const Rows& rows, size_t begin, size_t depth) const {
    Rows run;
    const auto forms = Forms(*rows[begin]);
    for (size_t i = begin; i < rows.size() && forms.size() > depth; ++i) {
      const auto other = Forms(*rows[i]);
      if (other.size() <= depth || other[depth].first != forms[depth].first) {
        break;
      }
      run.push_back(rows[i]);
    }
    return run;
  }

  Rows OfOneSet(const Rows& rows, size_t begin) const {
    Rows run;
    for (size_t i = begin; i < rows.size(); ++i) {
      if (rows[i]->set != rows[begin]->set) break;
      run.push_back(rows[i]);
    }
    return run;
  }

  // Rows from `begin` that are behind an "else" of `tier`, where rows follow
  // that are not: they have a list of their own. Empty where there are none.
  static Rows OfInnerTiers(const Rows& rows, size_t begin, int tier) {
    Rows run;
    for (size_t i = begin; i < rows.size(); ++i) {
      if (rows[i]->tier <= tier) return run;
      run.push_back(rows[i]);
    }
    return {};
  }

  // `depth` choices have been made around these rows, and perhaps a set, behind
  // as many "else" as `tier` says.
  Json WriteRows(const Rows& rows, size_t depth, bool in_set, int tier) {
    Json list = Json::array();
    for (size_t i = 0; i < rows.size();) {
      const Rows inner = OfInnerTiers(rows, i, tier);
      const Rows choice = OfOneChoice(rows, i, depth);
      const Rows set = OfOneSet(rows, i);
      if (!inner.empty() && choice.empty() && (in_set || rows[i]->set < 0)) {
        list.push_back(WriteRows(inner, depth, in_set, tier));
        i += inner.size();
      } else if (!in_set && rows[i]->set >= 0 && set.size() >= choice.size()) {
        list.push_back({{"together", WriteRows(set, depth, true, tier)}});
        i += set.size();
      } else if (!choice.empty()) {
        list.push_back(WriteChoice(choice, depth, in_set, tier));
        i += choice.size();
      } else {
        for (; tier < rows[i]->tier; ++tier) list.push_back("else");
        list.push_back(WriteRow(*rows[i++]));
      }
    }
    return list;
  }

  Json WriteChoice(const Rows& rows, size_t depth, bool in_set, int tier) {
    const LayoutChoice& choice =
        table_->choices()[Forms(*rows[0])[depth].first];
    Json forms = Json::object();
    for (const Row* row : rows) {
      const std::string form = Forms(*row)[depth].second;
      if (forms.contains(form)) continue;
      Rows of_form;
      absl::c_copy_if(rows, std::back_inserter(of_form), [&](const Row* other) {
        return Forms(*other)[depth].second == form;
      });
      forms[form] = WriteRows(of_form, depth + 1, in_set, tier);
    }
    // One without rows.
    if (!forms.contains(choice.on_export)) {
      forms[choice.on_export] = Json::array();
    }
    return {{"one_of", choice.name},
            {"export", choice.on_export},
            {"forms", std::move(forms)}};
  }

  static Json WriteRow(const Row& row) {
    if (row.kind == Row::Kind::kDropHf) return {{"drop_hf", row.hf[0]}};
    if (row.kind == Row::Kind::kDropNative) {
      return {{"drop_native", row.native[0]}};
    }
    Json json;
    if (row.kind == Row::Kind::kSynthesize) {
      json = {{"synthesize", row.native[0]}, {"from", row.hf[0]}};
    } else {
      const auto beside = row.hf.end() - row.companions;
      json["hf"] = OneOrMany({row.hf.begin(), beside});
      if (row.companions > 0) {
        json["beside"] = std::vector<std::string>(beside, row.hf.end());
      }
      json["native"] = OneOrMany(row.native);
    }
    for (const LayoutOp& op : row.ops) {
      json["ops"].push_back(Json::parse(op.rule));
    }
    if (row.as_they_come) {
      json["at_end"] = "as_they_come";
    } else if (row.at_end && row.kind != Row::Kind::kSynthesize) {
      json["at_end"] = true;
    }
    if (row.at_end_in_hf) json["at_end_in_hf"] = true;
    if (!row.to_hf) json["only"] = "to_native";
    if (!row.to_native) json["only"] = "to_hf";
    return json;
  }

  const LayoutTable* table_ = nullptr;
  std::vector<std::string> left_out_;
};

}  // namespace

WrittenRules WriteRules(absl::string_view name, absl::string_view summary,
                        const StateDictAdapter& adapter) {
  Writer writer;
  Json json = {{"name", std::string(name)}, {"summary", std::string(summary)}};
  if (adapter.stages() == nullptr) {
    return {"", {"all of it: the adapter is not made of tables"}};
  }
  json["stages"] = writer.Stages(*adapter.stages());
  return {json.dump(2) + "\n", std::move(writer).left_out()};
}

}  // namespace windlass
