#include "windlass/io/torch/find_state_dict.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/io/pickle/pickle.h"
#include "windlass/testing/status_matchers.h"

namespace windlass {
namespace {

using ::testing::ElementsAreArray;
using ::testing::HasSubstr;

// "{a: T, b: {c: 1}}" as a pickle: names of one letter, T a tensor, digits
// numbers, L a list of a tensor.
std::string ToPickle(absl::string_view text) {
  std::string pickle;
  for (const char c : text) {
    switch (c) {
      case '{':
        pickle += "}(";
        break;
      case '}':
        pickle += "u";
        break;
      case 'T':
        pickle += "ctorch._utils\n_rebuild_tensor_v2\n)R";
        break;
      case 'L':
        pickle += "]ctorch._utils\n_rebuild_tensor_v2\n)Ra";
        break;
      case ' ':
      case ':':
      case ',':
        break;
      default:
        if (c >= '0' && c <= '9') {
          pickle += {'K', static_cast<char>(c - '0')};
        } else {
          pickle += {'U', 1, c};
        }
    }
  }
  return pickle + ".";
}

struct Found {
  std::vector<std::string> tensors;
  std::vector<std::string> objects;
};

absl::StatusOr<Found> Find(absl::string_view text, absl::string_view key) {
  const Pickle pickle = Pickle::Parse(ToPickle(text), [](absl::string_view) {
                          return true;
                        }).value();
  const absl::StatusOr<FoundStateDict> dict = FindStateDict(pickle.root(), key);
  if (!dict.ok()) return dict.status();
  Found found{{}, dict->objects};
  for (const auto& [name, node] : dict->tensors) found.tensors.push_back(name);
  return found;
}

TEST(FindStateDictTest, FindsTheOneThatIsThere) {
  const struct {
    const char* text;
    const char* key;
    std::vector<std::string> tensors;
    std::vector<std::string> objects;
  } kCases[] = {
      {"{a: T, b: T}", "", {"a", "b"}, {}},
      {"{b: T, e: 3, a: T, l: L}", "", {"b", "a"}, {"e", "l"}},
      {"{e: 3, m: {a: T}}", "", {"a"}, {"e"}},
      {"{e: 3, m: {a: T, x: 1}}", "", {"a"}, {"e", "m.x"}},
      {"{m: {s: {a: T}, e: 3}, o: {s: {0: {a: T}}}}", "", {"a"}, {"m.e", "o"}},
      {"{a: T, m: {a: T}}", ".", {"a"}, {"m"}},
      {"{a: T, m: {b: T}}", "m", {"b"}, {"a"}},
      {"{m: {s: {a: T}}, n: {s: {b: T}}}", "n.s", {"b"}, {"m"}},
  };
  for (const auto& one : kCases) {
    SCOPED_TRACE(one.text);
    ASSERT_OK_AND_ASSIGN(const Found found, Find(one.text, one.key));
    EXPECT_THAT(found.tensors, ElementsAreArray(one.tensors));
    EXPECT_THAT(found.objects, ElementsAreArray(one.objects));
  }
}

TEST(FindStateDictTest, RefusesWhatIsNotClear) {
  const struct {
    const char* text;
    const char* key;
    absl::StatusCode code;
    const char* message;
  } kCases[] = {
      {"{m: {a: T}, e: {a: T}}", "", absl::StatusCode::kInvalidArgument,
       "several state dicts (\"m\", \"e\")"},
      {"{l: T, m: {a: T}}", "", absl::StatusCode::kInvalidArgument,
       "several state dicts (\".\", \"m\")"},
      {"{a: 1}", "", absl::StatusCode::kInvalidArgument, "no tensors in it"},
      {"{}", "", absl::StatusCode::kInvalidArgument, "no tensors in it"},
      {"{a: L}", "", absl::StatusCode::kInvalidArgument, "no tensors in it"},
      {"L", "", absl::StatusCode::kInvalidArgument, "found a list"},
      {"T", "", absl::StatusCode::kInvalidArgument,
       "found an object of class torch._utils._rebuild_tensor_v2"},
      {"{a: T}", "m", absl::StatusCode::kNotFound, "found no \"m\""},
      {"{m: {a: T}}", "m.s", absl::StatusCode::kNotFound, "found no \"m.s\""},
      {"{m: {a: T}}", ".", absl::StatusCode::kInvalidArgument,
       "without tensors at \".\""},
      {"{m: {a: T}, n: 3}", "n", absl::StatusCode::kInvalidArgument,
       "found an integer without tensors at \"n\""},
      {"{a: T, 1: T}", "", absl::StatusCode::kInvalidArgument,
       "found a tensor under an integer"},
  };
  for (const auto& one : kCases) {
    SCOPED_TRACE(one.text);
    EXPECT_THAT(Find(one.text, one.key),
                StatusIs(one.code, HasSubstr(one.message)));
  }
}

TEST(FindStateDictTest, ADictionaryThatHoldsItselfIsLookedAtOnce) {
  const Pickle pickle =
      Pickle::Parse("}q\x01(U\x01mh\x01U\x01nh\x01u.", [](absl::string_view) {
        return true;
      }).value();
  EXPECT_THAT(FindStateDict(pickle.root(), ""),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("no tensors in it")));
  EXPECT_THAT(FindStateDict(pickle.root(), "m.m.m.n"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("without tensors")));
}

}  // namespace
}  // namespace windlass
