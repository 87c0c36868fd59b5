#include "windlass/adapters/common/expert_tables.h"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "windlass/adapters/common/equal_tensors.h"
#include "windlass/core/dequantize.h"
#include "windlass/core/status_macros.h"
#include "windlass/core/tensor_ops.h"

namespace windlass {
namespace {

using layout::Cast;
using layout::Concat;
using layout::Shapes;
using layout::Share;
using layout::Stack;

// `ops` and what is done to all experts' tensors.
std::vector<LayoutOp> WithCast(std::vector<LayoutOp> ops,
                               const MoeOptions& moe) {
  ops.push_back(moe.dtype.has_value() ? Cast(*moe.dtype) : layout::NotPacked());
  if (moe.ep_shard) ops.push_back(layout::ShareWithin(1));
  return ops;
}

// -1 is any extent.
bool Fits(int64_t extent, int64_t expected) {
  return expected < 0 || extent == expected;
}

bool Gated(const ExpertNames& names) { return !names.gate.empty(); }

LayoutTable PerExpert(const MoeOptions& moe, const ExpertNames& names) {
  const LayoutDim& I = moe.intermediate;
  const LayoutDim& H = moe.hidden;
  LayoutTable table;
  auto merge = [&](const std::vector<std::string>& projections,
                   const char* native, const std::vector<LayoutDim>& shape,
                   std::vector<LayoutOp> join) {
    std::vector<std::string> hf;
    for (const std::string& projection : projections) {
      hf.push_back(absl::StrCat(names.hf, ".{e}.", projection, ".weight"));
    }
    std::vector<LayoutOp> ops = {
        Shapes(std::vector<std::vector<LayoutDim>>(hf.size(), shape)),
        layout::Transpose()};
    ops.insert(ops.end(), join.begin(), join.end());
    ops.push_back(Stack("e", moe.experts));
    table.Map(std::move(hf), {absl::StrCat(names.native, native)},
              WithCast(std::move(ops), moe));
    if (names.merged_at_end) table.AtEnd();
  };
  if (Gated(names)) {
    merge({names.gate, names.up}, ".gate_and_up_projs", {I, H},
          {Concat(-1, {I.size, I.size})});
  } else {
    merge({names.up}, ".gate_and_up_projs", {I, H}, {});
  }
  merge({names.down}, ".down_projs", {H, I}, {});
  return table;
}

// Each expert times its factor.
LayoutOp ScaleExperts(std::optional<DType> dtype) {
  auto forward = [](const LayoutContext&,
                    std::vector<Tensor>* tensors) -> absl::Status {
    WINDLASS_ASSIGN_OR_RETURN(Tensor product,
                              MulOuter((*tensors)[0], (*tensors)[1]));
    tensors->assign(1, std::move(product));
    return absl::OkStatus();
  };
  auto backward = [dtype](const LayoutContext&,
                          std::vector<Tensor>* tensors) -> absl::Status {
    const Tensor& experts = tensors->front();
    WINDLASS_ASSIGN_OR_RETURN(
        Tensor ones, Fill(dtype.value_or(experts.dtype()),
                          {experts.rank() > 0 ? experts.shape()[0] : 1}, 1));
    tensors->push_back(std::move(ones));
    return absl::OkStatus();
  };
  return layout::OneWay("times a factor each", 2, 1, forward, backward);
}

// An expert is [out, in] in HF, or [in, out] as in the native layout.
LayoutTable Fused(const MoeOptions& moe, const ExpertNames& names,
                  bool as_native) {
  const LayoutDim& E = moe.experts;
  LayoutTable table;
  auto row = [&](const char* name, const char* native, const LayoutDim& out,
                 const LayoutDim& in, const std::string& factor = "") {
    std::vector<std::string> hf = {absl::StrCat(names.hf, name)};
    std::vector<std::vector<LayoutDim>> shapes = {{E, out, in}};
    if (as_native) std::swap(shapes[0][1], shapes[0][2]);
    std::vector<LayoutOp> ops;
    if (!factor.empty()) {
      hf.push_back(factor);
      shapes.push_back({E});
      ops.push_back(ScaleExperts(moe.dtype));
    }
    ops.insert(ops.begin(), Shapes(std::move(shapes)));
    ops.push_back(Share(E));
    if (!as_native) ops.push_back(layout::Transpose());
    table.Map(std::move(hf), {absl::StrCat(names.native, native)},
              WithCast(std::move(ops), moe));
    if (names.fused_at_end) table.AtEnd();
  };
  const LayoutDim& I = moe.intermediate;
  if (Gated(names)) {
    row(".gate_up_proj", ".gate_and_up_projs", Doubled(I), moe.hidden);
  } else {
    row(".up_proj", ".gate_and_up_projs", I, moe.hidden);
  }
  row(".down_proj", ".down_projs", moe.hidden, I, names.down_scale);
  return table;
}

// Which of the two a file has. Where one kind of tensor is square, the other
// is not.
class FusedOrientation {
 public:
  FusedOrientation(const MoeOptions& moe, const ExpertNames& names)
      : hidden_(moe.hidden.size),
        intermediate_(moe.intermediate.size),
        inner_(Gated(names) ? Doubled(moe.intermediate).size : intermediate_),
        input_(Gated(names) ? ".experts.gate_up_proj" : ".experts.up_proj") {}

  absl::StatusOr<std::string> operator()(const StateDict& hf) const {
    bool as_native = true;
    bool turned = true;
    for (const auto& [name, tensor] : hf) {
      const bool input = absl::EndsWith(name, input_);
      if ((!input && !absl::EndsWith(name, ".experts.down_proj")) ||
          tensor.rank() != 3) {
        continue;
      }
      const int64_t in = input ? hidden_ : intermediate_;
      const int64_t out = input ? inner_ : hidden_;
      const Shape& shape = tensor.shape();
      as_native = as_native && Fits(shape[1], in) && Fits(shape[2], out);
      turned = turned && Fits(shape[1], out) && Fits(shape[2], in);
    }
    // What fits neither is refused by its shape.
    return std::string(turned && !as_native ? "transformers_5" : "published");
  }

 private:
  int64_t hidden_;
  int64_t intermediate_;
  int64_t inner_;
  std::string input_;
};

LayoutTable FusedForms(const MoeOptions& moe, const ExpertNames& names) {
  if (!names.fused_as_native) return Fused(moe, names, /*as_native=*/false);
  LayoutTable table;
  table.OneOf({"orientation", "published", "", FusedOrientation(moe, names)},
              {{"published", Fused(moe, names, /*as_native=*/true)},
               {"transformers_5", Fused(moe, names, /*as_native=*/false)}});
  return table;
}

absl::Status NotAMultiple(const Tensor& tensor, int64_t experts, int dim) {
  return absl::InvalidArgumentError(
      absl::StrCat("found ", tensor.ToString(), ", expected a multiple of ",
                   experts, " experts in dimension ", dim));
}

// [E r, X], row e r + k, to [E, r, X].
LayoutOp UnfoldRows(int64_t experts) {
  LayoutOp op;
  op.name = "unfold rows";
  op.forward = [experts](const LayoutContext&,
                         std::vector<Tensor>* tensors) -> absl::Status {
    Tensor& tensor = tensors->front();
    if (tensor.rank() != 2 || tensor.shape()[0] % experts != 0) {
      return NotAMultiple(tensor, experts, 0);
    }
    WINDLASS_ASSIGN_OR_RETURN(
        tensor, Reshape(tensor, {experts, tensor.shape()[0] / experts,
                                 tensor.shape()[1]}));
    return absl::OkStatus();
  };
  op.backward = [](const LayoutContext&,
                   std::vector<Tensor>* tensors) -> absl::Status {
    Tensor& tensor = tensors->front();
    const Shape shape = tensor.shape();
    WINDLASS_ASSIGN_OR_RETURN(tensor,
                              Reshape(tensor, {shape[0] * shape[1], shape[2]}));
    return absl::OkStatus();
  };
  return op;
}

// [X, r E], column k E + e, to [E, X, r].
LayoutOp UnfoldColumns(int64_t experts) {
  LayoutOp op;
  op.name = "unfold columns";
  op.forward = [experts](const LayoutContext&,
                         std::vector<Tensor>* tensors) -> absl::Status {
    Tensor& tensor = tensors->front();
    if (tensor.rank() != 2 || tensor.shape()[1] % experts != 0) {
      return NotAMultiple(tensor, experts, 1);
    }
    const int64_t rows = tensor.shape()[0];
    const int64_t rank = tensor.shape()[1] / experts;
    WINDLASS_ASSIGN_OR_RETURN(tensor, Reshape(tensor, {rows * rank, experts}));
    WINDLASS_ASSIGN_OR_RETURN(tensor, Transpose(tensor));
    WINDLASS_ASSIGN_OR_RETURN(tensor, Reshape(tensor, {experts, rows, rank}));
    return absl::OkStatus();
  };
  op.backward = [](const LayoutContext&,
                   std::vector<Tensor>* tensors) -> absl::Status {
    Tensor& tensor = tensors->front();
    const Shape shape = tensor.shape();
    WINDLASS_ASSIGN_OR_RETURN(tensor,
                              Reshape(tensor, {shape[0], shape[1] * shape[2]}));
    WINDLASS_ASSIGN_OR_RETURN(tensor, Transpose(tensor));
    WINDLASS_ASSIGN_OR_RETURN(tensor,
                              Reshape(tensor, {shape[1], shape[2] * shape[0]}));
    return absl::OkStatus();
  };
  return op;
}

// Gate and up have one A between them.
LayoutOp SharedA(bool gate) {
  auto forward = [gate](const LayoutContext& context,
                        std::vector<Tensor>* tensors) -> absl::Status {
    if (!gate) {
      WINDLASS_ASSIGN_OR_RETURN(
          (*tensors)[0], Equal((*tensors)[0], std::string(context.names[0]),
                               (*tensors)[1], std::string(context.names[1])));
    }
    tensors->resize(1);
    return absl::OkStatus();
  };
  auto backward = [](const LayoutContext&, std::vector<Tensor>* tensors) {
    tensors->push_back(tensors->front());
    return absl::OkStatus();
  };
  return layout::OneWay("shared", 2, 1, forward, backward);
}

LayoutTable PerExpertLora(const MoeOptions& moe, const ExpertNames& names) {
  const LayoutDim& I = moe.intermediate;
  const LayoutDim& H = moe.hidden;
  const LayoutDim r = {"r", -1, ""};
  const LayoutOp stack = Stack("e", moe.experts);
  auto hf = [&](const std::string& projection, const char* matrix) {
    return absl::StrCat(names.hf, ".{e}.", projection, ".lora_", matrix,
                        ".weight");
  };
  auto native = [&](const char* name) {
    return std::vector<std::string>{absl::StrCat(names.native, ".lora_", name)};
  };
  LayoutTable table;
  LayoutTable down;
  if (Gated(names)) {
    table
        .Map({hf(names.gate, "A"), hf(names.up, "A")}, native("gate_and_up_A"),
             {Shapes({{r, H}, {r, H}}), SharedA(moe.gate_lora_a),
              layout::Transpose(), stack})
        .AtEnd()
        .Map({hf(names.gate, "B"), hf(names.up, "B")}, native("gate_and_up_B"),
             {Shapes({{I, r}, {I, r}}), layout::Transpose(),
              Concat(-1, {I.size, I.size}), stack})
        .AtEnd();
  } else {
    table
        .Map({hf(names.up, "A")}, native("gate_and_up_A"),
             {Shapes({{r, H}}), layout::Transpose(), stack})
        .AtEnd()
        .Map({hf(names.up, "B")}, native("gate_and_up_B"),
             {Shapes({{I, r}}), layout::Transpose(), stack})
        .AtEnd();
  }
  down.Map({hf(names.down, "A")}, native("down_A"),
           {Shapes({{r, I}}), layout::Transpose(), stack})
      .AtEnd()
      .Map({hf(names.down, "B")}, native("down_B"),
           {Shapes({{H, r}}), layout::Transpose(), stack})
      .AtEnd();
  return table.Together().Append(down.Together());
}

// PEFT wraps the parameter that goes in first, so it is the inner one.
constexpr char kInner[] = ".base_layer";
constexpr char kOuter[] = "";

LayoutTable WrapperLora(const MoeOptions& moe, const ExpertNames& names,
                        bool turned) {
  const LayoutDim& E = moe.experts;
  const LayoutDim& H = moe.hidden;
  const LayoutDim& I = moe.intermediate;
  const LayoutDim I2 = Gated(names) ? Doubled(I) : I;
  const LayoutDim rE = {"rE", -1, ""};
  auto pair = [&](const char* wrapper, const char* native, const LayoutDim& in,
                  const LayoutDim& out) {
    LayoutTable table;
    auto hf = [&](const char* matrix) {
      return std::vector<std::string>{
          absl::StrCat(names.hf, wrapper, ".lora_", matrix, ".weight")};
    };
    const std::vector<std::string> a = {
        absl::StrCat(names.native, ".lora_", native, "_A")};
    const std::vector<std::string> b = {
        absl::StrCat(names.native, ".lora_", native, "_B")};
    if (turned) {
      table
          .Map(hf("A"), a,
               {Shapes({{rE, in}}), UnfoldRows(E.size), Share(E),
                layout::Transpose()})
          .AtEnd()
          .Map(hf("B"), b,
               {Shapes({{out, rE}}), UnfoldColumns(E.size), Share(E),
                layout::Transpose()})
          .AtEnd();
    } else {
      table
          .Map(hf("B"), a,
               {Shapes({{in, rE}}), UnfoldColumns(E.size), Share(E)})
          .AtEnd()
          .Map(hf("A"), b, {Shapes({{rE, out}}), UnfoldRows(E.size), Share(E)})
          .AtEnd();
    }
    return table.Together();
  };
  return pair(kInner, "gate_and_up", H, I2).Append(pair(kOuter, "down", I, H));
}

// Which of PEFT's orientations the shapes allow.
class PeftLayout {
 public:
  PeftLayout(const MoeOptions& moe, bool gated)
      : hidden_(moe.hidden.size),
        intermediate_(moe.intermediate.size),
        inner_(gated ? Doubled(moe.intermediate).size : intermediate_),
        wanted_(moe.peft_layout) {}

  absl::StatusOr<std::string> operator()(const StateDict& hf) const {
    if (wanted_.has_value()) return *wanted_;
    bool old_fits = true;
    bool new_fits = true;
    const NamedTensor* seen = nullptr;
    for (const NamedTensor& named : hf) {
      const bool a = absl::EndsWith(named.name, ".lora_A.weight");
      if ((!a && !absl::EndsWith(named.name, ".lora_B.weight")) ||
          named.tensor.rank() != 2) {
        continue;
      }
      const bool inner = absl::StrContains(named.name, ".experts.base_layer.");
      if (!inner && !absl::StrContains(named.name, ".experts.lora_")) continue;
      const int64_t in = inner ? hidden_ : intermediate_;
      const int64_t out = inner ? inner_ : hidden_;
      const int64_t extent = named.tensor.shape()[a ? 1 : 0];
      old_fits = old_fits && Fits(extent, a ? out : in);
      new_fits = new_fits && Fits(extent, a ? in : out);
      seen = &named;
      if (!old_fits && !new_fits) break;
    }
    if (seen == nullptr || (new_fits && !old_fits)) return std::string("0.19");
    if (old_fits && !new_fits) return std::string("0.18");
    return absl::InvalidArgumentError(absl::StrCat(
        "tensor \"", seen->name, "\": found ", seen->tensor.ToString(),
        old_fits ? ", which the shapes allow to be of PEFT 0.18 and of 0.19 "
                   "alike, expected the option \"peft_layout\" to say which"
                 : ", which fits neither PEFT 0.18 nor 0.19"));
  }

 private:
  int64_t hidden_;
  int64_t intermediate_;
  int64_t inner_;
  std::optional<std::string> wanted_;
};

}  // namespace

LayoutDim Doubled(const LayoutDim& dim) {
  if (dim.size < 0) return {absl::StrCat("2", dim.name), -1, ""};
  return {absl::StrCat("2", dim.name), std::min(dim.size, INT64_MAX / 2) * 2,
          dim.origin};
}

std::function<bool(absl::string_view, int64_t)> SparseLayers(
    const MoeOptions& moe) {
  if (moe.sparse == nullptr) return nullptr;
  return [sparse = moe.sparse](absl::string_view layer, int64_t number) {
    return !absl::StartsWith(layer, "mtp.") &&
           !absl::StrContains(layer, ".mtp.") && sparse(number);
  };
}

LayoutTable ExpertTable(const MoeOptions& moe, const ExpertNames& names) {
  return ExpertTable(moe, names,
                     {"expert_layout", moe.expert_layout, "", nullptr});
}

LayoutTable ExpertTable(const MoeOptions& moe, const ExpertNames& names,
                        LayoutChoice choice) {
  LayoutTable table;
  table
      .OneOf(std::move(choice), {{"per_expert", PerExpert(moe, names)},
                                 {"fused", FusedForms(moe, names)}})
      .Together()
      .ClosedExperts({names.router, SparseLayers(moe)});
  return table;
}

LayoutTable FusedExpertTable(const MoeOptions& moe, const ExpertNames& names) {
  LayoutTable table = FusedForms(moe, names);
  table.Together().ClosedExperts({names.router, SparseLayers(moe)});
  return table;
}

LayoutTable ExpertLoraTable(const MoeOptions& moe, bool param_wrapper,
                            const ExpertNames& names) {
  LayoutTable wrapper;
  wrapper.OneOf({"peft_layout", moe.peft_layout.value_or("0.19"), "",
                 PeftLayout(moe, Gated(names))},
                {{"0.19", WrapperLora(moe, names, /*turned=*/true)},
                 {"0.18", WrapperLora(moe, names, /*turned=*/false)}});
  LayoutTable table;
  table.OneOf({"expert_lora", param_wrapper ? "param_wrapper" : "per_expert",
               "per_expert", nullptr},
              {{"per_expert", PerExpertLora(moe, names)},
               {"param_wrapper", std::move(wrapper)}});
  return table;
}

LayoutTable BlockFp8Table(const MoeOptions& moe, bool exact_scales) {
  LayoutTable table;
  table.Decode(
      "{n*}weight", {"{n*}weight_scale_inv"}, "{n*}weight",
      {layout::Dequantize(BlockFormat(), moe.dtype.value_or(DType::kBF16),
                          exact_scales)});
  return table;
}

LayoutTable ScaleDropTable() {
  LayoutTable table;
  table.DropHf("{r*}{s+}_scale_inv");
  return table;
}

std::vector<LayoutStage> ModelPrefixStages(const MoeOptions& moe) {
  if (!moe.uses_model_prefix.has_value()) return {};
  NameRules rules;
  rules.to_hf =
      KeyRewriter::Create(
          {KeyRewriter::Regex(
              R"(^(?:.*\.)?(layers\.\d+\.mlp\.experts\.\d+\.\w+\.weight)$)",
              *moe.uses_model_prefix ? R"(model.\1)" : R"(\1)")})
          .value();
  return {rules};
}

LayoutTable MixtureTable(const MoeOptions& moe, bool param_wrapper,
                         const ExpertNames& names, const LayoutTable& others) {
  LayoutTable table = ExpertTable(moe, names);
  table.Append(ExpertLoraTable(moe, param_wrapper, names))
      .Else()
      .Append(ScaleDropTable())
      .Else()
      .Append(others);
  return table;
}

std::vector<LayoutStage> ExpertStages(const MoeOptions& moe, bool param_wrapper,
                                      const ExpertNames& names,
                                      const LayoutTable& others) {
  std::vector<LayoutStage> stages = ModelPrefixStages(moe);
  stages.insert(stages.begin(), BlockFp8Table(moe));
  stages.emplace_back(MixtureTable(moe, param_wrapper, names, others));
  return stages;
}

}  // namespace windlass
