// What the README and docs/adapters.md say is so.

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/tests/testing/files.h"

namespace windlass {
namespace {

using ::testing::HasSubstr;

TEST(ReadmeTest, HasTheTableOfRegisteredAdapters) {
  const CommandResult table = RunCommand({"tools/adapters", "--markdown"});
  ASSERT_EQ(table.exit_code, 0);
  EXPECT_THAT(ReadTestFile("README.md"), HasSubstr(table.out));
}

TEST(AdaptersPageTest, EndsWithTheTablesOfRegisteredAdapters) {
  const CommandResult docs = RunCommand({"tools/adapters", "--docs"});
  ASSERT_EQ(docs.exit_code, 0) << docs.err;
  const std::string page = ReadTestFile("docs/adapters.md");
  const size_t at = page.find("### ", page.find("\n## The adapters\n"));
  ASSERT_NE(at, page.npos);
  EXPECT_EQ(page.substr(at), docs.out);
}

TEST(ReadmeTest, ItsMainCommandPrintsWhatItShows) {
  const std::string readme = ReadTestFile("README.md");
  const std::string folder = MakeTestFolder();
  EXPECT_THAT(readme, HasSubstr("tools/bazel run //tools:convert -- "
                                "--to=native examples/qwen3_5_tiny "
                                "/tmp/qwen3_5-native\n"));
  EXPECT_THAT(readme, HasSubstr("tools/bazel test //...\n"));
  const CommandResult result =
      RunCommand({"tools/convert", "--to=native", "examples/qwen3_5_tiny",
                  folder + "/native"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  // All but the seconds, which vary.
  const std::string shown = result.out.substr(0, result.out.find(" in 0."));
  EXPECT_THAT(readme, HasSubstr("    " + absl::StrReplaceAll(
                                             shown, {{"\n", "\n    "}})));
}

TEST(ReadmeTest, NamesEveryFormat) {
  // What it says where it finds none of them.
  const CommandResult result =
      RunCommand({"tools/convert", "--to=hf", "--adapter=llama",
                  MakeTestFolder(), "/tmp/none"});
  const std::string known = result.err.substr(result.err.rfind(": ") + 2);
  const std::string readme = ReadTestFile("README.md");
  for (absl::string_view format :
       absl::StrSplit(known.substr(0, known.find('\n')), ", ")) {
    EXPECT_THAT(readme, HasSubstr(absl::StrCat("\n| ", format, " | ")));
  }
}

}  // namespace
}  // namespace windlass
