// KeyRewriter: an ordered table of rename rules, compiled once.
//
//   absl::StatusOr<KeyRewriter> to_hf = KeyRewriter::Create({
//       KeyRewriter::Exact({{"mtp.norm.weight",
//                            "mtp.layers.0.final_layernorm.weight"}}),
//       KeyRewriter::Regex(R"((\.linear_attn)\._fp32_params\.)", R"(\1.)"),
//   });
//   std::string key = to_hf->Rewrite("model.norm.weight");
//
// A key passes every rule in order; a rule that does not match leaves it as it
// is.

#ifndef WINDLASS_CORE_KEY_REWRITER_H_
#define WINDLASS_CORE_KEY_REWRITER_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "re2/re2.h"
#include "windlass/core/state_dict.h"

namespace windlass {

// Immutable and thread-safe after Create; cheap to copy.
class KeyRewriter {
 public:
  using Pairs = std::vector<std::pair<std::string, std::string>>;

  // A rule as it is declared. Use the factories below.
  struct Rule {
    enum class Kind { kExact, kRegex, kPrefix, kSubstring };
    Kind kind;
    Pairs pairs;
    // Keys that lack `with`, or that have `without`, stay as they are.
    std::string with;
    std::string without;

    Rule Only(std::string with_text, std::string without_text = "") const {
      return {kind, pairs, std::move(with_text), std::move(without_text)};
    }
  };

  // The whole key equals a pair's first: it becomes the second.
  static Rule Exact(Pairs pairs) { return {Rule::Kind::kExact, pairs, "", ""}; }

  // Every match of an RE2 pattern is replaced, as Python's re.sub does; \1
  // stands for the first group.
  static Rule Regex(std::string pattern, std::string replacement) {
    return {Rule::Kind::kRegex, {{pattern, replacement}}, "", ""};
  }

  // The first pair whose prefix the key starts with: the prefix is exchanged.
  static Rule Prefix(Pairs pairs) {
    return {Rule::Kind::kPrefix, pairs, "", ""};
  }

  // The first pair that the key contains: every occurrence is exchanged.
  static Rule Substring(Pairs pairs) {
    return {Rule::Kind::kSubstring, pairs, "", ""};
  }

  // A rewriter without rules.
  KeyRewriter() = default;

  // InvalidArgument for a pattern or replacement that RE2 refuses, and for an
  // exact key that is given twice.
  static absl::StatusOr<KeyRewriter> Create(std::vector<Rule> rules);

  std::string Rewrite(absl::string_view key) const;

  // As they were declared.
  std::vector<Rule> rules() const;

  // Every tensor under its new name, in the same order. AlreadyExists names the
  // two keys that would become one.
  absl::StatusOr<StateDict> RewriteAll(const StateDict& dict) const;

 private:
  struct Compiled {
    Rule::Kind kind;
    Pairs pairs;
    absl::flat_hash_map<std::string, std::string> exact;
    std::shared_ptr<const RE2> regex;
    std::string with;
    std::string without;
  };

  std::vector<Compiled> rules_;
};

}  // namespace windlass

#endif  // WINDLASS_CORE_KEY_REWRITER_H_
