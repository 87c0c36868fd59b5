#include "windlass/tools/adapter_docs.h"

#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "windlass/core/dtype.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/layout_stage.h"
#include "windlass/core/layout_table.h"
#include "windlass/core/model_config.h"
#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

using Row = LayoutTable::Row;

// A cell of a table must not hold its border.
std::string Cell(absl::string_view text) {
  return absl::StrReplaceAll(text, {{"|", "\\|"}});
}

std::string ShapeOf(const std::vector<LayoutDim>& dims) {
  return absl::StrCat(
      " [",
      absl::StrJoin(dims, ", ",
                    [](std::string* out, const LayoutDim& dim) {
                      absl::StrAppend(out, dim.name.empty() ? "_" : dim.name);
                    }),
      "]");
}

std::string NameList(const std::string& prefix,
                     const std::vector<std::string>& names,
                     const std::vector<std::vector<LayoutDim>>& shapes = {}) {
  std::vector<std::string> items;
  for (size_t i = 0; i < names.size(); ++i) {
    items.push_back(absl::StrCat("`", prefix, names[i], "`",
                                 i < shapes.size() ? ShapeOf(shapes[i]) : ""));
  }
  return items.empty() ? "(none)" : absl::StrJoin(items, "<br>");
}

bool IsLora(const Row& row) {
  return absl::c_any_of(row.hf, [](const std::string& name) {
    return absl::StrContains(name, "lora_");
  });
}

// "transpose, stack over e; expert_layout = fused"
std::string Operations(const LayoutTable& table, const Row& row) {
  std::vector<std::string> done;
  for (const LayoutOp& op : row.ops) {
    if (op.shapes.empty()) done.push_back(op.name);
  }
  if (row.kind == Row::Kind::kDropHf || row.kind == Row::Kind::kDropNative) {
    done.push_back("dropped");
  }
  if (row.kind == Row::Kind::kSynthesize) done.push_back("made where missing");
  if (!row.to_hf) done.push_back("read only");
  if (!row.to_native) done.push_back("written only");
  std::string text = absl::StrJoin(done, ", ");
  for (const auto& [choice, form] : row.forms) {
    absl::StrAppend(&text, text.empty() ? "" : "; ",
                    table.choices()[choice].name, " = ", form);
  }
  return text;
}

// The tables of an adapter, one after the other.
class Section {
 public:
  void Add(const std::vector<LayoutStage>& stages, const std::string& hf = "",
           const std::string& native = "") {
    for (const LayoutStage& stage : stages) {
      const LayoutStage::Impl& impl = *stage.impl();
      if (impl.table() != nullptr) AddTable(*impl.table(), hf, native);
      if (impl.rules() != nullptr) AddRules(*impl.rules(), hf, native);
      if (impl.under() != nullptr) {
        const Under& under = *impl.under();
        Add(under.stages, hf + under.hf, native + under.native);
      }
    }
  }

  std::string Build() && {
    if (rows_.empty()) rows_ = "| `{p*}` | `{p*}` | |\n";
    std::string text = absl::StrCat(
        "| HF | native | on the way to native |\n|---|---|---|\n", rows_);
    if (lora_) {
      absl::StrAppend(&text, "\nExpert LoRA goes along, in PEFT's forms.\n");
    }
    if (!losses_.empty()) {
      absl::StrAppend(&text, "\nThe way back does not give: ",
                      absl::StrJoin(losses_, "; "), ".\n");
    }
    return text;
  }

 private:
  void AddTable(const LayoutTable& table, const std::string& hf,
                const std::string& native) {
    for (const Row& row : table.rows()) {
      lora_ = lora_ || IsLora(row);
      if (IsLora(row)) continue;
      std::vector<std::vector<LayoutDim>> shapes;
      for (const LayoutOp& op : row.ops) {
        if (!op.shapes.empty()) shapes = op.shapes;
      }
      AddRow(NameList(hf, row.hf, shapes), NameList(native, row.native),
             Operations(table, row));
      AddLosses(row, hf);
    }
  }

  void AddRules(const NameRules& rules, const std::string& hf,
                const std::string& native) {
    for (const std::string& example : rules.examples) {
      const bool held = rules.held_names.Matches(example);
      AddRow(absl::StrCat("`", hf, example, "`"),
             absl::StrCat("`", native, rules.to_native.Rewrite(example), "`"),
             held ? absl::StrCat("hold ", DTypeName(rules.held)) : "");
      if (held) {
        AddLoss(absl::StrCat("another dtype than ", DTypeName(rules.held),
                             " of what is held in it"));
      }
    }
  }

  void AddRow(const std::string& hf, const std::string& native,
              const std::string& operations) {
    absl::StrAppend(&rows_, "| ", Cell(hf), " | ", Cell(native), " | ",
                    Cell(operations), " |\n");
  }

  void AddLosses(const Row& row, const std::string& hf) {
    if (row.kind == Row::Kind::kDropHf) {
      AddLoss(absl::StrCat("`", hf, row.hf[0], "`, dropped"));
    }
    // What is made takes nothing.
    if (row.kind == Row::Kind::kSynthesize) return;
    for (const LayoutOp& op : row.ops) {
      if (op.kind == LayoutOp::Kind::kExact) continue;
      AddLoss(op.kind == LayoutOp::Kind::kLossy
                  ? absl::StrCat("what \"", op.name, "\" rounds")
                  : absl::StrCat("what \"", op.name, "\" took"));
    }
  }

  void AddLoss(std::string loss) {
    if (!absl::c_linear_search(losses_, loss)) losses_.push_back(loss);
  }

  std::string rows_;
  std::vector<std::string> losses_;
  bool lora_ = false;
};

absl::StatusOr<std::string> AdapterSection(const AdapterInfo& info) {
  WINDLASS_ASSIGN_OR_RETURN(
      const ModelConfig config,
      ModelConfig::Parse(info.example_config, "its example config"));
  WINDLASS_ASSIGN_OR_RETURN(const std::unique_ptr<StateDictAdapter> adapter,
                            AdapterRegistry::Create(info, config, {}));
  Section section;
  if (adapter->stages() != nullptr) section.Add(*adapter->stages());
  std::string text = absl::StrCat("### ", info.name, "\n\n", info.summary,
                                  ".\n\n", std::move(section).Build());
  if (info.options.empty()) return text;
  return absl::StrCat(
      text, "\nOptions: ",
      absl::StrJoin(info.options, ", ",
                    [](std::string* out, const AdapterOption& option) {
                      absl::StrAppend(out, "`", option.name, "`");
                    }),
      ".\n");
}

// Many adapters take the same ones.
std::string Options(const std::vector<const AdapterInfo*>& adapters) {
  std::set<std::string> lines;
  for (const AdapterInfo* info : adapters) {
    for (const AdapterOption& option : info->options) {
      lines.insert(absl::StrCat("| `", option.name, "` | ",
                                Cell(option.default_value), " | ",
                                Cell(option.summary), " |\n"));
    }
  }
  return absl::StrCat("### Options\n\n| option | default | |\n|---|---|---|\n",
                      absl::StrJoin(lines, ""));
}

}  // namespace

absl::StatusOr<std::string> AdapterDocs(
    const std::vector<const AdapterInfo*>& adapters) {
  std::string docs;
  for (const AdapterInfo* info : adapters) {
    const absl::StatusOr<std::string> section = AdapterSection(*info);
    if (!section.ok()) {
      return Annotate(section.status(), "adapter \"", info->name, "\"");
    }
    absl::StrAppend(&docs, *section, "\n");
  }
  return absl::StrCat(docs, Options(adapters));
}

}  // namespace windlass
