#include "windlass/core/regex.h"

#include "absl/strings/str_cat.h"

namespace windlass {

absl::StatusOr<NameFilter> NameFilter::Create(const std::string& pattern,
                                              Anchor anchor) {
  NameFilter filter;
  filter.anchor_ = anchor;
  if (pattern.empty()) return filter;
  auto compiled = std::make_shared<const RE2>(pattern, RE2::Quiet);
  if (!compiled->ok()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "regular expression \"", pattern, "\": ", compiled->error()));
  }
  filter.pattern_ = std::move(compiled);
  return filter;
}

bool NameFilter::Matches(absl::string_view name) const {
  if (pattern_ == nullptr) return false;
  const RE2::Anchor anchor =
      anchor_ == Anchor::kMatch ? RE2::ANCHOR_START : RE2::UNANCHORED;
  return pattern_->Match(ToRe2(name), 0, name.size(), anchor, nullptr, 0);
}

NameFilter NameFilter::With(Anchor anchor) const {
  NameFilter filter = *this;
  filter.anchor_ = anchor;
  return filter;
}

std::string NameFilter::SearchPattern() const {
  if (pattern_ == nullptr) return "";
  return anchor_ == Anchor::kSearch
             ? pattern_->pattern()
             : absl::StrCat("^(?:", pattern_->pattern(), ")");
}

}  // namespace windlass
