// One suite over every storage.

#include "windlass/io/storage/storage.h"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/tests/testing/files.h"

namespace windlass {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

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
      ASSERT_OK_AND_ASSIGN(auto out, CreateNew(storage(), Path("to")));
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

TEST_P(StorageTest, ListsNamesSortedWithKindsAndSizes) {
  for (const char* name : {"b", "a", "c/d"}) {
    ASSERT_OK(storage().MakeDirectory(DirName(Path(name))));
    ASSERT_OK(WriteFile(storage(), Path(name), name));
  }
  EXPECT_THAT(
      storage().List(root_.path).value(),
      ElementsAre(
          AllOf(Field(&Storage::Entry::name, "a"),
                Field(&Storage::Entry::kind, Storage::Kind::kFile),
                Field(&Storage::Entry::size, 1)),
          Field(&Storage::Entry::name, "b"),
          AllOf(Field(&Storage::Entry::name, "c"),
                Field(&Storage::Entry::kind, Storage::Kind::kDirectory))));
}

TEST_P(StorageTest, CreatesOnlyWhereNothingStands) {
  ASSERT_OK(WriteFile(storage(), Path("f"), "old"));
  EXPECT_THAT(storage().Create(Path("f")),
              StatusIs(absl::StatusCode::kAlreadyExists, HasSubstr("f: ")));
  EXPECT_EQ(ReadFile(storage(), Path("f"), 10).value(), "old");
  ASSERT_OK_AND_ASSIGN(auto file, CreateNew(storage(), Path("f")));
  ASSERT_OK(file->Close());
  EXPECT_EQ(ReadFile(storage(), Path("f"), 10).value(), "");
}

TEST_P(StorageTest, OneHoldsAFolderAloneOrManyShareIt) {
  ASSERT_OK(storage().MakeDirectory(root_.path));
  const auto busy =
      StatusIs(absl::StatusCode::kUnavailable, HasSubstr("in use by"));
  ASSERT_OK_AND_ASSIGN(auto alone,
                       storage().Lock(root_.path, LockMode::kExclusive));
  EXPECT_THAT(storage().Lock(root_.path, LockMode::kExclusive), busy);
  EXPECT_THAT(storage().Lock(root_.path, LockMode::kShared), busy);
  alone.reset();
  ASSERT_OK_AND_ASSIGN(auto one, storage().Lock(root_.path, LockMode::kShared));
  ASSERT_OK_AND_ASSIGN(auto two, storage().Lock(root_.path, LockMode::kShared));
  EXPECT_THAT(storage().Lock(root_.path, LockMode::kExclusive), busy);
  one.reset();
  EXPECT_THAT(storage().Lock(root_.path, LockMode::kExclusive), busy);
  two.reset();
  ASSERT_OK(storage().Lock(root_.path, LockMode::kExclusive).status());
  EXPECT_THAT(storage().List(root_.path).value(), IsEmpty());
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
  if (GetParam() == "mem://") return;  // nothing can truncate a file there
  WriteTestFile(Path("f"), "x");
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

// What only local files can be.
class LocalStorageTest : public ::testing::Test {
 protected:
  ~LocalStorageTest() override { std::filesystem::remove_all(folder_); }

  std::string Path(absl::string_view name) const {
    return absl::StrCat(folder_, "/", name);
  }

  Storage& storage_ = *ResolveLocation("/")->storage;
  const std::string folder_ = MakeTestFolder();
};

TEST_F(LocalStorageTest, RefusesWhatIsNoFileAtOnce) {
  ASSERT_EQ(::mkfifo(Path("fifo").c_str(), 0666), 0);
  std::filesystem::create_symlink("fifo", Path("link"));
  std::filesystem::create_symlink("nowhere", Path("dangling"));
  for (const auto& [path, what] :
       {std::make_pair(Path("fifo"), "a FIFO"),
        std::make_pair(Path("link"), "a FIFO"),
        std::make_pair(std::string("/dev/zero"), "a device"),
        std::make_pair(folder_, "a folder")}) {
    const auto refused =
        StatusIs(absl::StatusCode::kInvalidArgument,
                 HasSubstr(absl::StrCat(path, ": found ", what)));
    EXPECT_THAT(storage_.OpenForRead(path), refused);
    if (path == Path("link")) continue;
    EXPECT_THAT(storage_.OpenForEdit(path), refused);
  }
  EXPECT_THAT(storage_.OpenForRead(std::string("a\0b", 3)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("NUL")));
  EXPECT_THAT(storage_.List(folder_).value(),
              ElementsAre(Field(&Storage::Entry::kind, Storage::Kind::kMissing),
                          Field(&Storage::Entry::kind, Storage::Kind::kOther),
                          Field(&Storage::Entry::kind, Storage::Kind::kOther)));
}

TEST_F(LocalStorageTest, NeverWritesThroughALink) {
  WriteTestFile(Path("precious"), "precious");
  std::filesystem::create_symlink("precious", Path("link"));
  std::filesystem::create_symlink("new", Path("dangling"));
  EXPECT_FALSE(storage_.Create(Path("link")).ok());
  EXPECT_FALSE(storage_.Create(Path("dangling")).ok());
  for (const char* name : {"link", "dangling"}) {
    ASSERT_OK(WriteFile(storage_, Path(name), "x"));
    EXPECT_FALSE(std::filesystem::is_symlink(Path(name)));
  }
  std::filesystem::create_symlink("precious", Path(TemporaryName("f")));
  ASSERT_OK(WriteFile(storage_, Path("f"), "x"));
  EXPECT_EQ(ReadTestFile(Path("precious")), "precious");
  EXPECT_FALSE(std::filesystem::exists(Path("new")));
}

TEST_F(LocalStorageTest, TakesOverWhatADeadHolderLeft) {
  WriteTestFile(Path(".windlass-lock"), "");
  WriteTestFile(Path(".windlass-lock-by-host-1-20260101T000000Z"), "");
  ASSERT_OK_AND_ASSIGN(auto lock, storage_.Lock(folder_, LockMode::kExclusive));
  EXPECT_THAT(storage_.Lock(folder_, LockMode::kShared),
              StatusIs(absl::StatusCode::kUnavailable,
                       HasSubstr(absl::StrCat(folder_, ": in use by process ",
                                              ::getpid()))));
  lock.reset();
  EXPECT_TRUE(ReadTestFolder(folder_).empty());
  EXPECT_THAT(storage_.Lock(Path("nowhere"), LockMode::kShared),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("nowhere")));
}

TEST_F(LocalStorageTest, LongNamesHaveTemporariesOfTheirOwn) {
  const std::string a(250, 'x');
  std::string b = a;
  b.back() = 'y';
  EXPECT_NE(TemporaryName(a), TemporaryName(b));
  EXPECT_LE(TemporaryName(a).size(), 255u);
  ASSERT_OK(WriteFile(storage_, Path(a), "a"));
  EXPECT_EQ(ReadTestFile(Path(a)), "a");
}

TEST_F(LocalStorageTest, SetsPermissionsAsFarAsTheUmaskAllows) {
  const mode_t before = ::umask(027);
  ASSERT_OK_AND_ASSIGN(auto file, storage_.Create(Path("f")));
  ASSERT_OK(file->SetMode(0755));
  ASSERT_OK(file->Close());
  ::umask(before);
  ASSERT_OK_AND_ASSIGN(auto in, storage_.OpenForRead(Path("f")));
  EXPECT_EQ(in->mode(), 0750);
}

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
