// What the build files promise to those who depend on Windlass, as far as it
// can be read off them.

#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "re2/re2.h"
#include "windlass/core/regex.h"
#include "windlass/tests/testing/files.h"

namespace windlass {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

// The first group of each match, and the second.
std::map<std::string, std::string> FindAll(const std::string& text,
                                           const std::string& pattern) {
  std::map<std::string, std::string> found;
  const RE2 regex(pattern);
  Re2View rest = ToRe2(text);
  std::string name, version;
  while (RE2::FindAndConsume(&rest, regex, &name, &version)) {
    found[name] = version;
  }
  return found;
}

std::map<std::string, std::string> ModuleVersions(const std::string& path) {
  return FindAll(ReadTestFile(path),
                 R"re(bazel_dep\(name = "([^"]+)", version = "([^"]+)")re");
}

TEST(BuildFilesTest, TheDocsTableHasTheVersionsOfBothRoads) {
  const std::string docs = ReadTestFile("docs/building.md");
  const std::string deps = ReadTestFile("bazel/deps.bzl");
  const auto modules = ModuleVersions("MODULE.bazel");
  ASSERT_GE(modules.size(), 8u);
  for (const auto& [name, version] : modules) {
    if (name == "googletest" || name == "google_benchmark") continue;
    EXPECT_THAT(docs, HasSubstr(absl::StrCat("| ", name, " | ", version)));
    // The archive of that name, up to the next one.
    std::string archive;
    ASSERT_TRUE(RE2::PartialMatch(
        deps, absl::StrCat("(?s)name = \"", name, "\",(.*?)\n    \\)"),
        &archive))
        << name;
    std::string in_docs;
    ASSERT_TRUE(RE2::PartialMatch(
        docs, absl::StrCat("\\| ", name, " \\| [^|]+ \\| (\\S+) \\|"),
        &in_docs))
        << name;
    EXPECT_THAT(archive, HasSubstr(in_docs)) << name;
  }
}

TEST(BuildFilesTest, ConsumersGetNeitherProtobufNorCryptography) {
  const std::string deps = ReadTestFile("bazel/deps.bzl");
  EXPECT_THAT(deps, HasSubstr("strip_prefix = \"rules_cc-0.0.9\""));
  EXPECT_THAT(deps, HasSubstr("name = \"rules_license\""));
  EXPECT_EQ(ReadTestFile("WORKSPACE.bzlmod"), "");
  const std::string module = ReadTestFile("MODULE.bazel");
  EXPECT_THAT(module, HasSubstr("max_compatibility_level = 4"));
  EXPECT_THAT(module, HasSubstr("bazel_compatibility = [\">=7.2.1\"]"));
  // One target alone depends on BoringSSL, and only the tools on that.
  const std::string transfer = ReadTestFile("io/transfer/BUILD.bazel");
  EXPECT_THAT(FindAll(transfer, "(@boringssl)(//:crypto)"), SizeIs(1));
  EXPECT_THAT(ReadTestFile("io/BUILD.bazel"), Not(HasSubstr("sha256")));
  EXPECT_THAT(ReadTestFile("tools/BUILD.bazel"),
              HasSubstr("//io/transfer:sha256"));
}

TEST(BuildFilesTest, NoTargetIsNamedLikeAWildcard) {
  for (const char* path :
       {"adapters/BUILD.bazel", "core/BUILD.bazel", "io/BUILD.bazel"}) {
    EXPECT_THAT(ReadTestFile(path), Not(HasSubstr("name = \"all\""))) << path;
  }
}

}  // namespace
}  // namespace windlass
