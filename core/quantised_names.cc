#include "windlass/core/quantised_names.h"

#include "absl/strings/match.h"

namespace windlass {
namespace {

struct Ending {
  const char* ending;
  const char* said;
  bool always_quantised;
};

constexpr Ending kEndings[] = {
    {".qzeros", "a tensor of AWQ or GPTQ", true},
    {".qweight", "a tensor of AWQ or GPTQ", true},
    {".scales", "a tensor of AWQ or GPTQ", false},
    {".g_idx", "a tensor of GPTQ", true},
    {".absmax", "a tensor of bitsandbytes", true},
    {".quant_map", "a tensor of bitsandbytes", true},
    {".quant_state.bitsandbytes__nf4", "a tensor of bitsandbytes", true},
    {".quant_state.bitsandbytes__fp4", "a tensor of bitsandbytes", true},
    {".weight_packed", "packed weights", true},
    {"_packed", "packed weights", false},
    {"_blocks", "packed weights", false},
    {"_scale", "a scale", false},
    {"_scales", "scales", false},
    {"_scale_inv", "a scale", false},
    {"_shape", "a shape of packed weights", false},
};

// The first that fits, or null.
const Ending* FindEnding(absl::string_view name) {
  for (const Ending& ending : kEndings) {
    if (absl::EndsWith(name, ending.ending)) return &ending;
  }
  return nullptr;
}

}  // namespace

absl::string_view DescribeQuantisedName(absl::string_view name) {
  const Ending* const ending = FindEnding(name);
  return ending == nullptr ? "" : ending->said;
}

bool IsQuantisedName(absl::string_view name) {
  const Ending* const ending = FindEnding(name);
  return ending != nullptr && ending->always_quantised;
}

}  // namespace windlass
