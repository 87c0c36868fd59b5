// The command line of diff.

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/core/dtype.h"
#include "windlass/core/json.h"
#include "windlass/core/state_dict.h"
#include "windlass/core/tensor.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/testing/tensors.h"
#include "windlass/tests/testing/files.h"

namespace windlass {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using ::testing::StartsWith;

constexpr char kExample[] = "examples/qwen3_5_tiny";

CommandResult Diff(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "tools/diff");
  return RunCommand(arguments);
}

class DiffTest : public ::testing::Test {
 protected:
  ~DiffTest() override { fs::remove_all(folder_); }

  std::string Write(const std::string& name, const std::vector<float>& values) {
    const std::string path = folder_ + "/" + name + ".safetensors";
    StateDict dict;
    EXPECT_OK(dict.Insert("same", MakeTensor<float>(DType::kF32, {1}, {1})));
    const int64_t size = values.size();
    EXPECT_OK(dict.Insert("x", MakeTensor(DType::kF32, {size}, values)));
    WriteTestFile(path, SafetensorsBytes(dict));
    return path;
  }

  const std::string folder_ = MakeTestFolder();
};

TEST_F(DiffTest, HelpAndVersionExist) {
  const CommandResult help = Diff({"--help"});
  EXPECT_EQ(help.exit_code, 0);
  EXPECT_THAT(help.out, HasSubstr("diff [flags] A B"));
  EXPECT_EQ(Diff({"--version"}).out, "windlass 0.1.0\n");
}

TEST_F(DiffTest, TheSameIsZero) {
  const CommandResult result = Diff({kExample, kExample});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.out, "same: 92 tensors, 92 same\n");
  EXPECT_EQ(result.err, "");
}

TEST_F(DiffTest, ADifferenceIsOneAndIsShown) {
  const std::string a = Write("a", {1, 2, 3}), b = Write("b", {1, 2, 4});
  const CommandResult result = Diff({a, b});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(
      result.out,
      HasSubstr("tensor  what    A        B        unequal  of  max abs  max "
                "rel\nx       values  F32 [3]  F32 [3]        1   3        1  "
                "   0.25\n"));
  EXPECT_THAT(result.out,
              HasSubstr("different: 2 tensors, 1 same, 1 values\n"));
  ASSERT_OK_AND_ASSIGN(const Json json, ParseJson(Diff({"--json", a, b}).out));
  EXPECT_EQ(json["same"], false);
  EXPECT_EQ(json["counts"]["same"], 1);
  ASSERT_THAT(json["differences"], SizeIs(1));
  EXPECT_EQ(json["differences"][0]["name"], "x");
  EXPECT_EQ(json["differences"][0]["max_abs"], 1);
  EXPECT_EQ(json["differences"][0]["max_rel"], 0.25);
  EXPECT_EQ(json["differences"][0]["unequal"], 1);
  EXPECT_EQ(Diff({"--a_format=safetensors", "--regex=same", a, b}).exit_code,
            0);
}

TEST_F(DiffTest, AShapeThatDiffersIsOne) {
  const CommandResult result = Diff({Write("a", {1}), Write("b", {1, 2})});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.out,
              HasSubstr("x       shape  F32 [1]  F32 [2]        -   -"));
}

TEST_F(DiffTest, WhatIsNearEnoughIsZero) {
  const std::string a = Write("a", {1, 100}), b = Write("b", {1, 101});
  EXPECT_EQ(Diff({a, b}).exit_code, 1);
  EXPECT_EQ(Diff({"--allclose", a, b}).exit_code, 1);
  EXPECT_EQ(Diff({"--allclose", "--rtol=0.005", a, b}).exit_code, 1);
  const CommandResult close = Diff({"--allclose", "--rtol=0.01", a, b});
  EXPECT_EQ(close.exit_code, 0);
  EXPECT_THAT(close.out, AllOf(HasSubstr("close"), HasSubstr("\nsame: ")));
  EXPECT_EQ(Diff({"--allclose", "--atol=1", "--rtol=0", a, b}).exit_code, 0);
}

TEST_F(DiffTest, AcrossFormats) {
  const std::string data = "tests/formats/data/";
  for (const char* input :
       {"torch/zip_views/model.bin", "torch/legacy_dtypes/model.bin",
        "torch/sharded_bin_index/input", "dcp/ranks_mesh2d/input",
        "dcp/strides/input"}) {
    const std::string path = data + input;
    const std::string expected =
        fs::path(path).parent_path().string() + "/expected.safetensors";
    for (const auto& [a, b] :
         {std::make_pair(path, expected), std::make_pair(expected, path)}) {
      const CommandResult result = Diff({a, b});
      EXPECT_EQ(result.exit_code, 0) << a << result.out << result.err;
    }
  }
  const CommandResult nested =
      Diff({"--a_format=torch", "--a_state_dict_key=state_dict",
            data + "torch/zip_state_dict_nested/model.bin",
            data + "torch/zip_state_dict_nested/expected.safetensors"});
  EXPECT_EQ(nested.exit_code, 0) << nested.out << nested.err;
}

TEST_F(DiffTest, AcrossLayoutsWithAnAdapter) {
  const std::string native = folder_ + "/native";
  ASSERT_EQ(
      RunCommand({"tools/convert", "--to=native", kExample, native}).exit_code,
      0);
  EXPECT_EQ(Diff({kExample, native}).exit_code, 1);
  for (const char* adapter : {"--adapter=auto", "--adapter=qwen3_5"}) {
    const CommandResult result = Diff({adapter, kExample, native});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(result.out,
              "adapter qwen3_5: A to native\nsame: 92 tensors, 92 same\n");
  }
  ASSERT_OK_AND_ASSIGN(
      const Json json,
      ParseJson(Diff({"--adapter=auto", "--json", native, kExample}).out));
  EXPECT_EQ(json["layout"], "B to native");
}

TEST_F(DiffTest, TroubleOfAnyKindIsTwo) {
  const std::string a = Write("a", {1});
  WriteTestFile(folder_ + "/broken.safetensors", "no header");
  const std::vector<std::pair<std::vector<std::string>, const char*>> cases = {
      {{}, "found 0 arguments"},
      {{a}, "found 1 argument, expected two"},
      {{a, a, a}, "found 3 arguments"},
      {{"--alclose", a, a}, "--alclose; did you mean --allclose"},
      {{"--allclose", "--rtol=-1", a, a}, "--rtol: found \"-1\""},
      {{"--allclose", "--atol=nan", a, a}, "--atol: found \"nan\""},
      {{"--rtol=1", a, a}, "--rtol means nothing without --allclose"},
      {{"--config=x", a, a}, "--config means nothing without --adapter"},
      {{"--adapter=none", a, a}, "none"},
      {{"--adapter=auto", a, a}, "config.json"},
      {{"--regex=(", a, a}, "("},
      {{"--b_format=none", a, a}, "none"},
      {{a, folder_ + "/nowhere"}, "nowhere"},
      {{folder_ + "/nowhere", a}, "nowhere"},
      {{a, folder_ + "/broken.safetensors"}, "broken.safetensors"},
  };
  for (const auto& [arguments, message] : cases) {
    SCOPED_TRACE(message);
    const CommandResult text = Diff(arguments);
    EXPECT_EQ(text.exit_code, 2);
    EXPECT_EQ(text.out, "");
    EXPECT_THAT(text.err, AllOf(StartsWith("diff: "), HasSubstr(message)));
    EXPECT_EQ(text.err.find('\n'), text.err.size() - 1);
    std::vector<std::string> with_json = arguments;
    with_json.insert(with_json.begin(), "--json");
    ASSERT_OK_AND_ASSIGN(const Json object, ParseJson(Diff(with_json).out));
    EXPECT_EQ(object["exit_code"], 2);
  }
  for (const std::string& pair : {a + " " + a, a + " " + Write("b", {2})}) {
    const CommandResult full =
        RunCommand({"sh", "-c", "exec tools/diff " + pair + " >/dev/full"});
    EXPECT_EQ(full.exit_code, 2) << pair;
    EXPECT_THAT(full.err, HasSubstr("stdout could not take"));
  }
}

}  // namespace
}  // namespace windlass
