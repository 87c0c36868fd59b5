#include "windlass/core/name_pattern.h"

#include <algorithm>
#include <bitset>

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "windlass/core/status_macros.h"

namespace windlass {

// Reads patterns; remembers what the captures of the left side are.
class NamePattern::Parser {
 public:
  absl::StatusOr<NamePattern> Parse(absl::string_view text, bool left) {
    NamePattern pattern;
    // Long enough for any tensor's name; whether two patterns meet takes room
    // for the product of their lengths.
    constexpr size_t kMost = 2000;
    pattern.text_ = std::string(text.substr(0, kMost));
    if (text.size() > kMost) {
      return Wrong(pattern, "has more than 2000 characters");
    }
    while (!text.empty()) {
      const size_t brace = text.find('{');
      if (brace > 0) {
        Token literal;
        literal.text = std::string(text.substr(0, brace));
        pattern.tokens_.push_back(std::move(literal));
        text.remove_prefix(std::min(brace, text.size()));
        continue;
      }
      const size_t end = text.find('}');
      if (end == text.npos)
        return Wrong(pattern, "has a \"{\" without a \"}\"");
      WINDLASS_ASSIGN_OR_RETURN(
          Token token, Capture(text.substr(1, end - 1), left, pattern));
      pattern.tokens_.push_back(std::move(token));
      text.remove_prefix(end + 1);
    }
    return pattern;
  }

  Slots TakeSlots() { return std::move(slots_); }

 private:
  static absl::Status Wrong(const NamePattern& pattern,
                            absl::string_view what) {
    return absl::InvalidArgumentError(
        absl::StrCat("pattern \"", pattern.text_, "\" ", what));
  }

  // "l", "p*", "s+", "l<61", "l-61", "w:a=b|c=d".
  absl::StatusOr<Token> Capture(absl::string_view text, bool left,
                                const NamePattern& pattern) {
    const size_t size =
        std::find_if_not(
            text.begin(), text.end(),
            [](char c) { return absl::ascii_isalnum(c) || c == '_'; }) -
        text.begin();
    const std::string name(text.substr(0, size));
    WINDLASS_ASSIGN_OR_RETURN(Token token, Kinded(text.substr(size), pattern));
    const auto known = absl::c_find(slots_, name);
    token.slot = known - slots_.begin();
    if (name.empty() || (known == slots_.end() && !left)) {
      return Wrong(pattern, absl::StrCat("captures \"", name,
                                         "\", which the other side does not"));
    }
    if (known == slots_.end()) {
      if (slots_.size() == NameCaptures::kMax) {
        return Wrong(pattern, "has too many captures");
      }
      slots_.push_back(name);
      declared_.push_back(token);
      return token;
    }
    Token declared = declared_[token.slot];
    if (left) {
      if (declared.kind != token.kind || declared.words != token.words) {
        return Wrong(pattern,
                     absl::StrCat("declares \"", name, "\" differently"));
      }
      return declared;
    }
    declared.offset = token.offset;
    return declared;
  }

  absl::StatusOr<Token> Kinded(absl::string_view rest,
                               const NamePattern& pattern) {
    Token token;
    token.kind = Kind::kNumber;
    if (rest.empty()) return token;
    if (rest == "*" || rest == "+") {
      token.kind = rest == "*" ? Kind::kSegments : Kind::kWithinSegment;
      return token;
    }
    if (rest[0] == ':') {
      token.kind = Kind::kOneOf;
      for (absl::string_view word : absl::StrSplit(rest.substr(1), '|')) {
        const size_t equals = word.find('=');
        const std::string from(word.substr(0, equals));
        token.words.emplace_back(
            from,
            equals == word.npos ? from : std::string(word.substr(equals + 1)));
      }
      return token;
    }
    const bool from = absl::StartsWith(rest, ">=");
    int64_t number;
    if (!absl::SimpleAtoi(rest.substr(from ? 2 : 1), &number)) {
      return Wrong(pattern, absl::StrCat("has \"", rest, "\" in a capture"));
    }
    if (from) {
      token.low = number;
    } else if (rest[0] == '<') {
      token.high = number;
    } else if (rest[0] == '+' || rest[0] == '-') {
      token.offset = rest[0] == '+' ? number : -number;
    } else {
      return Wrong(pattern, absl::StrCat("has \"", rest, "\" in a capture"));
    }
    return token;
  }

  Slots slots_;
  std::vector<Token> declared_;
};

absl::StatusOr<NamePattern::Pair> NamePattern::Compile(
    const std::vector<std::string>& left,
    const std::vector<std::string>& right) {
  Parser parser;
  Pair pair;
  for (const std::string& text : left) {
    WINDLASS_ASSIGN_OR_RETURN(NamePattern pattern, parser.Parse(text, true));
    pair.left.push_back(std::move(pattern));
  }
  for (const std::string& text : right) {
    WINDLASS_ASSIGN_OR_RETURN(NamePattern pattern, parser.Parse(text, false));
    for (Token& token : pattern.tokens_) {
      // Left to right on the left means: what the name says, and what it means.
      if (token.kind != Kind::kOneOf) continue;
      for (auto& [hf, native] : token.words) std::swap(hf, native);
    }
    pair.right.push_back(std::move(pattern));
  }
  // A token's words are {what this side has, what the left has}.
  for (NamePattern& pattern : pair.left) {
    for (Token& token : pattern.tokens_) {
      for (auto& [here, meaning] : token.words) meaning = here;
    }
  }
  pair.slots = parser.TakeSlots();
  return pair;
}

bool NamePattern::Match(absl::string_view name, NameCaptures* captures) const {
  return absl::EndsWith(name, tail()) && MatchFrom(0, name, 0, captures);
}

bool NamePattern::MatchFrom(size_t index, absl::string_view name,
                            size_t position, NameCaptures* captures) const {
  for (; index < tokens_.size(); ++index) {
    const Token& token = tokens_[index];
    switch (token.kind) {
      case Kind::kLiteral:
        if (!absl::StartsWith(name.substr(position), token.text)) return false;
        position += token.text.size();
        continue;
      case Kind::kNumber: {
        // Eighteen digits fit in 64 bits.
        int64_t number = 0;
        size_t end = position;
        for (; end < name.size() && absl::ascii_isdigit(name[end]); ++end) {
          if (end - position == 18) return false;
          number = number * 10 + (name[end] - '0');
        }
        if (end == position) return false;
        NameCaptures::Value& value = captures->values[token.slot];
        value = {name.substr(position, end - position), number - token.offset};
        // The left layout has other digits.
        if (token.offset != 0) value.text = absl::string_view();
        if (value.number < token.low || value.number >= token.high) {
          return false;
        }
        position = end;
        continue;
      }
      case Kind::kOneOf:
        for (const auto& [here, left] : token.words) {
          if (!absl::StartsWith(name.substr(position), here)) continue;
          captures->values[token.slot] = {left, -1};
          if (MatchFrom(index + 1, name, position + here.size(), captures)) {
            return true;
          }
        }
        return false;
      case Kind::kWithinSegment: {
        const size_t dot = std::min(name.find('.', position), name.size());
        for (size_t end = position + 1; end <= dot; ++end) {
          captures->values[token.slot] = {name.substr(position, end - position),
                                          -1};
          if (MatchFrom(index + 1, name, end, captures)) return true;
        }
        return false;
      }
      case Kind::kSegments:
        return MatchSegments(index, name, position, captures);
    }
  }
  return position == name.size();
}

bool NamePattern::MatchSegments(size_t index, absl::string_view name,
                                size_t position, NameCaptures* captures) const {
  NameCaptures::Value& value = captures->values[tokens_[index].slot];
  if (index + 1 == tokens_.size()) {
    value = {name.substr(position), -1};
    return true;
  }
  const Token& next = tokens_[index + 1];
  for (size_t end = position; end != name.npos;) {
    if (next.kind == Kind::kLiteral) end = name.find(next.text, end);
    if (end == name.npos) return false;
    if (end == position || name[end - 1] == '.') {
      value = {name.substr(position, end - position), -1};
      if (MatchFrom(index + 1, name, end, captures)) return true;
    }
    end = name.find('.', end);
    if (end != name.npos) ++end;
  }
  return false;
}

void NamePattern::AppendName(const NameCaptures& captures,
                             std::string* name) const {
  for (const Token& token : tokens_) {
    if (token.kind == Kind::kLiteral) {
      name->append(token.text);
      continue;
    }
    const NameCaptures::Value& value = captures.values[token.slot];
    if (token.kind == Kind::kNumber &&
        (token.offset != 0 || value.text.empty())) {
      absl::StrAppend(name, value.number + token.offset);
    } else if (token.kind == Kind::kOneOf) {
      for (const auto& [here, left] : token.words) {
        if (left != value.text) continue;
        name->append(here);
        break;
      }
    } else {
      name->append(value.text.data(), value.text.size());
    }
  }
}

std::string NamePattern::ExampleName(
    absl::FunctionRef<int64_t(int slot)> index) const {
  std::string name;
  for (const Token& token : tokens_) {
    switch (token.kind) {
      case Kind::kLiteral:
        name += token.text;
        break;
      case Kind::kNumber: {
        const int64_t range = token.high - token.low;
        absl::StrAppend(&name,
                        token.low + index(token.slot) % range + token.offset);
        break;
      }
      case Kind::kOneOf:
        name += token.words[index(token.slot) % token.words.size()].first;
        break;
      case Kind::kWithinSegment:
        name += "x";
        break;
      case Kind::kSegments:
        if (&token == &tokens_.back()) {
          name += "proj.weight";
        } else if (name.empty()) {
          name += "model.";
        }
        break;
    }
  }
  return name;
}

bool NamePattern::Has(int slot) const {
  return absl::c_any_of(tokens_,
                        [slot](const Token& t) { return t.slot == slot; });
}

absl::string_view NamePattern::tail() const {
  if (tokens_.empty() || tokens_.back().kind != Kind::kLiteral) return "";
  return tokens_.back().text;
}

absl::string_view NamePattern::head() const {
  if (tokens_.empty() || tokens_.front().kind != Kind::kLiteral) return "";
  return tokens_.front().text;
}

// A pattern as states with transitions on sets of characters, to find whether
// two patterns share a name.
class NamePattern::Automaton {
 public:
  explicit Automaton(const NamePattern& pattern) {
    int state = NewState();
    for (size_t i = 0; i < pattern.tokens_.size(); ++i) {
      state =
          Append(pattern.tokens_[i], i + 1 == pattern.tokens_.size(), state);
    }
    final_ = state;
  }

  // Whether there is a name that both accept.
  static bool Meet(const Automaton& a, const Automaton& b) {
    std::vector<bool> seen(a.states_.size() * b.states_.size());
    std::vector<std::pair<int, int>> open;
    auto visit = [&](int x, int y) {
      const size_t pair = x * b.states_.size() + y;
      if (!seen[pair]) open.emplace_back(x, y);
      seen[pair] = true;
    };
    visit(0, 0);
    while (!open.empty()) {
      const auto [x, y] = open.back();
      open.pop_back();
      if (x == a.final_ && y == b.final_) return true;
      for (int next : a.states_[x].empty) visit(next, y);
      for (int next : b.states_[y].empty) visit(x, next);
      for (const auto& [left, to_left] : a.states_[x].steps) {
        for (const auto& [right, to_right] : b.states_[y].steps) {
          if ((left & right).any()) visit(to_left, to_right);
        }
      }
    }
    return false;
  }

 private:
  using Set = std::bitset<256>;
  struct State {
    std::vector<int> empty;
    std::vector<std::pair<Set, int>> steps;
  };

  int NewState() {
    states_.emplace_back();
    return static_cast<int>(states_.size()) - 1;
  }

  int Text(absl::string_view text, int state) {
    for (const char c : text) {
      const int next = NewState();
      Set one;
      one.set(static_cast<unsigned char>(c));
      states_[state].steps.emplace_back(one, next);
      state = next;
    }
    return state;
  }

  // One or more characters of a set.
  int Some(const Set& set, int state) {
    const int next = NewState();
    states_[state].steps.emplace_back(set, next);
    states_[next].steps.emplace_back(set, next);
    return next;
  }

  int Append(const Token& token, bool last, int state) {
    Set dot;
    dot.set('.');
    switch (token.kind) {
      case Kind::kLiteral:
        return Text(token.text, state);
      case Kind::kNumber: {
        Set digits;
        for (char c = '0'; c <= '9'; ++c) digits.set(c);
        return Some(digits, state);
      }
      case Kind::kWithinSegment:
        return Some(~dot, state);
      case Kind::kSegments: {
        const int inside = NewState();
        const int end = NewState();
        const Set all = Set().set();
        states_[state].empty.push_back(end);
        states_[state].steps.emplace_back(all, inside);
        states_[inside].steps.emplace_back(all, inside);
        states_[inside].steps.emplace_back(last ? all : dot, end);
        states_[state].steps.emplace_back(last ? all : dot, end);
        return end;
      }
      case Kind::kOneOf: {
        const int end = NewState();
        for (const auto& [here, left] : token.words) {
          states_[Text(here, state)].empty.push_back(end);
        }
        return end;
      }
    }
    return state;
  }

  std::vector<State> states_;
  int final_ = 0;
};

// Whether both begin alike and then have numbers of ranges that do not meet.
bool NamePattern::NumbersApart(const NamePattern& a, const NamePattern& b) {
  const size_t size = std::min(a.tokens_.size(), b.tokens_.size());
  for (size_t i = 0; i < size; ++i) {
    const Token& x = a.tokens_[i];
    const Token& y = b.tokens_[i];
    if (x.kind != y.kind || x.kind == Kind::kSegments) return false;
    if (x.kind == Kind::kNumber) {
      const auto end = [](const Token& t) {
        return t.high == INT64_MAX ? t.high : t.high + t.offset;
      };
      if (end(x) <= y.low + y.offset || end(y) <= x.low + x.offset) return true;
    } else if (x.text != y.text || x.words != y.words) {
      return false;
    }
  }
  return false;
}

bool NamePattern::Overlap(const NamePattern& a, const NamePattern& b) {
  // Most patterns of a table begin or end in unlike text, which is quickly
  // seen.
  if ((!absl::EndsWith(a.tail(), b.tail()) &&
       !absl::EndsWith(b.tail(), a.tail())) ||
      (!absl::StartsWith(a.head(), b.head()) &&
       !absl::StartsWith(b.head(), a.head()))) {
    return false;
  }
  return !NumbersApart(a, b) && Automaton::Meet(Automaton(a), Automaton(b));
}

}  // namespace windlass
