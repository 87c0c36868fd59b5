// One suite over every storage.

#include "windlass/io/storage/storage.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/tests/testing/files.h"
#include "windlass/tests/testing/status_matchers.h"

namespace windlass {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class StorageTest : public ::testing::TestWithParam<std::string> {
 protected:
  StorageTest()
      : root_(ResolveLocation(absl::StrCat(GetParam(), MakeTestFolder()))
                  .value()) {}

  std::string Path(absl::string_view name) {
    return JoinPath(root_.path, name);
  }
  Storage& storage() { return *root_.storage; }

  const Location root_;
};

TEST_P(StorageTest, WritesAndReadsRanges) {
  ASSERT_OK(storage().MakeDirectory(Path("a/b")));
  ASSERT_OK_AND_ASSIGN(auto out, storage().Create(Path("a/b/file")));
  ASSERT_OK(out->Allocate(10));
  ASSERT_OK(out->WriteAt(5, {'f', 'g', 'h', 'i', 'j'}));
  ASSERT_OK(out->WriteAt(0, {'a', 'b', 'c', 'd', 'e'}));
  ASSERT_OK(out->Sync());
  ASSERT_OK(out->Close());
  ASSERT_OK_AND_ASSIGN(auto in, storage().OpenForRead(Path("a/b/file")));
  EXPECT_EQ(in->size(), 10);
  std::string middle(4, '\0');
  ASSERT_OK(in->ReadAt(3, absl::MakeSpan(&middle[0], 4)));
  EXPECT_EQ(middle, "defg");
  EXPECT_OK(in->CheckUnchanged());
}

TEST_P(StorageTest, RefusesToReadBeyondTheEnd) {
  ASSERT_OK(WriteFile(storage(), Path("f"), "0123"));
  ASSERT_OK_AND_ASSIGN(auto in, storage().OpenForRead(Path("f")));
  std::string out(3, '\0');
  EXPECT_THAT(in->ReadAt(2, absl::MakeSpan(&out[0], 3)),
              StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("f: ")));
}

TEST_P(StorageTest, ARangeCopiedByTheStorageIsTheSame) {
  std::string text;
  for (int i = 0; text.size() < 300000; ++i) text += std::to_string(i);
  ASSERT_OK(WriteFile(storage(), Path("from"), text));
  ASSERT_OK_AND_ASSIGN(auto in, storage().OpenForRead(Path("from")));
  for (int64_t from : {4096, 0, 5}) {
    for (int64_t to : {0, 4096, 5}) {
      const int64_t size = text.size() - from - 3;
      ASSERT_OK_AND_ASSIGN(auto out, storage().Create(Path("to")));
      ASSERT_OK(out->Allocate(to + size));
      ASSERT_OK_AND_ASSIGN(const bool copied,
                           out->CopyFrom(*in, from, size, to));
      out->StartSync(to, size);
      ASSERT_OK(out->Close());
      // Where it cannot, nothing happened.
      EXPECT_EQ(ReadFile(storage(), Path("to"), 1 << 20).value(),
                std::string(to, '\0') + (copied ? text.substr(from, size)
                                                : std::string(size, '\0')));
    }
  }
}

TEST_P(StorageTest, DoesNotCopyFromAStrangersSource) {
  const MemorySource source("0123456789");
  ASSERT_OK_AND_ASSIGN(auto out, storage().Create(Path("to")));
  EXPECT_FALSE(out->CopyFrom(source, 0, 10, 0).value());
}

TEST_P(StorageTest, ListsSortedNames) {
  for (const char* name : {"b", "a", "c"}) {
    ASSERT_OK(WriteFile(storage(), Path(name), name));
  }
  EXPECT_THAT(storage().List(root_.path).value(), ElementsAre("a", "b", "c"));
}

TEST_P(StorageTest, RenamesOverAFileAndRemoves) {
  ASSERT_OK(WriteFile(storage(), Path("a"), "new"));
  ASSERT_OK(WriteFile(storage(), Path("b"), "old"));
  ASSERT_OK(storage().Rename(Path("a"), Path("b")));
  EXPECT_EQ(storage().GetKind(Path("a")).value(), Storage::Kind::kMissing);
  EXPECT_EQ(ReadFile(storage(), Path("b"), 10).value(), "new");
  ASSERT_OK(storage().Remove(Path("b")));
  EXPECT_EQ(storage().GetKind(Path("b")).value(), Storage::Kind::kMissing);
  EXPECT_FALSE(storage().Remove(Path("b")).ok());
}

TEST_P(StorageTest, KnowsFilesFromFolders) {
  ASSERT_OK(storage().MakeDirectory(Path("d")));
  ASSERT_OK(WriteFile(storage(), Path("d/f"), "x"));
  EXPECT_EQ(storage().GetKind(Path("d")).value(), Storage::Kind::kDirectory);
  EXPECT_EQ(storage().GetKind(Path("d/f")).value(), Storage::Kind::kFile);
  EXPECT_EQ(storage().GetKind(Path("d/g")).value(), Storage::Kind::kMissing);
}

TEST_P(StorageTest, NamesWhatIsMissing) {
  EXPECT_THAT(storage().OpenForRead(Path("nothing")),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("nothing: ")));
}

TEST_P(StorageTest, NoticesATruncatedInput) {
  ASSERT_OK(WriteFile(storage(), Path("f"), "0123456789"));
  ASSERT_OK_AND_ASSIGN(auto in, storage().OpenForRead(Path("f")));
  ASSERT_OK_AND_ASSIGN(auto again, storage().Create(Path("f")));
  ASSERT_OK(again->WriteAt(0, {'x'}));
  ASSERT_OK(again->Close());
  if (GetParam() == "mem://") return;  // a new file there, as after a rename
  EXPECT_THAT(
      in->CheckUnchanged(),
      StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("changed")));
  std::string out(10, '\0');
  EXPECT_THAT(in->ReadAt(0, absl::MakeSpan(&out[0], 10)),
              StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("truncated")));
}

INSTANTIATE_TEST_SUITE_P(All, StorageTest,
                         ::testing::Values("file://", "mem://"),
                         [](const ::testing::TestParamInfo<std::string>& info) {
                           return info.param.substr(0, info.param.find(':'));
                         });

TEST(ResolveLocationTest, ListsTheKnownSchemes) {
  EXPECT_THAT(ResolveLocation("ftp://x"),
              StatusIs(absl::StatusCode::kNotFound,
                       HasSubstr("known: file://, mem://")));
  EXPECT_EQ(ResolveLocation("a/b")->path, "a/b");
}

TEST(PathTest, TakesPathsApart) {
  EXPECT_EQ(BaseName("a/b.c"), "b.c");
  EXPECT_EQ(BaseName("b"), "b");
  EXPECT_EQ(DirName("a/b/c"), "a/b");
  EXPECT_EQ(DirName("b"), ".");
  EXPECT_EQ(DirName("/b"), "/");
  EXPECT_EQ(JoinPath("a", "b"), "a/b");
  EXPECT_EQ(JoinPath("a/", "b"), "a/b");
  EXPECT_EQ(JoinPath(".", "b"), "b");
}

}  // namespace
}  // namespace windlass
