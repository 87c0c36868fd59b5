#include "windlass/adapters/common/expert_lora.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "absl/algorithm/container.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "re2/re2.h"
#include "windlass/adapters/common/expert_members.h"
#include "windlass/core/regex.h"
#include "windlass/core/status_macros.h"
#include "windlass/core/tensor_ops.h"

namespace windlass {
namespace {

// The four native tensors of a layer, in the order in which they are written.
enum Role { kGateAndUpA, kGateAndUpB, kDownA, kDownB, kRoles };
constexpr const char* kNativeNames[] = {
    "lora_gate_and_up_A", "lora_gate_and_up_B", "lora_down_A", "lora_down_B"};
// The reference writes the inner wrapper's A from the native B and vice versa:
// native matrices multiply from the other side.
constexpr const char* kWrapperNames[] = {"base_layer.lora_B.weight",
                                         "base_layer.lora_A.weight",
                                         "lora_B.weight", "lora_A.weight"};

bool IsA(Role role) { return role == kGateAndUpA || role == kDownA; }

struct LoraKey {
  std::string layer;  // "...layers.3.mlp.experts"
  Role role = kGateAndUpA;
};

std::optional<LoraKey> ParseKey(absl::string_view name,
                                const char* const* names) {
  for (int role = 0; role < kRoles; ++role) {
    const std::string suffix = absl::StrCat(".mlp.experts.", names[role]);
    if (!absl::EndsWith(name, suffix)) continue;
    const size_t layer =
        name.size() - absl::string_view(names[role]).size() - 1;
    return LoraKey{std::string(name.substr(0, layer)), static_cast<Role>(role)};
  }
  return std::nullopt;
}

struct PerExpertKey {
  LoraKey key;
  int64_t expert = 0;
  // False for "+1" and the like, which no \d+ matches.
  bool digits_only = true;
  bool up = false;
};

std::optional<PerExpertKey> ParsePerExpertKey(absl::string_view name) {
  constexpr absl::string_view kSegment = ".mlp.experts.";
  static const RE2* const layer = new RE2(R"((?s).*layers\.\d+)");
  const size_t segment = name.rfind(kSegment);
  if (segment == name.npos || !absl::StrContains(name, ".lora_")) {
    return std::nullopt;
  }
  const std::vector<absl::string_view> parts =
      absl::StrSplit(name.substr(segment + kSegment.size()), '.');
  PerExpertKey found;
  found.digits_only = absl::c_all_of(parts[0], absl::ascii_isdigit);
  // A number that is too large becomes the largest, which no config knows.
  if (parts.size() != 4 || parts[3] != "weight" ||
      (!absl::SimpleAtoi(parts[0], &found.expert) &&
       (!found.digits_only || parts[0].empty())) ||
      (parts[2] != "lora_A" && parts[2] != "lora_B") ||
      !RE2::FullMatch(ToRe2(name.substr(0, segment)), *layer)) {
    return std::nullopt;
  }
  const bool is_a = parts[2] == "lora_A";
  if (parts[1] == "down_proj") {
    found.key.role = is_a ? kDownA : kDownB;
  } else if (parts[1] == "gate_proj" || parts[1] == "up_proj") {
    found.key.role = is_a ? kGateAndUpA : kGateAndUpB;
  } else {
    return std::nullopt;
  }
  found.up = parts[1] == "up_proj";
  found.key.layer = std::string(name.substr(0, segment + kSegment.size() - 1));
  return found;
}

// [X, r*E] with column k*E+e, from [E, X, r]; and back.
absl::StatusOr<Tensor> FoldColumns(const Tensor& native) {
  const int64_t experts = native.shape()[0];
  const int64_t rows = native.shape()[1];
  const int64_t rank = native.shape()[2];
  WINDLASS_ASSIGN_OR_RETURN(const Tensor flat,
                            Reshape(native, {experts, rows * rank}));
  WINDLASS_ASSIGN_OR_RETURN(const Tensor folded, Transpose(flat));
  return Reshape(folded, {rows, rank * experts});
}

absl::StatusOr<Tensor> UnfoldColumns(const Tensor& wrapper, int64_t experts) {
  const int64_t rows = wrapper.shape()[0];
  const int64_t rank = wrapper.shape()[1] / experts;
  WINDLASS_ASSIGN_OR_RETURN(const Tensor flat,
                            Reshape(wrapper, {rows * rank, experts}));
  WINDLASS_ASSIGN_OR_RETURN(const Tensor unfolded, Transpose(flat));
  return Reshape(unfolded, {experts, rows, rank});
}

absl::StatusOr<Tensor> ToWrapper(const Tensor& native, Role role) {
  if (IsA(role)) return FoldColumns(native);
  return Reshape(native,
                 {native.shape()[0] * native.shape()[1], native.shape()[2]});
}

absl::StatusOr<Tensor> FromWrapper(const Tensor& wrapper, Role role,
                                   const MoeOptions& moe) {
  const int64_t experts = moe.experts;
  const int dim = IsA(role) ? 1 : 0;
  if (wrapper.rank() != 2 || wrapper.shape()[dim] % experts != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "found ", wrapper.ToString(), ", expected a multiple of ", experts,
        " experts in dimension ", dim, " (", moe.experts_field, ")"));
  }
  if (IsA(role)) return UnfoldColumns(wrapper, experts);
  return Reshape(wrapper,
                 {experts, wrapper.shape()[0] / experts, wrapper.shape()[1]});
}

// What has come of a layer's LoRA.
struct Layer {
  // From ParamWrapper keys.
  std::optional<Tensor> whole[kRoles];
  // From per-expert keys: [role][up or not].
  ExpertMembers experts[kRoles][2];
  absl::string_view origin;  // of the first key, for messages
};

class LoraCollector {
 public:
  explicit LoraCollector(const MoeOptions& moe) : moe_(moe) {}

  // Whether `name` is LoRA of experts; it is kept then.
  absl::StatusOr<bool> Add(const std::string& name, const Tensor& tensor) {
    if (std::optional<LoraKey> key = ParseKey(name, kWrapperNames)) {
      WINDLASS_ASSIGN_OR_RETURN(LayerOf(*key, name).whole[key->role],
                                FromWrapper(tensor, key->role, moe_));
      return true;
    }
    std::optional<PerExpertKey> found = ParsePerExpertKey(name);
    if (!found.has_value()) return false;
    if (!found->digits_only) {
      return absl::InvalidArgumentError(
          "expected an expert's number of digits alone");
    }
    if (found->expert >= moe_.experts) {
      return absl::InvalidArgumentError(
          absl::StrCat("found expert ", found->expert, ", expected ",
                       moe_.experts, " experts (", moe_.experts_field, ")"));
    }
    WINDLASS_ASSIGN_OR_RETURN(Tensor matrix, Transpose(tensor));
    LayerOf(found->key, name)
        .experts[found->key.role][found->up]
        .Add(found->expert, name, std::move(matrix));
    return true;
  }

  absl::Status Append(StateDictBuilder* native) {
    for (const std::string& name : order_) {
      Layer& layer = layers_.at(name);
      for (int role = 0; role < kRoles; ++role) {
        absl::StatusOr<std::optional<Tensor>> tensor =
            Merge(layer, static_cast<Role>(role));
        const std::string key = absl::StrCat(name, ".", kNativeNames[role]);
        if (!tensor.ok()) {
          return Annotate(tensor.status(), "tensor \"", key, "\"");
        }
        if (!tensor->has_value()) continue;
        WINDLASS_RETURN_IF_ERROR(native->Add(key, **tensor, layer.origin));
      }
    }
    return absl::OkStatus();
  }

 private:
  Layer& LayerOf(const LoraKey& key, absl::string_view name) {
    auto [it, fresh] = layers_.try_emplace(key.layer);
    if (fresh) {
      order_.push_back(key.layer);
      it->second.origin = name;
    }
    return it->second;
  }

  absl::StatusOr<std::optional<Tensor>> Merge(Layer& layer, Role role) const {
    ExpertMembers& gate = layer.experts[role][0];  // or down
    ExpertMembers& up = layer.experts[role][1];
    if (gate.size() + up.size() == 0) return layer.whole[role];
    if (layer.whole[role].has_value()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "found \"", kWrapperNames[role],
          "\" beside matrices of single experts, expected one of the two"));
    }
    WINDLASS_RETURN_IF_ERROR(
        CheckComplete(gate, role < kDownA ? "gate_proj" : "down_proj"));
    if (role < kDownA) WINDLASS_RETURN_IF_ERROR(CheckComplete(up, "up_proj"));
    if (role != kGateAndUpB) {
      // Gate and up have one A between them; the gate's is taken.
      WINDLASS_ASSIGN_OR_RETURN(Tensor merged, Stack(gate.Tensors()));
      return std::optional<Tensor>(std::move(merged));
    }
    std::vector<Tensor> both;
    for (int64_t expert = 0; expert < moe_.experts; ++expert) {
      const Tensor parts[] = {gate[expert], up[expert]};
      WINDLASS_ASSIGN_OR_RETURN(Tensor joined, Concat(parts, 1));
      both.push_back(std::move(joined));
    }
    WINDLASS_ASSIGN_OR_RETURN(Tensor merged, Stack(both));
    return std::optional<Tensor>(std::move(merged));
  }

  absl::Status CheckComplete(ExpertMembers& experts,
                             absl::string_view projection) const {
    WINDLASS_RETURN_IF_ERROR(experts.Sort());
    const std::vector<int64_t> missing = experts.Missing(0, moe_.experts, 1);
    if (missing.empty()) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(
        "found no ", projection, " of expert ", missing[0], ", expected ",
        moe_.experts, " experts (", moe_.experts_field, ")"));
  }

  const MoeOptions& moe_;
  std::vector<std::string> order_;
  absl::flat_hash_map<std::string, Layer> layers_;
};

}  // namespace

absl::StatusOr<StateDict> ExpertLoraStep::FromHf(const StateDict& hf,
                                                 const FromHfOptions&) const {
  StateDictBuilder native;
  LoraCollector lora(moe_);
  for (const auto& [name, tensor] : hf) {
    const absl::StatusOr<bool> taken = lora.Add(name, tensor);
    if (!taken.ok()) {
      return Annotate(taken.status(), "tensor \"", name, "\"");
    }
    if (!*taken) WINDLASS_RETURN_IF_ERROR(native.Add(name, tensor, name));
  }
  WINDLASS_RETURN_IF_ERROR(lora.Append(&native));
  return std::move(native).Build();
}

absl::Status ExpertLoraStep::ToHf(const NamedTensor& native,
                                  const ToHfOptions& options,
                                  std::vector<NamedTensor>* hf) const {
  const std::optional<LoraKey> key = ParseKey(native.name, kNativeNames);
  if (!key.has_value()) {
    hf->push_back(native);
    return absl::OkStatus();
  }
  if (native.tensor.rank() != 3 || native.tensor.shape()[0] != moe_.experts ||
      native.tensor.bytes() == 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "found ", native.tensor.ToString(), ", expected ", moe_.experts,
        " experts in dimension 0 (", moe_.experts_field, ")"));
  }
  const uint64_t both = uint64_t{2} * moe_.intermediate;
  if (key->role == kGateAndUpB &&
      static_cast<uint64_t>(native.tensor.shape()[2]) != both) {
    return absl::InvalidArgumentError(
        absl::StrCat("found ", native.tensor.ToString(), ", expected ", both,
                     " in dimension 2 (", moe_.intermediate_field, ")"));
  }
  if (param_wrapper_ && !options.v4_compatible) {
    WINDLASS_ASSIGN_OR_RETURN(Tensor wrapper,
                              ToWrapper(native.tensor, key->role));
    hf->push_back({absl::StrCat(key->layer, ".", kWrapperNames[key->role]),
                   std::move(wrapper)});
    return absl::OkStatus();
  }
  auto emit = [&](const Tensor& matrix, int64_t expert,
                  absl::string_view projection) -> absl::Status {
    WINDLASS_ASSIGN_OR_RETURN(Tensor weight, Transpose(matrix));
    hf->push_back(
        {absl::StrCat(key->layer, ".", expert, ".", projection,
                      IsA(key->role) ? ".lora_A" : ".lora_B", ".weight"),
         std::move(weight)});
    return absl::OkStatus();
  };
  for (int64_t expert = 0; expert < moe_.experts; ++expert) {
    WINDLASS_ASSIGN_OR_RETURN(const Tensor matrix,
                              Select(native.tensor, expert));
    if (key->role >= kDownA) {
      WINDLASS_RETURN_IF_ERROR(emit(matrix, expert, "down_proj"));
      continue;
    }
    Tensor gate = matrix;
    Tensor up = matrix;
    if (key->role == kGateAndUpB) {
      const int64_t width = moe_.intermediate;
      WINDLASS_ASSIGN_OR_RETURN(gate, Slice(matrix, 1, 0, width));
      WINDLASS_ASSIGN_OR_RETURN(up, Slice(matrix, 1, width, 2 * width));
    }
    WINDLASS_RETURN_IF_ERROR(emit(gate, expert, "gate_proj"));
    WINDLASS_RETURN_IF_ERROR(emit(up, expert, "up_proj"));
  }
  return absl::OkStatus();
}

}  // namespace windlass
