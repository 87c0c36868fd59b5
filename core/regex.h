// RE2 with views, whichever RE2 is installed, and a few Python habits.

#ifndef WINDLASS_CORE_REGEX_H_
#define WINDLASS_CORE_REGEX_H_

#include <memory>
#include <string>
#include <type_traits>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "re2/re2.h"

namespace windlass {

namespace regex_internal {
template <typename View>
std::decay_t<View> ViewOf(bool (*)(View, const RE2&, const RE2::Arg* const[],
                                   int));
}  // namespace regex_internal

// What RE2 takes as text: its own StringPiece before 2023, absl::string_view
// since.
using Re2View = decltype(regex_internal::ViewOf(&RE2::FullMatchN));

inline Re2View ToRe2(absl::string_view text) {
  return Re2View(text.data(), text.size());
}

// A pattern that decides whether a name is meant. Immutable and thread-safe;
// copies share the compiled pattern.
class NameFilter {
 public:
  // Where the pattern has to stand: at the start of the name, as Python's
  // re.match wants it, or anywhere, as re.search does.
  enum class Anchor { kMatch, kSearch };

  // Matches nothing.
  NameFilter() = default;

  // InvalidArgument for a pattern that RE2 refuses. An empty one matches
  // nothing.
  static absl::StatusOr<NameFilter> Create(const std::string& pattern,
                                           Anchor anchor = Anchor::kMatch);

  bool Matches(absl::string_view name) const;

  // What matches the same names when searched for; empty for none.
  std::string SearchPattern() const;

  // The same pattern, anchored otherwise.
  NameFilter With(Anchor anchor) const;

 private:
  std::shared_ptr<const RE2> pattern_;
  Anchor anchor_ = Anchor::kMatch;
};

}  // namespace windlass

#endif  // WINDLASS_CORE_REGEX_H_
