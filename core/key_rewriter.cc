#include "windlass/core/key_rewriter.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "windlass/core/regex.h"
#include "windlass/core/status_macros.h"

namespace windlass {

absl::StatusOr<KeyRewriter> KeyRewriter::Create(std::vector<Rule> rules) {
  KeyRewriter rewriter;
  for (Rule& rule : rules) {
    Compiled compiled{
        rule.kind, std::move(rule.pairs), {},
        nullptr,   std::move(rule.with),  std::move(rule.without)};
    const Pairs& pairs = compiled.pairs;
    if (rule.kind == Rule::Kind::kExact) {
      for (const auto& [from, to] : pairs) {
        if (!compiled.exact.emplace(from, to).second) {
          return absl::InvalidArgumentError(
              absl::StrCat("key \"", from, "\" has two exact rules"));
        }
      }
    } else if (rule.kind == Rule::Kind::kRegex) {
      compiled.regex = std::make_shared<const RE2>(pairs[0].first, RE2::Quiet);
      std::string error = compiled.regex->error();
      if (!compiled.regex->ok() ||
          !compiled.regex->CheckRewriteString(ToRe2(pairs[0].second), &error)) {
        return absl::InvalidArgumentError(
            absl::StrCat("rule \"", pairs[0].first, "\" to \"", pairs[0].second,
                         "\": ", error));
      }
    }
    rewriter.rules_.push_back(std::move(compiled));
  }
  return rewriter;
}

std::vector<KeyRewriter::Rule> KeyRewriter::rules() const {
  std::vector<Rule> rules;
  for (const Compiled& rule : rules_) {
    rules.push_back({rule.kind, rule.pairs, rule.with, rule.without});
  }
  return rules;
}

std::string KeyRewriter::Rewrite(absl::string_view key) const {
  std::string name(key);
  for (const Compiled& rule : rules_) {
    if (!absl::StrContains(name, rule.with) ||
        (!rule.without.empty() && absl::StrContains(name, rule.without))) {
      continue;
    }
    switch (rule.kind) {
      case Rule::Kind::kExact: {
        auto it = rule.exact.find(name);
        if (it != rule.exact.end()) name = it->second;
        break;
      }
      case Rule::Kind::kRegex:
        RE2::GlobalReplace(&name, *rule.regex, ToRe2(rule.pairs[0].second));
        break;
      case Rule::Kind::kPrefix:
        for (const auto& [from, to] : rule.pairs) {
          if (absl::StartsWith(name, from)) {
            name = absl::StrCat(to, name.substr(from.size()));
            break;
          }
        }
        break;
      case Rule::Kind::kSubstring:
        for (const auto& [from, to] : rule.pairs) {
          if (absl::StrReplaceAll({{from, to}}, &name) > 0) break;
        }
        break;
    }
  }
  return name;
}

absl::StatusOr<StateDict> KeyRewriter::RewriteAll(const StateDict& dict) const {
  StateDictBuilder builder;
  builder.Reserve(dict.size());
  for (const auto& [name, tensor] : dict) {
    WINDLASS_RETURN_IF_ERROR(builder.Add(Rewrite(name), tensor, name));
  }
  return std::move(builder).Build();
}

}  // namespace windlass
