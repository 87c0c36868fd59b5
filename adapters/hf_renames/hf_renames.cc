// Models of transformers that have no adapter of their own: files that are
// older than the model's module tree call parts of it by other prefixes.
//
// The reference: components/checkpoint/conversion_mapping.py, whose maps have a
// regular expression and what replaces it; the first that matches wins.

#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/layout_table.h"
#include "windlass/core/model_config.h"
#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

constexpr const char* kGemma3[] = {
    R"(^language_model\.model\.=model.language_model.)",
    R"(^vision_tower\.vision_model\.=model.vision_tower.)",
    R"(^vision_tower\.=model.vision_tower.)",
    R"(^multi_modal_projector\.=model.multi_modal_projector.)",
    R"(^language_model\.lm_head\.=lm_head.)",
};

struct Prefixes {
  std::string hf;
  std::string native;
};

bool IsWord(char c) { return absl::ascii_isalnum(c) || c == '_'; }

// Of "^a\.b\.=c.": what a map of transformers says as an expression, but means
// as a prefix. Nothing where it is another expression.
bool ReadPrefixes(absl::string_view text, Prefixes* prefixes) {
  const std::vector<absl::string_view> sides = absl::StrSplit(text, '=');
  if (sides.size() != 2 || !absl::StartsWith(sides[0], "^")) return false;
  prefixes->native = std::string(sides[1]);
  prefixes->hf.clear();
  for (absl::string_view rest = sides[0].substr(1); !rest.empty();
       rest.remove_prefix(1)) {
    if (absl::ConsumePrefix(&rest, "\\")) {
      if (!absl::StartsWith(rest, ".")) return false;
    } else if (!IsWord(rest[0])) {
      return false;
    }
    prefixes->hf += rest[0];
  }
  for (const char c : prefixes->native) {
    if (!IsWord(c) && c != '.') return false;
  }
  return absl::EndsWith(prefixes->hf, ".") &&
         (prefixes->native.empty() || absl::EndsWith(prefixes->native, "."));
}

absl::StatusOr<std::vector<std::string>> ReadRenames(
    const JsonFields& options) {
  if (options.Has("renames")) return options.GetStrings("renames");
  return std::vector<std::string>(std::begin(kGemma3), std::end(kGemma3));
}

absl::StatusOr<std::unique_ptr<StateDictAdapter>> Create(
    const ModelConfig&, const JsonFields& options) {
  WINDLASS_ASSIGN_OR_RETURN(const std::vector<std::string> renames,
                            ReadRenames(options));
  LayoutTable table;
  absl::flat_hash_set<std::string> written;
  for (const std::string& rename : renames) {
    Prefixes prefixes;
    if (!ReadPrefixes(rename, &prefixes)) {
      return options.WrongValue(
          "renames",
          R"(prefixes such as "^language_model\\.model\\.=model.language_model.")");
    }
    table.Rename(absl::StrCat(prefixes.hf, "{r*}"),
                 absl::StrCat(prefixes.native, "{r*}"));
    // Of several that become one, the first is written.
    if (!written.insert(prefixes.native).second) table.OnlyToNative();
    table.Else();
  }
  LayoutTraits traits;
  traits.write_through = true;
  return MakeLayoutAdapter({table}, traits);
}

const AdapterRegistrar registrar({
    /*name=*/"hf_renames",
    /*framework=*/"automodel",
    /*summary=*/
    "Models of transformers whose files have older prefixes: Gemma3",
    /*architectures=*/{"Gemma3ForConditionalGeneration"},
    /*model_types=*/{"gemma3"},
    /*options=*/
    {{"renames", "Gemma3's",
      "what names start with and what instead, the first that fits: a list of "
      R"("^a\.b\.=c.")"}},
    &Create,
    /*expert_parallel=*/false,
    /*supports=*/nullptr,
});

}  // namespace
}  // namespace windlass
