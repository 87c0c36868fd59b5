#include "windlass/testing/layout_example.h"

#include <map>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "windlass/core/layout_stage.h"
#include "windlass/core/name_pattern.h"
#include "windlass/core/status_macros.h"
#include "windlass/testing/tensors.h"

namespace windlass {
namespace {

constexpr int kLayers = 2;

class Example {
 public:
  Example(bool shares, std::mt19937* random)
      : shares_(shares), random_(random) {}

  // Names as they are before the stages.
  absl::StatusOr<StateDict> Of(const std::vector<LayoutStage>& stages) {
    StateDict model;
    std::vector<LayoutStage> outer = stages;
    outer.swap(from_here_);
    // What keeps its name in a stage is called as the stages behind it say.
    for (const LayoutStage& stage : stages) {
      if (stage.impl()->table() == nullptr) continue;
      WINDLASS_RETURN_IF_ERROR(
          AddRows(*stage.impl()->table(), /*keep_names=*/true, &model));
    }
    from_here_.clear();
    for (auto stage = stages.rbegin(); stage != stages.rend(); ++stage) {
      from_here_.insert(from_here_.begin(), *stage);
      WINDLASS_ASSIGN_OR_RETURN(const auto adapter,
                                MakeLayoutAdapter({*stage}));
      WINDLASS_ASSIGN_OR_RETURN(model, adapter->ToHf(model, {}));
      WINDLASS_RETURN_IF_ERROR(Add(*stage->impl(), &model));
    }
    outer.swap(from_here_);
    return model;
  }

 private:
  absl::Status Add(const LayoutStage::Impl& stage, StateDict* model) {
    if (stage.rules() != nullptr) {
      for (const std::string& name : stage.rules()->examples) {
        const bool held = stage.rules()->held_names.Matches(name);
        WINDLASS_RETURN_IF_ERROR(AddNew(
            name, {4}, held ? stage.rules()->held : DType::kBF16, model));
      }
    }
    if (stage.under() != nullptr) {
      WINDLASS_ASSIGN_OR_RETURN(const StateDict inner,
                                Of(stage.under()->stages));
      for (const auto& [name, tensor] : inner) {
        const std::string full = absl::StrCat(stage.under()->hf, name);
        if (model->Contains(full)) continue;
        WINDLASS_RETURN_IF_ERROR(model->Insert(full, tensor));
      }
    }
    if (stage.table() == nullptr) return absl::OkStatus();
    return AddRows(*stage.table(), /*keep_names=*/false, model);
  }

  absl::Status AddRows(const LayoutTable& table, bool keep_names,
                       StateDict* model) {
    for (const LayoutTable::Row& row : table.rows()) {
      const bool keeps = !row.hf.empty() && row.native.size() == 1 &&
                         row.native[0] == row.hf[0];
      if (keeps != keep_names) continue;
      WINDLASS_RETURN_IF_ERROR(AddRow(table, row, model));
    }
    return absl::OkStatus();
  }

  absl::Status AddRow(const LayoutTable& table, const LayoutTable::Row& row,
                      StateDict* model) {
    using Kind = LayoutTable::Row::Kind;
    if (row.kind == Kind::kDropHf || row.kind == Kind::kDropNative ||
        !row.to_hf || !row.to_native) {
      return absl::OkStatus();
    }
    if (row.kind == Kind::kSynthesize) {
      return AddSynthesized(row, model);
    }
    for (const auto& [choice, form] : row.forms) {
      if (table.choices()[choice].on_export != form) return absl::OkStatus();
    }
    for (const LayoutOp& op : row.ops) {
      if (op.name == "share" && !shares_) return absl::OkStatus();
    }
    for (int layer = 0; layer < kLayers; ++layer) {
      WINDLASS_RETURN_IF_ERROR(AddLayer(row, layer, model));
    }
    return absl::OkStatus();
  }

  // What the row makes another tensor of, and what it makes, where HF has that.
  // A name that is written otherwise is for other rows to give.
  absl::Status AddSynthesized(const LayoutTable::Row& row, StateDict* model) {
    WINDLASS_ASSIGN_OR_RETURN(const NamePattern::Pair names,
                              NamePattern::Compile(row.hf, {}));
    const std::string from = NameOf(names.left[0], names.slots, "", 0, 0);
    StateDict hf;
    WINDLASS_RETURN_IF_ERROR(AddNew(from, {4, 2}, DType::kBF16, &hf));
    WINDLASS_ASSIGN_OR_RETURN(const auto adapter,
                              MakeLayoutAdapter(from_here_));
    const absl::StatusOr<StateDict> native = adapter->FromHf(hf, {});
    if (!native.ok()) return absl::OkStatus();
    WINDLASS_ASSIGN_OR_RETURN(const StateDict back, adapter->ToHf(*native, {}));
    if (!back.Contains(from)) return absl::OkStatus();
    for (const auto& [name, tensor] : back) {
      WINDLASS_RETURN_IF_ERROR(
          AddNew(name, tensor.shape(), tensor.dtype(), model));
    }
    return absl::OkStatus();
  }

  // A rule for names may hold what a row gives, and then in one direction.
  DType DTypeOf(const std::string& name, DType otherwise) const {
    LayoutName taken{name};
    for (const LayoutStage& stage : from_here_) {
      stage.impl()->TakeName(/*to_hf=*/false, &taken);
      const NameRules* rules = stage.impl()->rules();
      if (rules != nullptr && rules->held_names.Matches(taken.name)) {
        return rules->held;
      }
    }
    return otherwise;
  }

  // The tensors of a row for one number of its captures.
  absl::Status AddLayer(const LayoutTable::Row& row, int layer,
                        StateDict* model) {
    std::string over;
    int64_t count = 1;
    DType dtype = DType::kBF16;
    const LayoutOp* joins = nullptr;
    const std::vector<std::vector<LayoutDim>>* shapes = nullptr;
    for (const LayoutOp& op : row.ops) {
      if (!op.over.empty()) {
        over = op.over;
        count = op.count.size;
      }
      if (!op.shapes.empty()) shapes = &op.shapes;
      if (op.held.has_value()) dtype = *op.held;
      // Several that are one on the other side have to be what that gives.
      if (op.kind == LayoutOp::Kind::kOneWay && op.takes > 1) joins = &op;
    }
    WINDLASS_ASSIGN_OR_RETURN(const NamePattern::Pair names,
                              NamePattern::Compile(row.hf, {}));
    const int parts = row.hf.size() - row.companions;
    for (int64_t number = 0; number < count; ++number) {
      std::vector<NamedTensor> tensors;
      for (int part = 0; part < parts; ++part) {
        const std::string name =
            NameOf(names.left[part], names.slots, over, layer, number);
        if (model->Contains(name)) continue;
        const Shape shape =
            shapes == nullptr ? Shape{4, 6} : ShapeOf((*shapes)[part]);
        Tensor tensor = RandomTensor(DTypeOf(name, dtype), shape, random_);
        for (const LayoutOp& op : row.ops) {
          // HF has the larger form.
          if (!absl::StartsWith(op.name, "pad ")) continue;
          std::vector<Tensor> padded = {tensor};
          WINDLASS_RETURN_IF_ERROR(op.backward({}, &padded));
          tensor = padded[0];
        }
        tensors.push_back({name, std::move(tensor)});
      }
      if (joins != nullptr) WINDLASS_RETURN_IF_ERROR(Agree(*joins, &tensors));
      for (NamedTensor& named : tensors) {
        WINDLASS_RETURN_IF_ERROR(
            model->Insert(std::move(named.name), std::move(named.tensor)));
      }
    }
    return absl::OkStatus();
  }

  // Makes of tensors what is left of them there and back.
  static absl::Status Agree(const LayoutOp& joins,
                            std::vector<NamedTensor>* tensors) {
    LayoutContext context;
    std::vector<Tensor> values;
    for (const NamedTensor& named : *tensors) {
      context.names.push_back(named.name);
      // Those that may be one and the same are.
      const bool alike =
          !values.empty() && named.tensor.shape() == values[0].shape();
      values.push_back(alike ? values[0] : named.tensor);
    }
    WINDLASS_RETURN_IF_ERROR(joins.forward(context, &values));
    WINDLASS_RETURN_IF_ERROR(joins.backward(context, &values));
    for (size_t i = 0; i < values.size(); ++i) {
      (*tensors)[i].tensor = std::move(values[i]);
    }
    return absl::OkStatus();
  }

  absl::Status AddNew(const std::string& name, Shape shape, DType dtype,
                      StateDict* model) {
    if (model->Contains(name)) return absl::OkStatus();
    return model->Insert(name, RandomTensor(dtype, std::move(shape), random_));
  }

  Shape ShapeOf(const std::vector<LayoutDim>& dims) {
    Shape shape;
    for (const LayoutDim& dim : dims) {
      if (dim.size >= 0) {
        shape.push_back(dim.size);
        continue;
      }
      // "rE" has to be a multiple of E: of any E that tests use.
      auto [known, fresh] = sizes_.try_emplace(dim.name, 0);
      if (fresh) {
        known->second =
            2 * std::uniform_int_distribution<int64_t>(1, 5)(*random_);
        if (dim.name == "rE") known->second = 2 * 3 * 4 * 5 * 7;
      }
      shape.push_back(known->second);
    }
    return shape;
  }

  static std::string NameOf(const NamePattern& pattern,
                            const NamePattern::Slots& slots,
                            const std::string& over, int layer,
                            int64_t number) {
    return pattern.ExampleName([&](int slot) {
      return slots[slot] == over ? number : int64_t{layer};
    });
  }

  const bool shares_;
  std::mt19937* const random_;
  std::vector<LayoutStage> from_here_;  // from the one at hand to native
  std::map<std::string, int64_t> sizes_;
};

}  // namespace

absl::StatusOr<StateDict> ExampleHf(const std::vector<LayoutStage>& stages,
                                    bool shares, std::mt19937* random) {
  return Example(shares, random).Of(stages);
}

}  // namespace windlass
