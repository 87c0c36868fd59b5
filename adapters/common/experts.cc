#include "windlass/adapters/common/experts.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "re2/re2.h"
#include "windlass/adapters/common/expert_members.h"
#include "windlass/core/regex.h"
#include "windlass/core/status_macros.h"
#include "windlass/core/tensor_ops.h"

namespace windlass {
namespace {

constexpr absl::string_view kSegment = ".mlp.experts.";
constexpr absl::string_view kGateAndUp = ".mlp.experts.gate_and_up_projs";
constexpr absl::string_view kDown = ".mlp.experts.down_projs";
constexpr absl::string_view kScale = "_scale_inv";

// How many missing tensors a message names.
constexpr size_t kNamedMissing = 5;

enum Projection { kGateProj, kUpProj, kDownProj, kProjections };
constexpr absl::string_view kWeightEndings[] = {
    ".gate_proj.weight", ".up_proj.weight", ".down_proj.weight"};

// An HF expert weight's name, taken apart.
struct ExpertKey {
  absl::string_view layer;  // "model.layers.3.mlp.experts"
  int64_t expert = 0;
  Projection projection = kGateProj;
};

bool IsExpertsOfALayer(absl::string_view name) {
  // No groups: finding them would cost RE2 more than all else of a plan.
  static const RE2* const pattern =
      new RE2(R"((?:model\.)?(?:language_model\.)?layers\.\d+\.mlp\.experts)");
  return RE2::FullMatch(ToRe2(name), *pattern);
}

// `known` is a layer that was found before.
std::optional<ExpertKey> ParseExpertKey(absl::string_view name,
                                        absl::string_view known) {
  const size_t segment = name.find(kSegment);
  if (segment == name.npos) return std::nullopt;
  ExpertKey key;
  key.layer = name.substr(0, segment + kSegment.size() - 1);
  absl::string_view rest = name.substr(segment + kSegment.size());
  const absl::string_view number = rest.substr(0, rest.find('.'));
  if (!absl::c_all_of(number, absl::ascii_isdigit) ||
      !absl::SimpleAtoi(number, &key.expert)) {
    return std::nullopt;
  }
  rest.remove_prefix(number.size());
  for (int projection = 0; projection < kProjections; ++projection) {
    if (rest != kWeightEndings[projection]) continue;
    if (key.layer != known && !IsExpertsOfALayer(key.layer)) break;
    key.projection = static_cast<Projection>(projection);
    return key;
  }
  return std::nullopt;
}

std::string HfName(absl::string_view layer, int64_t expert,
                   Projection projection) {
  return absl::StrCat(layer, ".", expert, kWeightEndings[projection]);
}

std::string Quoted(absl::string_view name) {
  return absl::StrCat("tensor \"", name, "\"");
}

// One layer's experts as they arrive.
class ExpertGroup {
 public:
  ExpertGroup(const MoeOptions& moe, std::string layer, int64_t begin,
              int64_t end)
      : moe_(moe), layer_(std::move(layer)), begin_(begin), end_(end) {}

  // The tensor, checked and cast.
  absl::Status Add(const ExpertKey& key, absl::string_view name,
                   const Tensor& tensor) {
    WINDLASS_RETURN_IF_ERROR(Check(key, name, tensor));
    absl::StatusOr<Tensor> cast = Cast(tensor, moe_.dtype);
    if (!cast.ok()) return Annotate(cast.status(), Quoted(name));
    // Transposing after the cast keeps both in one pass over the bytes.
    absl::StatusOr<Tensor> transposed = Transpose(*cast);
    if (!transposed.ok()) return Annotate(transposed.status(), Quoted(name));
    ExpertMembers& members = members_[key.projection];
    members.Add(key.expert, name, *std::move(transposed));
    return members.size() < end_ - begin_ ? absl::OkStatus() : members.Sort();
  }

  // Whether the last tensor of the grouped one that `projection` belongs to has
  // come.
  bool Complete(Projection projection) const {
    if (projection == kDownProj) return Full(kDownProj);
    return Full(kGateProj) && Full(kUpProj);
  }

  absl::StatusOr<NamedTensor> Merge(Projection projection) const {
    if (projection == kDownProj) {
      WINDLASS_ASSIGN_OR_RETURN(Tensor down,
                                Stack(members_[kDownProj].Tensors()));
      return NamedTensor{absl::StrCat(layer_, ".down_projs"), std::move(down)};
    }
    std::vector<Tensor> experts;
    experts.reserve(end_ - begin_);
    for (int64_t i = 0; i < end_ - begin_; ++i) {
      const Tensor parts[] = {members_[kGateProj][i], members_[kUpProj][i]};
      WINDLASS_ASSIGN_OR_RETURN(Tensor expert, Concat(parts, 1));
      experts.push_back(std::move(expert));
    }
    WINDLASS_ASSIGN_OR_RETURN(Tensor merged, Stack(experts));
    return NamedTensor{absl::StrCat(layer_, ".gate_and_up_projs"),
                       std::move(merged)};
  }

  // Counts the tensors that have not come, and names the first few.
  absl::Status FindMissing(int64_t* count, std::vector<std::string>* names) {
    for (int projection = 0; projection < kProjections; ++projection) {
      ExpertMembers& members = members_[projection];
      WINDLASS_RETURN_IF_ERROR(members.Sort());
      *count += end_ - begin_ - members.size();
      for (int64_t expert :
           members.Missing(begin_, end_, kNamedMissing - names->size())) {
        names->push_back(
            HfName(layer_, expert, static_cast<Projection>(projection)));
      }
    }
    return absl::OkStatus();
  }

 private:
  bool Full(Projection projection) const {
    return members_[projection].size() == end_ - begin_;
  }

  absl::Status Check(const ExpertKey& key, absl::string_view name,
                     const Tensor& tensor) {
    const int dim = key.projection == kDownProj ? 1 : 0;
    if (tensor.rank() != 2 || tensor.shape()[dim] != moe_.intermediate) {
      return absl::InvalidArgumentError(
          absl::StrCat(Quoted(name), ": found ", tensor.ToString(),
                       ", expected ", moe_.intermediate, " in dimension ", dim,
                       " (", moe_.intermediate_field, ")"));
    }
    const int64_t hidden = tensor.shape()[1 - dim];
    if (hidden_ < 0) hidden_ = hidden;
    if (hidden != hidden_) {
      return absl::InvalidArgumentError(absl::StrCat(
          Quoted(name), ": found ", tensor.ToString(), ", expected ", hidden_,
          " in dimension ", 1 - dim, " as the layer's other experts"));
    }
    if (DTypeBits(tensor.dtype()) <= 8 && tensor.dtype() != moe_.dtype) {
      return absl::InvalidArgumentError(absl::StrCat(
          Quoted(name), ": found ", tensor.ToString(),
          " without a scale, expected a dtype of 16 bits or more"));
    }
    return absl::OkStatus();
  }

  const MoeOptions& moe_;
  const std::string layer_;
  const int64_t begin_;
  const int64_t end_;
  int64_t hidden_ = -1;
  ExpertMembers members_[kProjections];
};

absl::Status CheckComplete(const MoeOptions& moe,
                           std::map<std::string, ExpertGroup>* groups) {
  int64_t count = 0;
  std::vector<std::string> names;
  for (auto& [layer, group] : *groups) {
    WINDLASS_RETURN_IF_ERROR(group.FindMissing(&count, &names));
  }
  if (count == 0) return absl::OkStatus();
  const int64_t more = count - static_cast<int64_t>(names.size());
  return absl::InvalidArgumentError(absl::StrCat(
      "expert weights are missing: found no \"", absl::StrJoin(names, "\", \""),
      "\"", more > 0 ? absl::StrCat(" and ", more, " more") : "",
      ", expected those of ", moe.experts, " experts (", moe.experts_field,
      ")"));
}

// What a tensor of experts is that no rule takes, as its name tells.
absl::string_view DescribeUnknown(absl::string_view name) {
  struct Kind {
    absl::string_view part;
    absl::string_view what;
  };
  static constexpr Kind kKinds[] = {
      {"qweight", "AWQ or GPTQ"},
      {"qzeros", "AWQ or GPTQ"},
      {"g_idx", "GPTQ"},
      {"scales", "AWQ or GPTQ"},
      {"weight_packed", "packed INT4"},
      {"weight_scale", "packed INT4"},
      {"weight_shape", "packed INT4"},
      {"absmax", "bitsandbytes"},
      {"quant_", "bitsandbytes"},
      {"_blocks", "MXFP4"},
      {"gate_up_proj", "stacked experts, as transformers 5 saves them"},
      {".experts.down_proj", "stacked experts, as transformers 5 saves them"},
  };
  for (const Kind& kind : kKinds) {
    if (absl::StrContains(name, kind.part)) return kind.what;
  }
  return "another name";
}

// Experts must not pass by unseen: what is one, and is not taken, is refused.
// LoRA is another step's.
absl::Status CheckNoExpert(absl::string_view name) {
  const bool is_expert = absl::StrContains(name, ".experts.") ||
                         absl::StartsWith(name, "experts.");
  if (!is_expert || absl::StrContains(name, "lora_")) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(Quoted(name),
                   ": found a tensor of experts that this adapter does not "
                   "know (",
                   DescribeUnknown(name),
                   "), expected [model.][language_model.]"
                   "layers.N.mlp.experts.E.{gate,up,down}_proj.weight"));
}

// The experts of a layer that has a router: "...layers.3.mlp.experts" for
// "...layers.3.mlp.gate.weight".
std::optional<std::string> ExpertsOfRouter(absl::string_view name) {
  constexpr absl::string_view kRouter = ".mlp.gate.weight";
  if (!absl::EndsWith(name, kRouter)) return std::nullopt;
  return absl::StrCat(absl::StripSuffix(name, kRouter), ".mlp.experts");
}

// A scale whose weight is FP8: nobody has multiplied it in.
bool IsUnusedScale(const StateDict& hf, absl::string_view name) {
  const Tensor* weight = hf.Find(absl::StripSuffix(name, kScale));
  return weight != nullptr && IsFloat(weight->dtype()) &&
         DTypeBits(weight->dtype()) <= 8;
}

}  // namespace

absl::StatusOr<StateDict> ExpertsStep::FromHf(
    const StateDict& hf, const FromHfOptions& options) const {
  const auto [begin, end] = ExpertRange(moe_.experts, options.device_mesh);
  std::map<std::string, ExpertGroup> groups;
  std::map<std::string, absl::string_view> routers;
  // Those of the tensor before: a layer's come one after the other as a rule.
  absl::string_view layer;
  ExpertGroup* group = nullptr;
  StateDictBuilder native;
  for (const auto& [name, tensor] : hf) {
    const std::optional<ExpertKey> key = ParseExpertKey(name, layer);
    if (!key.has_value()) {
      if (!absl::EndsWith(name, kScale)) {
        WINDLASS_RETURN_IF_ERROR(CheckNoExpert(name));
        if (auto experts = ExpertsOfRouter(name)) {
          routers.emplace(*std::move(experts), name);
        }
        WINDLASS_RETURN_IF_ERROR(native.Add(name, tensor, name));
      } else if (IsUnusedScale(hf, name)) {
        return absl::InvalidArgumentError(
            absl::StrCat(Quoted(name),
                         ": found a scale of FP8 weights, which this adapter "
                         "does not dequantise"));
      }
      continue;
    }
    if (key->expert >= moe_.experts) {
      return absl::InvalidArgumentError(absl::StrCat(
          Quoted(name), ": found expert ", key->expert, ", expected ",
          moe_.experts, " experts (", moe_.experts_field, ")"));
    }
    if (end - begin > static_cast<int64_t>(hf.size())) {
      return absl::InvalidArgumentError(absl::StrCat(
          Quoted(name), ": found ", hf.size(), " tensors in all, expected ",
          end - begin, " experts in its layer alone (", moe_.experts_field,
          ")"));
    }
    if (key->layer != layer) {
      layer = key->layer;
      const std::string owned(layer);
      group = &groups.try_emplace(owned, moe_, owned, begin, end).first->second;
    }
    if (key->expert < begin || key->expert >= end) continue;
    WINDLASS_RETURN_IF_ERROR(group->Add(*key, name, tensor));
    if (!group->Complete(key->projection)) continue;
    WINDLASS_ASSIGN_OR_RETURN(NamedTensor merged,
                              group->Merge(key->projection));
    WINDLASS_RETURN_IF_ERROR(
        native.Add(std::move(merged.name), std::move(merged.tensor), name));
  }
  WINDLASS_RETURN_IF_ERROR(CheckComplete(moe_, &groups));
  for (const auto& [layer, router] : routers) {
    if (groups.count(layer) > 0) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        Quoted(router), ": found a router and no experts, expected ", layer,
        ".0.gate_proj.weight and the others"));
  }
  return std::move(native).Build();
}

absl::Status ExpertsStep::ToHf(const NamedTensor& native,
                               const ToHfOptions& options,
                               std::vector<NamedTensor>* hf) const {
  const bool is_down = absl::EndsWith(native.name, kDown);
  if (!is_down && !absl::EndsWith(native.name, kGateAndUp)) {
    hf->push_back(native);
    return absl::OkStatus();
  }
  static const RE2* const layer_number = new RE2(R"(layers\.(\d+))");
  std::string number;
  if (!RE2::PartialMatch(ToRe2(native.name), *layer_number, &number)) {
    return absl::InvalidArgumentError("expected a name with layers.N");
  }
  // What stood before "layers." is not kept: the reference replaces it.
  const bool prefix =
      moe_.uses_model_prefix.value_or(absl::StartsWith(native.name, "model."));
  const std::string layer =
      absl::StrCat(prefix ? "model." : "", "layers.", number, ".mlp.experts");

  const auto [begin, end] = ExpertRange(moe_.experts, options.device_mesh);
  const Tensor& grouped = native.tensor;
  const int64_t inner = is_down ? 1 : 2;
  if (grouped.rank() != 3 || grouped.shape()[0] != end - begin ||
      (grouped.bytes() == 0 && begin < end)) {
    return absl::InvalidArgumentError(
        absl::StrCat("found ", grouped.ToString(), ", expected ", end - begin,
                     " experts in dimension 0 (", moe_.experts_field, ")"));
  }
  // Both halves of gate_and_up are as wide.
  const int64_t width = grouped.shape()[inner];
  const int64_t half = is_down ? width : width / 2;
  if (half != moe_.intermediate || half * inner != width) {
    return absl::InvalidArgumentError(
        absl::StrCat("found ", grouped.ToString(), ", expected ",
                     is_down ? "" : "2 x ", moe_.intermediate, " in dimension ",
                     inner, " (", moe_.intermediate_field, ")"));
  }
  auto emit = [&](const Tensor& matrix, int64_t expert,
                  Projection projection) -> absl::Status {
    WINDLASS_ASSIGN_OR_RETURN(Tensor weight, Transpose(matrix));
    hf->push_back({HfName(layer, expert, projection), std::move(weight)});
    return absl::OkStatus();
  };
  for (int64_t expert = begin; expert < end; ++expert) {
    WINDLASS_ASSIGN_OR_RETURN(const Tensor matrix,
                              Select(grouped, expert - begin));
    if (is_down) {
      WINDLASS_RETURN_IF_ERROR(emit(matrix, expert, kDownProj));
      continue;
    }
    WINDLASS_ASSIGN_OR_RETURN(const Tensor gate,
                              Slice(matrix, 1, 0, moe_.intermediate));
    WINDLASS_ASSIGN_OR_RETURN(const Tensor up,
                              Slice(matrix, 1, moe_.intermediate, width));
    WINDLASS_RETURN_IF_ERROR(emit(gate, expert, kGateProj));
    WINDLASS_RETURN_IF_ERROR(emit(up, expert, kUpProj));
  }
  return absl::OkStatus();
}

}  // namespace windlass
