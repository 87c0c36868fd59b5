#include "windlass/io/pickle/pickle.h"

#include <cstdint>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/tests/testing/work.h"

namespace windlass {
namespace {

using ::testing::HasSubstr;
using Kind = PickleNode::Kind;

bool IsOurs(absl::string_view name) {
  return absl::StartsWith(name, "ours.") || name == "collections.OrderedDict";
}

absl::StatusOr<Pickle> Parse(std::string bytes) {
  return Pickle::Parse(std::move(bytes), IsOurs);
}

// A string literal with its NULs.
template <size_t N>
std::string Raw(const char (&text)[N]) {
  return std::string(text, N - 1);
}

TEST(PickleTest, ReadsIntegers) {
  const struct {
    std::string bytes;
    int64_t value;
  } kCases[] = {
      {Raw("K\xff"), 255},
      {Raw("M\x34\x12"), 0x1234},
      {Raw("J\xff\xff\xff\xff"), -1},
      {Raw("J\x00\x00\x00\x80"), INT32_MIN},
      {Raw("\x8a\x00"), 0},
      {Raw("\x8a\x01\x80"), -128},
      {Raw("\x8a\x02\x80\x00"), 128},
      {Raw("\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f"), INT64_MAX},
      {Raw("\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x80"), INT64_MIN},
      {Raw("\x8b\x02\x00\x00\x00\x39\x30"), 12345},
  };
  for (const auto& one : kCases) {
    ASSERT_OK_AND_ASSIGN(const Pickle pickle, Parse(one.bytes + "."));
    EXPECT_TRUE(pickle.root().Is(Kind::kInt));
    EXPECT_EQ(pickle.root().integer, one.value);
  }
  ASSERT_OK_AND_ASSIGN(
      const Pickle pickle,
      Parse(Raw("\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.")));
  EXPECT_TRUE(pickle.root().Is(Kind::kLong));
  EXPECT_EQ(pickle.root().text.size(), 10u);
}

TEST(PickleTest, ReadsTextsOfEveryLength) {
  for (const std::string& bytes :
       {Raw("U\x02hi"), Raw("\x8c\x02hi"), Raw("T\x02\x00\x00\x00hi"),
        Raw("X\x02\x00\x00\x00hi"),
        Raw("\x8d\x02\x00\x00\x00\x00\x00\x00\x00hi")}) {
    ASSERT_OK_AND_ASSIGN(const Pickle pickle, Parse(bytes + "."));
    EXPECT_TRUE(pickle.root().Is(Kind::kString));
    EXPECT_EQ(pickle.root().text, "hi");
  }
  for (const std::string& bytes :
       {Raw("C\x02hi"), Raw("B\x02\x00\x00\x00hi"),
        Raw("\x8e\x02\x00\x00\x00\x00\x00\x00\x00hi"),
        Raw("\x96\x02\x00\x00\x00\x00\x00\x00\x00hi")}) {
    ASSERT_OK_AND_ASSIGN(const Pickle pickle, Parse(bytes + "."));
    EXPECT_TRUE(pickle.root().Is(Kind::kBytes));
    EXPECT_EQ(pickle.root().text, "hi");
  }
}

TEST(PickleTest, ReadsContainers) {
  // {"a": [1, 2, 3], "b": (None, True), "a": {4}}, in batches and one by one.
  ASSERT_OK_AND_ASSIGN(const Pickle pickle,
                       Parse(Raw("\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00"
                                 "}(U\x01"
                                 "a\x94](K\x01K\x02"
                                 "eK\x03"
                                 "aU\x01"
                                 "bN\x88\x86u"
                                 "h\x00\x8f(K\x04\x90s.")));
  const PickleNode& root = pickle.root();
  ASSERT_TRUE(root.Is(Kind::kDict));
  ASSERT_EQ(root.items.size(), 6u);
  EXPECT_EQ(root.items[1]->items.size(), 3u);
  EXPECT_EQ(root.items[1]->items[2]->integer, 3);
  ASSERT_NE(root.Find("b"), nullptr);
  EXPECT_TRUE(root.Find("b")->Is(Kind::kTuple));
  EXPECT_TRUE(root.Find("b")->items[0]->Is(Kind::kNone));
  EXPECT_EQ(root.Find("b")->items[1]->integer, 1);
  // As in Python, the last one counts.
  EXPECT_TRUE(root.Find("a")->Is(Kind::kSet));
  EXPECT_EQ(root.Find("c"), nullptr);
}

TEST(PickleTest, ObjectsAreKeptAsWhatWouldMakeThem) {
  // An OrderedDict with an item and a state, by REDUCE; ours.Thing by NEWOBJ
  // with a state; both by a persistent id's side.
  ASSERT_OK_AND_ASSIGN(
      const Pickle pickle,
      Parse(Raw("\x80\x02(ccollections\nOrderedDict\n)RU\x01kK\x07s"
                "}U\x01mK\x01sb"
                "\x8c\x04ours\x8c\x05Thing\x93K\x05\x85\x81"
                "}U\x04sizeK\x09sb"
                "U\x07storageQt.")));
  const PickleNode& root = pickle.root();
  ASSERT_EQ(root.items.size(), 3u);
  const PickleNode& dict = *root.items[0];
  EXPECT_TRUE(dict.IsObject("collections.OrderedDict"));
  EXPECT_EQ(dict.Find("k")->integer, 7);
  EXPECT_EQ(dict.Attribute("m")->integer, 1);
  const PickleNode& thing = *root.items[1];
  EXPECT_TRUE(thing.IsObject("ours.Thing"));
  EXPECT_EQ(thing.arguments->items[0]->integer, 5);
  EXPECT_EQ(thing.Attribute("size")->integer, 9);
  EXPECT_EQ(thing.Attribute("shape"), nullptr);
  EXPECT_TRUE(root.items[2]->Is(Kind::kPersistent));
  EXPECT_EQ(root.items[2]->callee->text, "storage");
}

TEST(PickleTest, SaysWhereItEnds) {
  ASSERT_OK_AND_ASSIGN(const Pickle pickle, Parse("K\x01.and what follows"));
  EXPECT_EQ(pickle.size(), 3u);
}

TEST(PickleTest, RefusesClassesByName) {
  EXPECT_THAT(Parse("\x80\x02"
                    "cposix\nsystem\nU\x04true\x85R."),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("byte 2 of the pickle: found the class or "
                                 "function posix.system")));
  EXPECT_THAT(
      Parse("\x8c\x05posix\x8c\x06system\x93."),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("posix.system")));
  EXPECT_THAT(Parse("cours\x1b[31m\nx\n."),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("ours\\x1b[31m.x")));
}

TEST(PickleTest, RefusesWhatIsNoPickle) {
  const struct {
    std::string bytes;
    const char* message;
  } kCases[] = {
      {"<html>", "the instruction 0x3c"},
      {Raw("\x80\x06."), "protocol 6"},
      {Raw("S'text'\n."), "the instruction 0x53"},
      {Raw("."), "without its operand"},
      {Raw("(."), "without its operand"},
      {Raw("K\x01K\x02."), "before all was used"},
      {Raw("(K\x01(K\x02)."), "before all was used"},
      {Raw("t."), "without its mark"},
      {Raw("K\x01\x86."), "without its operands"},
      {Raw("K\x01(\x85."), "without its operands"},
      {Raw("h\x05."), "a reference to the object 5"},
      {Raw("q\x05."), "without its operand"},
      {Raw("K\x01K\x02\x93."), "a class whose name is no string"},
      {Raw("K\x01)R."), "a call of an integer with a tuple"},
      {Raw("cours\nx\n}R."), "a call of the class ours.x with a dictionary"},
      {Raw("cours\nx\n)R)R."), "a call of an object of class ours.x"},
      {Raw("]}b."), "a state for a list"},
      {Raw("cours\nx\n)R}b}b."), "expected an object that has none"},
      {Raw("}K\x01"
           "a."),
       "elements for a dictionary"},
      {Raw("]K\x01K\x02s."), "keys and values for a list"},
      {Raw("}(K\x01u."), "keys and values for a dictionary"},
  };
  for (const auto& one : kCases) {
    EXPECT_THAT(Parse(one.bytes), StatusIs(absl::StatusCode::kInvalidArgument,
                                           HasSubstr(one.message)));
  }
}

TEST(PickleTest, RefusesEveryTruncation) {
  const std::string whole =
      Raw("\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00}(U\x01"
          "a\x94"
          "G\x3f\xf0\x00\x00\x00\x00\x00\x00\x8a\x01\x07"
          "cours\nx\n"
          "X\x02\x00\x00\x00hi\x85Ru.");
  ASSERT_OK(Parse(whole));
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_THAT(Parse(whole.substr(0, size)),
                StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("the end")))
        << size;
  }
}

TEST(PickleTest, SizesThatAreNotThereAreNotAllocated) {
  for (const std::string& bytes :
       {Raw("X\xff\xff\xff\xff."), Raw("\x8b\xff\xff\xff\x7f."),
        Raw("\x8d\xff\xff\xff\xff\xff\xff\xff\xff."),
        Raw("\x8e\x00\x00\x00\x00\x00\x00\x00\x40."),
        Raw("K\x01r\xff\xff\xff\xff\x94j\xff\xff\xff\xff"
            "0.")}) {
    WorkCounter counter;
    const absl::StatusOr<Pickle> pickle = Parse(bytes);
    EXPECT_LT(counter.work().peak, 100'000);
  }
}

TEST(PickleTest, MemoryAndDepthAreBounded) {
  constexpr size_t kMany = 200'000;
  const std::string many_calls = [] {
    std::string text = "](cours\nx\nq\x01";
    text += "0(";
    for (size_t i = 0; i < kMany; ++i) text += 'N';
    text += "tq\x02";
    for (size_t i = 0; i < kMany; ++i) text += "h\x01h\x02R";
    return text + "e.";
  }();
  const struct {
    std::string bytes;
    const char* message;  // null where it may be read
  } kCases[] = {
      {std::string(kMany, '('), "nested deeper"},
      {absl::StrCat("]", std::string(kMany, '}'), "."), "more objects"},
      // A list in a list in a list, without a mark.
      {absl::StrCat("N", std::string(kMany, '\x85'), "."), "more objects"},
      {many_calls, nullptr},
  };
  for (const auto& one : kCases) {
    WorkCounter counter;
    const absl::StatusOr<Pickle> pickle = Parse(one.bytes);
    EXPECT_LT(counter.work().peak, 100 * one.bytes.size());
    if (one.message == nullptr) {
      EXPECT_OK(pickle);
    } else {
      EXPECT_THAT(pickle, StatusIs(absl::StatusCode::kInvalidArgument,
                                   HasSubstr(one.message)));
    }
  }
}

TEST(PickleTest, AListThatHoldsItselfIsRead) {
  ASSERT_OK_AND_ASSIGN(const Pickle pickle, Parse("]q\x01h\x01"
                                                  "a."));
  EXPECT_EQ(pickle.root().items[0], &pickle.root());
}

}  // namespace
}  // namespace windlass
