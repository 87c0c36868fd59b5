#include "windlass/convert/common_layout.h"

#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/model_config.h"
#include "windlass/core/regex.h"
#include "windlass/core/state_dict_adapter.h"
#include "windlass/core/status_macros.h"
#include "windlass/core/without_exceptions.h"
#include "windlass/io/model_config_file.h"
#include "windlass/io/storage/storage.h"

namespace windlass {
namespace {

// The request's, A's, B's; an empty one where there is none.
absl::StatusOr<ModelConfig> FindConfig(const Checkpoint& a, const Checkpoint& b,
                                       const CommonLayoutRequest& request) {
  if (!request.config.empty()) {
    WINDLASS_ASSIGN_OR_RETURN(const Location location,
                              ResolveLocation(request.config));
    return ReadModelConfig(location);
  }
  for (const Checkpoint* checkpoint : {&a, &b}) {
    const Location location{checkpoint->folder.storage,
                            SideFilePath(*checkpoint, kConfigName)};
    WINDLASS_ASSIGN_OR_RETURN(const Storage::Kind kind,
                              location.storage->GetKind(location.path));
    if (kind != Storage::Kind::kMissing) return ReadModelConfig(location);
  }
  if (request.adapter != "auto") return ModelConfig();
  return absl::NotFoundError(
      absl::StrCat(a.folder.path, ": found no config.json, nor in ",
                   b.folder.path, "; give one, or an adapter by its name"));
}

// How badly two state dicts fit each other.
struct Misfit {
  int64_t unmatched = 0;  // tensors whose name and shape the other lacks
  int64_t dtypes = 0;     // tensors of another dtype

  bool operator<(const Misfit& other) const {
    return unmatched != other.unmatched ? unmatched < other.unmatched
                                        : dtypes < other.dtypes;
  }
};

Misfit Match(const StateDict& a, const StateDict& b) {
  Misfit misfit;
  int64_t matched = 0;
  for (const auto& [name, tensor] : a) {
    const Tensor* other = b.Find(name);
    if (other == nullptr || other->shape() != tensor.shape()) continue;
    ++matched;
    misfit.dtypes += other->dtype() != tensor.dtype();
  }
  misfit.unmatched = static_cast<int64_t>(a.size() + b.size()) - 2 * matched;
  return misfit;
}

// A checkpoint's tensors in every layout that can be had.
struct Layouts {
  const StateDict* as_is = nullptr;
  absl::StatusOr<StateDict> native = absl::UnknownError("");
  absl::StatusOr<StateDict> hf = absl::UnknownError("");
};

Layouts MakeLayouts(const Checkpoint& checkpoint,
                    const StateDictAdapter& adapter,
                    const ToHfOptions& options) {
  Layouts layouts;
  layouts.as_is = &checkpoint.tensors;
  layouts.native = adapter.FromHf(checkpoint.tensors, {});
  layouts.hf = adapter.ToHf(checkpoint.tensors, options);
  return layouts;
}

// What may be compared with what. The way to native comes first: it loses
// nothing, the way back may round.
using Side = absl::StatusOr<StateDict> Layouts::*;
struct Candidate {
  Side a;  // null for as it is
  Side b;
  const char* what;
};
constexpr Candidate kCandidates[] = {
    {nullptr, nullptr, "as they are"},
    {&Layouts::native, nullptr, "A to native"},
    {nullptr, &Layouts::native, "B to native"},
    {&Layouts::native, &Layouts::native, "both to native"},
    {&Layouts::hf, nullptr, "A to hf"},
    {nullptr, &Layouts::hf, "B to hf"},
};

// The tensors of a side; null where they cannot be had.
const StateDict* TensorsOf(const Layouts& layouts, Side side) {
  if (side == nullptr) return layouts.as_is;
  return (layouts.*side).ok() ? &*(layouts.*side) : nullptr;
}

std::optional<StateDict> Take(Layouts* layouts, Side side) {
  if (side == nullptr) return std::nullopt;
  return *std::move(layouts->*side);
}

absl::StatusOr<CommonLayout> Choose(const Checkpoint& a, const Checkpoint& b,
                                    const StateDictAdapter& adapter) {
  ToHfOptions options;
  WINDLASS_ASSIGN_OR_RETURN(options.exclude_key_regex,
                            NameFilter::Create(kExtraStates));
  Layouts a_layouts = MakeLayouts(a, adapter, options);
  Layouts b_layouts = MakeLayouts(b, adapter, options);
  const Candidate* best = nullptr;
  Misfit least;
  for (const Candidate& candidate : kCandidates) {
    const StateDict* a_side = TensorsOf(a_layouts, candidate.a);
    const StateDict* b_side = TensorsOf(b_layouts, candidate.b);
    if (a_side == nullptr || b_side == nullptr) continue;
    const Misfit misfit = Match(*a_side, *b_side);
    if (best != nullptr && !(misfit < least)) continue;
    best = &candidate;
    least = misfit;
  }
  if (best == &kCandidates[0] && least.unmatched > 0) {
    for (const Layouts* layouts : {&a_layouts, &b_layouts}) {
      if (layouts->native.ok() || layouts->hf.ok()) continue;
      return Annotate(layouts->native.status(),
                      (layouts == &a_layouts ? a : b).folder.path);
    }
  }
  CommonLayout common;
  common.what = best->what;
  common.a = Take(&a_layouts, best->a);
  common.b = Take(&b_layouts, best->b);
  return common;
}

}  // namespace

absl::StatusOr<CommonLayout> FindCommonLayout(
    const Checkpoint& a, const Checkpoint& b,
    const CommonLayoutRequest& request) {
  return WithoutExceptions([&]() -> absl::StatusOr<CommonLayout> {
    const AdapterInfo* info = nullptr;
    if (request.adapter != "auto") {
      WINDLASS_ASSIGN_OR_RETURN(info,
                                AdapterRegistry::FindByName(request.adapter));
    }
    WINDLASS_ASSIGN_OR_RETURN(
        const JsonFields options,
        JsonFields::Parse(request.adapter_options, "adapter_options"));
    WINDLASS_ASSIGN_OR_RETURN(const ModelConfig config,
                              FindConfig(a, b, request));
    if (info == nullptr) {
      WINDLASS_ASSIGN_OR_RETURN(info, AdapterRegistry::FindByConfig(config));
    }
    WINDLASS_ASSIGN_OR_RETURN(const auto adapter,
                              AdapterRegistry::Create(*info, config, options));
    WINDLASS_ASSIGN_OR_RETURN(CommonLayout common, Choose(a, b, *adapter));
    common.adapter = info->name;
    return common;
  });
}

}  // namespace windlass
