#include "windlass/core/name_pattern.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/testing/status_matchers.h"

namespace windlass {
namespace {

using ::testing::HasSubstr;

// What the left pattern's names are called on the right; "-" where it does not
// match.
std::string ToRight(const NamePattern::Pair& pair, const std::string& name) {
  NameCaptures captures;
  if (!pair.left[0].Match(name, &captures)) return "-";
  std::string right;
  pair.right[0].AppendName(captures, &right);
  return right;
}

std::string ToLeft(const NamePattern::Pair& pair, const std::string& name) {
  NameCaptures captures;
  if (!pair.right[0].Match(name, &captures)) return "-";
  std::string left;
  pair.left[0].AppendName(captures, &left);
  return left;
}

TEST(NamePatternTest, RewritesBothWays) {
  const struct {
    const char* left;
    const char* right;
    const char* name;
    const char* expected;
  } kCases[] = {
      {"a.b", "c", "a.b", "c"},
      {"a.b", "c", "a.bc", "-"},
      {"a.b", "c", "xa.b", "-"},
      {"x.{l}.y", "z.{l}", "x.17.y", "z.17"},
      {"x.{l}.y", "z.{l}", "x.007.y", "z.007"},
      {"x.{l}.y", "z.{l}", "x.+7.y", "-"},
      {"x.{l}.y", "z.{l}", "x..y", "-"},
      {"x.{l}.y", "z.{l}", "x.99999999999999999999.y", "-"},
      {"{p*}mlp.a.{r*}", "{p*}mlp.b.{r*}", "m.layers.0.mlp.a.w.x",
       "m.layers.0.mlp.b.w.x"},
      {"{p*}mlp.a.{r*}", "{p*}mlp.b.{r*}", "mlp.a.w", "mlp.b.w"},
      {"{p*}mlp.a.{r*}", "{p*}mlp.b.{r*}", "xmlp.a.w", "-"},
      {"{p*}mlp.a.{r*}", "{p*}mlp.b.{r*}", "mlp.a", "-"},
      // As little as it can.
      {"{p*}mlp.a.{r*}", "{p*}mlp.b.{r*}", "mlp.a.mlp.a.w", "mlp.b.mlp.a.w"},
      {"{p*}w", "{p*}v", "w", "v"},
      {"{p*}w", "{p*}v", "a.b.w", "a.b.v"},
      {"{p*}w", "{p*}v", "a.bw", "-"},
      {"x.{s+}_inv", "x.{s+}", "x.scale_inv", "x.scale"},
      {"x.{s+}_inv", "x.{s+}", "x.a.scale_inv", "-"},
      {"x.{s+}_inv", "x.{s+}", "x._inv", "-"},
      {"x.{s+}_inv", "x.{s+}", "x.a_inv_inv", "x.a_inv"},
      {"{p:model.|}layers.{l}.w", "n.{p}{l}", "model.layers.3.w", "n.model.3"},
      {"{p:model.|}layers.{l}.w", "n.{p}{l}", "layers.3.w", "n.3"},
      {"{p:model.|}layers.{l}.w", "n.{p}{l}", "x.layers.3.w", "-"},
      {"e.{w:w1=gate|w3=up}.weight", "e.{w}", "e.w3.weight", "e.up"},
      {"e.{w:w1=gate|w3=up}.weight", "e.{w}", "e.w2.weight", "-"},
      {"layers.{l<61}.w", "x.{l}", "layers.60.w", "x.60"},
      {"layers.{l<61}.w", "x.{l}", "layers.61.w", "-"},
      {"layers.{l>=61}.{r*}", "mtp.{l-61}.{r*}", "layers.63.a.b", "mtp.2.a.b"},
      {"layers.{l>=61}.{r*}", "mtp.{l-61}.{r*}", "layers.60.a", "-"},
  };
  for (const auto& c : kCases) {
    SCOPED_TRACE(c.left);
    ASSERT_OK_AND_ASSIGN(const NamePattern::Pair pair,
                         NamePattern::Compile({c.left}, {c.right}));
    EXPECT_EQ(ToRight(pair, c.name), c.expected);
    if (std::string(c.expected) == "-") continue;
    EXPECT_EQ(ToLeft(pair, c.expected), c.name);
  }
}

TEST(NamePatternTest, NumbersOfTheRightKeepTheirRange) {
  ASSERT_OK_AND_ASSIGN(
      const NamePattern::Pair pair,
      NamePattern::Compile({"layers.{l>=61}.w"}, {"mtp.{l-61}.w"}));
  EXPECT_EQ(ToLeft(pair, "mtp.0.w"), "layers.61.w");
}

TEST(NamePatternTest, RefusesWhatIsNoPattern) {
  const struct {
    std::vector<std::string> left;
    std::vector<std::string> right;
    const char* said;
  } kCases[] = {
      {{"a.{l"}, {"b"}, "\"{\" without a \"}\""},
      {{"a.{l}"}, {"b.{m}"}, "\"m\""},
      {{"a.{}"}, {"b"}, "captures \"\""},
      {{"a.{l?}"}, {"b"}, "\"?\""},
      {{"a.{l<x}"}, {"b"}, "\"<x\""},
      {{"a.{l}", "b.{l*}"}, {"c.{l}"}, "differently"},
      {{"{a}{b}{c}{d}{e}{f}{g}{h}{i}"}, {"c"}, "too many"},
  };
  for (const auto& c : kCases) {
    EXPECT_THAT(
        NamePattern::Compile(c.left, c.right),
        StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(c.said)));
  }
}

TEST(NamePatternTest, FindsWhetherTwoPatternsShareAName) {
  const struct {
    const char* a;
    const char* b;
    bool overlap;
  } kCases[] = {
      {"a.b", "a.b", true},
      {"a.b", "a.c", false},
      {"a.{l}", "a.0", true},
      {"a.{l}", "a.x", false},
      {"{p*}x", "{q*}y", false},
      {"{p*}x", "a.x", true},
      {"{p*}x", "ax", false},
      {"{p*}a.{r*}", "{p*}b.{r*}", true},
      {"a.{r*}", "b.{r*}", false},
      {"a.{r*}", "a.b.{l}.c", true},
      {"{p*}experts.{e}.w", "{p*}experts.down", false},
      {"{p*}{s+}_inv", "{p*}weight", false},
      {"{p*}{s+}_inv", "{p*}w_inv", true},
      {"e.{w:w1=a|w3=b}", "e.w2", false},
      {"e.{w:w1=a|w3=b}", "e.w3", true},
      {"l.{l<61}.{r*}", "l.{l>=61}.{r*}", false},
      {"l.{l<62}.{r*}", "l.{l>=61}.{r*}", true},
      {"{p:m.|}l.{l<61}.w", "{p:m.|}l.{l>=61}.{r*}", false},
  };
  for (const auto& c : kCases) {
    ASSERT_OK_AND_ASSIGN(const auto a, NamePattern::Compile({c.a}, {}));
    ASSERT_OK_AND_ASSIGN(const auto b, NamePattern::Compile({c.b}, {}));
    EXPECT_EQ(NamePattern::Overlap(a.left[0], b.left[0]), c.overlap)
        << c.a << " and " << c.b;
    EXPECT_EQ(NamePattern::Overlap(b.left[0], a.left[0]), c.overlap)
        << c.b << " and " << c.a;
  }
}

}  // namespace
}  // namespace windlass
