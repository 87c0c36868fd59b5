// Checkpoints of more files than a process may have open.

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/core/status_macros.h"
#include "windlass/io/checkpoint.h"
#include "windlass/io/save.h"
#include "windlass/io/storage/storage.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/testing/tensors.h"
#include "windlass/tests/testing/files.h"

namespace windlass {
namespace {

using ::testing::HasSubstr;

constexpr int kFiles = 3000;

// While it lives, the process may have that many descriptors.
class DescriptorLimit {
 public:
  explicit DescriptorLimit(rlim_t most) {
    EXPECT_EQ(::getrlimit(RLIMIT_NOFILE, &before_), 0);
    const struct rlimit limit = {most, before_.rlim_max};
    EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &limit), 0);
  }
  ~DescriptorLimit() { ::setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  struct rlimit before_ = {};
};

class ManyFilesTest : public ::testing::TestWithParam<const char*> {
 protected:
  ~ManyFilesTest() override { std::filesystem::remove_all(folder_); }

  absl::Status Save(const StateDict& tensors, const Checkpoint& input,
                    const std::string& output, const SaveOptions& options) {
    WINDLASS_ASSIGN_OR_RETURN(
        const SavePlan plan,
        PlanSave(tensors, input, folder_ + output, options));
    TransferOptions transfer;
    transfer.sync = false;
    return SaveCheckpoint(plan, transfer);
  }

  const std::string folder_ = MakeTestFolder();
};

TEST_P(ManyFilesTest, AreReadAndWrittenWithFewDescriptors) {
  const DescriptorLimit limit(64);
  std::mt19937 random(3);
  StateDict tensors;
  for (int i = 0; i < kFiles; ++i) {
    ASSERT_OK(tensors.Insert(absl::StrCat("layers.", i),
                             RandomTensor(DType::kF32, {2}, &random)));
  }
  ASSERT_OK(
      tensors.Insert("rows", RandomTensor(DType::kU8, {kFiles, 2}, &random)));
  SaveOptions many;
  many.format = GetParam();
  if (absl::StartsWith(GetParam(), "dcp")) {
    many.num_shards = kFiles;
  } else {
    many.max_shard_bytes = 8;
  }
  Checkpoint nothing;
  ASSERT_OK_AND_ASSIGN(nothing.folder, ResolveLocation(folder_ + "/nowhere"));
  ASSERT_OK(Save(tensors, nothing, "/in", many));
  ASSERT_OK_AND_ASSIGN(const Checkpoint in, OpenCheckpoint(folder_ + "/in"));
  EXPECT_GE(in.shards.size(), kFiles);
  SaveOptions one;
  one.max_shard_bytes = 1 << 20;
  ASSERT_OK(Save(in.tensors, in, "/out", one));
  ASSERT_OK_AND_ASSIGN(const Checkpoint out, OpenCheckpoint(folder_ + "/out"));
  EXPECT_EQ(Difference(Sorted(out.tensors), Sorted(tensors)), "");
}

INSTANTIATE_TEST_SUITE_P(Formats, ManyFilesTest,
                         ::testing::Values("safetensors", "torch", "dcp",
                                           "dcp_safetensors"),
                         [](const auto& info) {
                           return std::string(info.param);
                         });

class DescriptorsTest : public ::testing::Test {
 protected:
  DescriptorsTest() : storage_(*ResolveLocation(folder_).value().storage) {}
  ~DescriptorsTest() override { std::filesystem::remove_all(folder_); }

  std::string Path(int i) const { return absl::StrCat(folder_, "/", i); }

  // As many files as push each other out of what may be open.
  std::vector<std::shared_ptr<const ReadableFile>> OpenMany() {
    std::vector<std::shared_ptr<const ReadableFile>> files;
    for (int i = 0; i < 100; ++i) {
      WriteTestFile(Path(i), absl::StrCat("file ", i));
      files.push_back(storage_.OpenForRead(Path(i)).value());
    }
    return files;
  }

  const std::string folder_ = MakeTestFolder();
  Storage& storage_;
  const DescriptorLimit limit_{64};
};

TEST_F(DescriptorsTest, AFileThatIsNoLongerTheSameIsNotReadOn) {
  const auto files = OpenMany();
  EXPECT_EQ(ReadRange(*files[0], 0, 6).value(), "file 0");
  EXPECT_OK(files[1]->CheckUnchanged());
  // The same size, another file.
  WriteTestFile(folder_ + "/new", "FILE 1");
  std::filesystem::rename(folder_ + "/new", Path(1));
  std::filesystem::remove(Path(2));
  for (int i = 3; i < 100; ++i) {
    ASSERT_EQ(ReadRange(*files[i], 0, 5).value(), "file ");
  }
  EXPECT_THAT(ReadRange(*files[1], 0, 6),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("/1: the file was changed")));
  EXPECT_THAT(ReadRange(*files[2], 0, 6),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("/2: ")));
}

TEST_F(DescriptorsTest, ThoseOfOthersAreNotTaken) {
  const auto files = OpenMany();
  // The program takes all that are left, as many as there are.
  std::vector<int> others;
  for (int fd; (fd = ::open("/dev/null", O_RDONLY)) >= 0;) others.push_back(fd);
  EXPECT_GT(others.size(), 10u);
  for (const auto& file : files) {
    EXPECT_EQ(ReadRange(*file, 0, 5).value(), "file ");
  }
  EXPECT_OK(storage_.OpenForRead(Path(0)).status());
  EXPECT_OK(storage_.Create(Path(200)).status());
  for (const int fd : others) ::close(fd);
}

}  // namespace
}  // namespace windlass
