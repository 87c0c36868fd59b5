// Names of tensors as patterns, in pairs: what a name is called in one layout
// and what in the other.
//
//   absl::StatusOr<NamePattern::Pair> pair = NamePattern::Compile(
//       {"{p*}layers.{l}.mlp.experts.{e}.gate_proj.weight"},
//       {"{p*}layers.{l}.mlp.experts.gate_and_up_projs"});
//
// A pattern is literal text and captures, and has to match a whole name:
//
//   {l}            a number
//   {l<61}         a number below 61; {l>=61} one from 61 on
//   {l-61}         on the right: the number of the left, less 61; {l+61} more
//   {p*}           any segments, dots and all, or none: where something
//                  follows, the empty text or one that ends with a dot
//   {s+}           any text without a dot, at least a character
//   {p:model.|}    one of several texts, here "model." or none
//   {w:w1=gate_proj|w3=up_proj}   a dictionary: left=right
//
// A capture is declared on the left, with its kind; on the right its name is
// enough ({w}, {p*} and {p} are all fine there). A {p*} takes as little as it
// can. Braces cannot be escaped: no tensor has them in its name.

#ifndef WINDLASS_CORE_NAME_PATTERN_H_
#define WINDLASS_CORE_NAME_PATTERN_H_

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace windlass {

// What the captures of a match hold. Views point into the name that was matched
// or into the pattern, whichever lives shorter.
struct NameCaptures {
  static constexpr int kMax = 8;
  struct Value {
    // As the left layout spells it; empty for a number that was matched in
    // another spelling.
    absl::string_view text;
    int64_t number = -1;  // of a number; in the left layout
  };
  std::array<Value, kMax> values;
};

// Immutable and thread-safe.
class NamePattern {
 public:
  // Names of captures; a capture's index in NameCaptures is its index here.
  using Slots = std::vector<std::string>;

  struct Pair {
    std::vector<NamePattern> left;
    std::vector<NamePattern> right;
    Slots slots;
  };

  // InvalidArgument for a pattern that is none, and for a capture that stands
  // on the right and in no pattern of the left, or that is declared twice and
  // not alike.
  static absl::StatusOr<Pair> Compile(const std::vector<std::string>& left,
                                      const std::vector<std::string>& right);

  // True where the whole name matches; `captures` is set then.
  bool Match(absl::string_view name, NameCaptures* captures) const;

  // Appends the name that has these captures.
  void AppendName(const NameCaptures& captures, std::string* name) const;

  // Whether some name matches both. May say yes where a closer look at numbers
  // would say no; never no where there is such a name.
  static bool Overlap(const NamePattern& a, const NamePattern& b);

  // Whether the capture occurs in this pattern.
  bool Has(int slot) const;

  // A name that matches: numbers and words are taken by `index`, that of a
  // slot, counted from the first that is allowed. For documentation and tests.
  std::string ExampleName(absl::FunctionRef<int64_t(int slot)> index) const;

  // The text that every match ends with, and that it begins with.
  absl::string_view tail() const;
  absl::string_view head() const;
  // As it was written.
  const std::string& text() const { return text_; }

 private:
  enum class Kind { kLiteral, kNumber, kSegments, kWithinSegment, kOneOf };

  struct Token {
    Kind kind = Kind::kLiteral;
    int slot = -1;
    std::string text;  // a literal's
    // A number's range [low, high) in the left layout, and what is added to it
    // in this one.
    int64_t low = 0;
    int64_t high = INT64_MAX;
    int64_t offset = 0;
    // A dictionary: what the left layout has, what this one has.
    std::vector<std::pair<std::string, std::string>> words;
  };
  class Parser;
  class Automaton;

  bool MatchFrom(size_t token, absl::string_view name, size_t position,
                 NameCaptures* captures) const;
  bool MatchSegments(size_t token, absl::string_view name, size_t position,
                     NameCaptures* captures) const;
  static bool NumbersApart(const NamePattern& a, const NamePattern& b);

  std::string text_;
  std::vector<Token> tokens_;
};

}  // namespace windlass

#endif  // WINDLASS_CORE_NAME_PATTERN_H_
