// The convert tool as a user calls it.

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/core/json.h"
#include "windlass/core/tensor_ops.h"
#include "windlass/io/checkpoint.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/testing/tensors.h"
#include "windlass/tests/testing/files.h"

namespace windlass {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr char kExample[] = "examples/qwen3_5_tiny";

class ConvertTest : public ::testing::Test {
 protected:
  ~ConvertTest() override { std::filesystem::remove_all(folder_); }

  static CommandResult Convert(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "tools/convert");
    return RunCommand(arguments);
  }

  // A failure says so in one line on stderr, and leaves no output.
  void ExpectFailure(const CommandResult& result, int code,
                     const std::string& message) {
    EXPECT_EQ(result.exit_code, code) << result.err;
    EXPECT_THAT(result.err, AllOf(HasSubstr("convert: "), HasSubstr(message)));
    const std::vector<std::string> lines = absl::StrSplit(result.err, '\n');
    EXPECT_THAT(lines, SizeIs(2));
    EXPECT_FALSE(std::filesystem::exists(out_ + "/config.json"));
  }

  const std::string folder_ = MakeTestFolder();
  const std::string in_ = folder_ + "/in";
  const std::string out_ = folder_ + "/out";
};

TEST_F(ConvertTest, TheExampleThereAndBackIsTheSameButForUpcasts) {
  ASSERT_EQ(Convert({"--to=native", kExample, in_}).exit_code, 0);
  ASSERT_EQ(Convert({"--to=hf", in_, out_}).exit_code, 0);
  ASSERT_OK_AND_ASSIGN(const Checkpoint before, OpenCheckpoint(kExample));
  ASSERT_OK_AND_ASSIGN(const Checkpoint after, OpenCheckpoint(out_));
  EXPECT_EQ(Names(after.tensors), Names(before.tensors));
  StateDict expected;
  for (const auto& [name, tensor] : before.tensors) {
    const bool upcast = name.find("dt_bias") != name.npos;
    ASSERT_OK(expected.Insert(
        name, Cast(tensor, upcast ? DType::kF32 : tensor.dtype()).value()));
  }
  EXPECT_EQ(Difference(after.tensors, expected), "");
  const auto files = ReadTestFolder(out_);
  for (const char* name : {"config.json", "generation_config.json"}) {
    EXPECT_EQ(files.at(name), ReadTestFile(absl::StrCat(kExample, "/", name)));
  }
}

TEST_F(ConvertTest, ReportsAsJson) {
  const CommandResult result =
      Convert({"--to=native", "--json", kExample, out_});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  ASSERT_OK_AND_ASSIGN(const Json report, ParseJson(result.out));
  EXPECT_EQ(report["adapter"], "qwen3_5");
  EXPECT_EQ(report["tensors_in"], 92);
  EXPECT_EQ(report["tensors_out"], 92);
  EXPECT_EQ(report["renamed"], 7);
  EXPECT_EQ(report["computed"], 3);
  EXPECT_EQ(report["dropped"], 0);
  EXPECT_EQ(report["dropped_names"].size(), 0u);
  EXPECT_GT(report["bytes"], 500000);
}

TEST_F(ConvertTest, DryRunWritesNothing) {
  const CommandResult result =
      Convert({"--to=native", "--dry_run", kExample, out_});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, AllOf(HasSubstr("model-00002-of-00002.safetensors"),
                                HasSubstr("nothing was written")));
  EXPECT_FALSE(std::filesystem::exists(out_));
}

TEST_F(ConvertTest, HelpIsShortAndShowsExamples) {
  const CommandResult result = Convert({"--help"});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_THAT(result.out, AllOf(HasSubstr("convert --to=native"),
                                HasSubstr("convert --to=hf")));
  const std::vector<std::string> lines = absl::StrSplit(result.out, '\n');
  EXPECT_LT(lines.size(), 50u);
}

TEST_F(ConvertTest, WrongUsageExitsWithTwo) {
  const std::string in = kExample;
  ExpectFailure(Convert({in, out_}), 2, "--to");
  ExpectFailure(Convert({"--to=up", in, out_}), 2, "native, hf");
  ExpectFailure(Convert({"--to=hf", in}), 2, "INPUT and OUTPUT");
  ExpectFailure(Convert({"--to=hf", "--dryrun", in, out_}), 2,
                "did you mean --dry_run?");
  ExpectFailure(Convert({"--to=hf", "--threads=0", in, out_}), 2, "--threads");
  ExpectFailure(Convert({"--to=hf", "--max_shard_size=5X", in, out_}), 2,
                "--max_shard_size");
  ExpectFailure(Convert({"--to=hf", "--exclude_key_regex=(", in, out_}), 2,
                "regular expression");
  ExpectFailure(Convert({"--to=hf", "--adapter=qwen", in, out_}), 2,
                "adapter \"qwen\" is unknown");
  ExpectFailure(Convert({"--to=hf", "--adapter_options={\"x\":1}", in, out_}),
                2, "it takes route_linear_attn_fp32_params");
  ExpectFailure(Convert({"--to=hf", "--adapter_options=x", in, out_}), 2,
                "--adapter_options");
  ExpectFailure(Convert({"--to=native", "--ep_size=2", in, out_}), 2,
                "has no experts");
  ExpectFailure(
      Convert({"--to=native", "--ep_size=2", "--ep_rank=2", in, out_}), 2,
      "--ep_rank");
  ExpectFailure(Convert({"--to=hf", "--dtype=int8", in, out_}), 2,
                "bfloat16, float16");
  ExpectFailure(Convert({"--to=hf", "--allow_differences", in, out_}), 2,
                "--like");
  ExpectFailure(Convert({"--to=hf", "--like=", in, out_}), 2, "--like");
  for (const char* flag : {"--dtype=float16", "--like=x", "--fill_from=x"}) {
    ExpectFailure(Convert({"--to=hf", "--in_place", flag, in}), 2,
                  "--in_place");
  }
}

TEST_F(ConvertTest, NamesBothLayouts) {
  EXPECT_THAT(Convert({"--to=native", kExample, in_}).out,
              HasSubstr("qwen3_5 from hf to native: 92 tensors in"));
  EXPECT_THAT(Convert({"--to=hf", in_, out_}).out,
              HasSubstr("qwen3_5 from native to hf: "));
  EXPECT_THAT(
      Convert({"--to=hf", "--dry_run", kExample, folder_ + "/same"}).out,
      HasSubstr("qwen3_5 from hf to hf: 92 tensors in, 92 out: 0 renamed, 0 "
                "computed"));
}

TEST_F(ConvertTest, WritesLikeAnotherAndFillsFromIt) {
  ASSERT_EQ(Convert({"--to=native", "--dtype=float32",
                     "--exclude_key_regex=mtp", kExample, in_})
                .exit_code,
            0);
  // The trainer lost its heads for predicting more tokens.
  ASSERT_EQ(
      Convert({"--to=hf", "--exclude_key_regex=mtp", in_, out_}).exit_code, 0);
  std::filesystem::remove_all(out_);
  const std::string example = kExample;
  const CommandResult refused = Convert(
      {"--to=hf", "--exclude_key_regex=mtp", "--like=" + example, in_, out_});
  EXPECT_THAT(refused.err, HasSubstr("found none, expected"));
  ExpectFailure(refused, 1, "more differences");
  const CommandResult result =
      Convert({"--to=hf", "--exclude_key_regex=mtp", "--like=" + example,
               "--fill_from=" + example, "--json", in_, out_});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  ASSERT_OK_AND_ASSIGN(const Json report, ParseJson(result.out));
  EXPECT_EQ(report["input_layout"], "native");
  EXPECT_EQ(report["output_layout"], "hf");
  EXPECT_GT(report["filled"].size(), 0u);
  EXPECT_EQ(report["differences"].size(), 0u);
  // All of it as it was published, files and bytes; an index of ours is sorted.
  auto published = ReadTestFolder(kExample);
  auto written = ReadTestFolder(out_);
  constexpr char kIndex[] = "model.safetensors.index.json";
  EXPECT_EQ(written.count(kIndex), 1u);
  written.erase(kIndex);
  published.erase(kIndex);
  EXPECT_EQ(written, published);
}

TEST_F(ConvertTest, ExplainsWhatIsMissing) {
  ExpectFailure(Convert({"--to=hf", folder_ + "/nowhere", out_}), 1, "nowhere");
  std::filesystem::copy(kExample, in_);
  std::filesystem::permissions(in_, std::filesystem::perms::owner_all);
  std::filesystem::remove(in_ + "/config.json");
  ExpectFailure(Convert({"--to=native", in_, out_}), 1,
                "give another config, or an adapter");
  EXPECT_EQ(
      Convert({"--to=native",
               absl::StrCat("--config=", kExample, "/config.json"), in_, out_})
          .exit_code,
      0);
  std::filesystem::remove_all(out_);
  EXPECT_EQ(Convert({"--to=native", "--adapter=qwen3_5", in_, out_}).exit_code,
            0);
  std::filesystem::remove_all(out_);
  WriteTestFile(in_ + "/config.json",
                R"({"architectures": ["Qwen3_5ForCausalLN"]})");
  ExpectFailure(Convert({"--to=native", in_, out_}), 1,
                "did you mean Qwen3_5ForCausalLM");
}

TEST_F(ConvertTest, SaysWhyItCannotWrite) {
  WriteTestFile(folder_ + "/file", "x");
  ExpectFailure(Convert({"--to=native", kExample, folder_ + "/file"}), 1,
                "found a file, expected a folder");
  ExpectFailure(Convert({"--to=native", kExample, folder_ + "/file/below"}), 1,
                "file/below");
  ExpectFailure(Convert({"--to=native", kExample, "/proc/none"}), 1,
                "/proc/none");
}

TEST_F(ConvertTest, UnroutesByOption) {
  ASSERT_EQ(
      Convert({"--to=native",
               "--adapter_options={\"route_linear_attn_fp32_params\": false}",
               kExample, out_})
          .exit_code,
      0);
  ASSERT_OK_AND_ASSIGN(const Checkpoint out, OpenCheckpoint(out_));
  for (const auto& [name, tensor] : out.tensors) {
    EXPECT_EQ(name.find("_fp32_params"), name.npos);
  }
}

TEST(AdaptersTest, ListsWhatIsRegistered) {
  const CommandResult text = RunCommand({"tools/adapters"});
  EXPECT_EQ(text.exit_code, 0);
  EXPECT_THAT(text.out, HasSubstr("Qwen3_5ForConditionalGeneration"));
  ASSERT_OK_AND_ASSIGN(const Json json,
                       ParseJson(RunCommand({"tools/adapters", "--json"}).out));
  std::vector<std::string> names;
  for (const Json& adapter : json) names.push_back(adapter["name"]);
  ASSERT_THAT(names, Contains("qwen3_5"));
  for (const Json& adapter : json) {
    if (adapter["name"] != "qwen3_5") continue;
    EXPECT_EQ(adapter["options"][0]["name"], "route_linear_attn_fp32_params");
  }
}

}  // namespace
}  // namespace windlass
