// What the build files promise to those who depend on Windlass, as far as it
// can be read off them.

#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "re2/re2.h"
#include "windlass/core/regex.h"
#include "windlass/tests/testing/files.h"

namespace windlass {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Key;
using ::testing::MatchesRegex;
using ::testing::Not;

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

// What a genquery found.
std::vector<std::string> Labels(const std::string& path) {
  return absl::StrSplit(ReadTestFile(path), '\n', absl::SkipEmpty());
}

TEST(BuildFilesTest, TheDocsTableHasTheVersionsOfBothRoads) {
  const std::string docs = ReadTestFile("docs/building.md");
  const std::string deps = ReadTestFile("bazel/deps.bzl");
  const auto modules = ModuleVersions("MODULE.bazel");
  ASSERT_GE(modules.size(), 8u);
  for (const auto& [name, version] : modules) {
    if (name == "google_benchmark") continue;
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

TEST(BuildFilesTest, TheExamplesAskForTheSameVersions) {
  const auto ours = ModuleVersions("MODULE.bazel");
  for (const char* example : {"custom_adapter", "downstream"}) {
    const auto theirs =
        ModuleVersions(absl::StrCat("examples/", example, "/MODULE.bazel"));
    for (const char* name : {"abseil-cpp", "rules_cc"}) {
      ASSERT_THAT(theirs, Contains(Key(name))) << example;
      EXPECT_EQ(theirs.at(name), ours.at(name)) << example;
    }
  }
}

// Bazel 7 evaluates WORKSPACE beside modules otherwise.
TEST(BuildFilesTest, ModulesDoWithoutWorkspace) {
  for (const char* folder :
       {"", "examples/custom_adapter/", "examples/downstream/"}) {
    EXPECT_EQ(ReadTestFile(absl::StrCat(folder, "WORKSPACE.bzlmod")), "")
        << folder;
  }
}

TEST(BuildFilesTest, ConsumersResolveWithoutProtobuf) {
  const std::string deps = ReadTestFile("bazel/deps.bzl");
  EXPECT_THAT(deps, HasSubstr("strip_prefix = \"rules_cc-0.0.9\""));
  EXPECT_THAT(deps, HasSubstr("name = \"rules_license\""));
  const std::string module = ReadTestFile("MODULE.bazel");
  EXPECT_THAT(module, HasSubstr("max_compatibility_level = 4"));
  EXPECT_THAT(module, HasSubstr("bazel_compatibility = [\">=7.2.1\"]"));
}

TEST(BuildFilesTest, TheToolsAloneDependOnCryptography) {
  const auto library = Labels("tests/docs/library_deps");
  EXPECT_THAT(library, Contains("//io/transfer:transfer"));
  EXPECT_THAT(library, Not(Contains(HasSubstr("boringssl"))));
  EXPECT_THAT(Labels("tests/docs/tools_deps"),
              Contains(HasSubstr("boringssl")));
}

TEST(BuildFilesTest, NoTargetIsNamedLikeAWildcard) {
  for (const char* deps :
       {"tests/docs/library_deps", "tests/docs/tools_deps"}) {
    const auto labels = Labels(deps);
    EXPECT_THAT(labels, Contains("//io:io"));
    EXPECT_THAT(labels, Contains("//adapters:adapters"));
    EXPECT_THAT(labels, Not(Contains(MatchesRegex("//.*:all")))) << deps;
  }
}

}  // namespace
}  // namespace windlass
