#include "windlass/core/leading_bytes.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace windlass {
namespace {

using ::testing::StartsWith;

TEST(LeadingBytesTest, NamesWhatIsFoundInPlaceOfAFile) {
  const struct {
    std::string bytes;
    std::string what;
  } kCases[] = {
      {"", "an empty file"},
      {"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"},
      {"\n<!doctype HTML>", "a web page"},
      {"<?xml version=\"1.0\"?><Error>", "a web page"},
      {"\x1F\x8B\x08", "data compressed with gzip"},
      {"\x28\xB5\x2F\xFD\x24", "data compressed with zstd"},
      {std::string("\xFD"
                   "7zXZ\0\0",
                   7),
       "data compressed with xz"},
      {"PK\x03\x04", "a zip archive"},
      {"\x80\x02}q", "pickled data"},
      {"GGUF\x03", "a GGUF file"},
      {std::string(257, 'x') + "ustar", "a tar archive"},
      {std::string(600, '\0'), "zeros"},
      {"Invalid username or password.\nsecond line",
       "text that starts \"Invalid username or password.\" (fetch"},
      {std::string(100, 'y'),
       "text that starts \"" + std::string(40, 'y') + "...\""},
  };
  for (const auto& test : kCases) {
    EXPECT_THAT(DescribeLeadingBytes(test.bytes), StartsWith(test.what));
  }
  EXPECT_EQ(DescribeLeadingBytes(std::string("\x10\0\0\0\0\0\0\0{}", 10)), "");
}

}  // namespace
}  // namespace windlass
