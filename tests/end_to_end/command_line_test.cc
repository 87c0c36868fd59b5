// How the tools speak: flags, one line for an error, JSON, closed descriptors.

#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/core/json.h"
#include "windlass/io/safetensors/header.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/tests/testing/files.h"

namespace windlass {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using ::testing::StartsWith;

constexpr char kExample[] = "examples/qwen3_5_tiny";

class CommandLineTest : public ::testing::Test {
 protected:
  ~CommandLineTest() override { fs::remove_all(folder_); }

  static CommandResult Run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "tools/convert");
    return RunCommand(arguments);
  }

  static CommandResult Shell(const std::string& command) {
    return RunCommand({"sh", "-c", command});
  }

  // A failure is one line on stderr, and with --json one object on stdout.
  void ExpectFailure(std::vector<std::string> arguments, int code,
                     const std::string& message) {
    const CommandResult result = Run(arguments);
    EXPECT_EQ(result.exit_code, code) << result.err;
    EXPECT_THAT(result.err, StartsWith("convert: "));
    EXPECT_THAT(result.err, HasSubstr(message));
    const std::vector<std::string> lines = absl::StrSplit(result.err, '\n');
    EXPECT_THAT(lines, SizeIs(2));
    EXPECT_EQ(result.out, "");
    EXPECT_FALSE(fs::exists(out_ + "/config.json"));

    arguments.insert(arguments.begin(), "--json");
    const CommandResult json = Run(arguments);
    EXPECT_EQ(json.err, result.err);
    ASSERT_OK_AND_ASSIGN(const Json object, ParseJson(json.out));
    EXPECT_EQ(object["exit_code"], code);
    EXPECT_EQ(
        "convert: " + object["error"]["message"].get<std::string>() + "\n",
        result.err);
    EXPECT_FALSE(object["error"]["code"].get<std::string>().empty());
  }

  const std::string folder_ = MakeTestFolder();
  const std::string out_ = folder_ + "/out";
};

TEST_F(CommandLineTest, FlagsAreExact) {
  const std::string in = kExample;
  struct Case {
    std::vector<std::string> arguments;
    const char* message;
  };
  const std::vector<Case> cases = {
      {{"--to=native", "--dry", in, out_}, "unknown flag --dry"},
      {{"--to=native", "--over", in, out_}, "unknown flag --over"},
      {{"--to=native", "--to=hf", in, out_}, "--to: found 2 times"},
      {{"--to=native", "--nofsync", "--nofsync", in, out_},
       "--nofsync: found 2 times"},
      {{"--to=native", "-x", in, out_}, "unknown flag -x"},
      {{"--to=native", "--bogus=1", in, out_}, "unknown flag --bogus"},
      {{"--to=native", "--threads=x", in, out_}, "--threads: found \"x\""},
      {{"--to=native", "--threads=-1", in, out_}, "--threads: found \"-1\""},
      {{"--to=native", in, out_, "--threads"}, "--threads"},
      {{"--to=native", "--exclude_key_regex=", in, out_},
       "--exclude_key_regex"},
      {{"--to=native", "--adapter=", in, out_}, "--adapter"},
      {{"--to=native", "--max_shard_size=0", in, out_}, "--max_shard_size"},
      {{"--to=native", "--dry_run=maybe", in, out_}, "--dry_run"},
      {{"--to=native", "--in_place", "--overwrite", in}, "mean nothing"},
      {{"--to=native", "--in_place", "--resume", in}, "mean nothing"},
      {{"--to=native", "--in_place", "--max_shard_size=1GB", in},
       "mean nothing"},
      {{"--to=native", in, "mem://out"}, "mem://out: memory ends"},
      {{"--to=native", "mem://in", out_}, "mem://in: memory ends"},
      {{"--to=native", in, ""}, "OUTPUT"},
      {{"--to=native", in, out_, "more"}, "found 3 arguments"},
      {{"--to"}, "--to"},
      {{"--to=native", "--", "--json", out_, in}, "found 3 arguments"},
  };
  for (const Case& test : cases) {
    SCOPED_TRACE(test.message);
    ExpectFailure(test.arguments, 2, test.message);
  }
}

TEST_F(CommandLineTest, AFlagWithoutAValueTakesNoArgument) {
  EXPECT_EQ(Run({"--to=native", "--v4_compatible", kExample, out_}).exit_code,
            0);
  EXPECT_EQ(Run({"--to", "native", kExample, "--overwrite=true", out_,
                 "--threads", "1"})
                .exit_code,
            0);
}

TEST_F(CommandLineTest, HelpAndVersionExist) {
  for (const char* flag : {"--help", "-h"}) {
    const CommandResult help = Run({flag});
    EXPECT_EQ(help.exit_code, 0);
    EXPECT_THAT(help.out, HasSubstr("--to=native|hf"));
  }
  for (const char* tool : {"convert", "verify", "adapters"}) {
    const CommandResult version =
        RunCommand({absl::StrCat("tools/", tool), "--version"});
    EXPECT_EQ(version.exit_code, 0);
    EXPECT_EQ(version.out, "windlass 0.1.0\n");
  }
}

TEST_F(CommandLineTest, FailuresAreOneLineAndOneObject) {
  ExpectFailure({"--to=native", folder_ + "/nowhere", out_}, 1, "nowhere");
  ExpectFailure({"--to=native", "--adapter=none", kExample, out_}, 2, "none");
  const std::string odd = folder_ + "/a\nb\x1b[31mc";
  ExpectFailure({"--to=native", odd, out_}, 1, "/a\\nb\\x1b[31mc");
  ExpectFailure({"--to=native", folder_ + "/\xff\xe2\x80\xae", out_}, 1,
                "/\\xff\\u{202e}");
  ExpectFailure({"--to=native", folder_ + "/" + std::string(100000, 'x'), out_},
                1, "bytes]");
}

TEST_F(CommandLineTest, NamesOfTensorsCannotSpeakForUs) {
  const std::string in = folder_ + "/in";
  fs::create_directories(in);
  WriteTestFile(in + "/config.json",
                R"({"architectures": ["Qwen3_5ForCausalLM"]})");
  const std::string name("x\0y\x1b[2J_extra_state", 19);
  WriteTestFile(
      in + "/model.safetensors",
      SerializeSafetensorsHeader(
          {}, std::vector<SafetensorsEntry>{{name, DType::kU8, {1}, 0, 1},
                                            {"z", DType::kU8, {1}, 1, 2}}) +
          "ab");
  const CommandResult plan = Run({"--to=hf", "--dry_run", in, out_});
  ASSERT_EQ(plan.exit_code, 0) << plan.err;
  EXPECT_THAT(plan.out, HasSubstr("dropped  x\\x00y\\x1b[2J_extra_state\n"));
  const CommandResult json = Run({"--to=hf", "--dry_run", "--json", in, out_});
  ASSERT_OK_AND_ASSIGN(const Json object, ParseJson(json.out));
  EXPECT_EQ(object["dropped_names"][0], name);
  EXPECT_EQ(object["dropped"], 1);
}

TEST_F(CommandLineTest, AnOutputThatCannotBePrintedIsAFailure) {
  for (const char* flags : {"--to=native", "--to=native --json", "--help"}) {
    fs::remove_all(out_);
    const CommandResult result = Shell(absl::StrCat(
        "exec tools/convert ", flags, " ", kExample, " ", out_, " >/dev/full"));
    EXPECT_EQ(result.exit_code, 1) << flags;
    EXPECT_THAT(result.err, HasSubstr("stdout could not take"));
  }
}

TEST_F(CommandLineTest, ClosedDescriptorsDoNotEndInAShard) {
  ASSERT_EQ(Run({"--to=native", kExample, folder_ + "/expected"}).exit_code, 0);
  EXPECT_EQ(
      Shell(absl::StrCat("exec tools/convert --to=native ", "--progress=plain ",
                         kExample, " ", out_, " 0<&- 1>&- 2>&-"))
          .exit_code,
      0);
  EXPECT_EQ(ReadTestFolder(out_), ReadTestFolder(folder_ + "/expected"));
}

TEST_F(CommandLineTest, LimitsAreErrorsNotTheEnd) {
  std::vector<const char*> limits = {"ulimit -f 100"};
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  // Sanitizers need terabytes of addresses themselves.
  limits.insert(limits.end(), {"ulimit -v 20480", "ulimit -v 81920"});
#endif
  for (const char* limit : limits) {
    fs::remove_all(out_);
    const CommandResult result = Shell(absl::StrCat(
        limit, "; exec tools/convert --to=native ", kExample, " ", out_));
    EXPECT_LT(result.exit_code, 128) << limit << result.err;
    if (result.exit_code == 0) continue;
    EXPECT_FALSE(fs::exists(out_ + "/config.json"));
  }
}

TEST_F(CommandLineTest, AlreadyConvertedIsSaidInJsonToo) {
  fs::create_directories(out_);
  WriteTestFile(out_ + "/config.json",
                R"({"architectures": ["Qwen3_5ForCausalLM"]})");
  WriteTestFile(out_ + "/model.safetensors",
                SerializeSafetensorsHeader(
                    {},
                    std::vector<SafetensorsEntry>{
                        {"m.linear_attn.A_log", DType::kF32, {1}, 0, 4}}) +
                    "abcd");
  for (const bool already : {false, true}) {
    const CommandResult result =
        Run({"--to=native", "--in_place", "--json", out_});
    ASSERT_EQ(result.exit_code, 0) << result.err;
    ASSERT_OK_AND_ASSIGN(const Json object, ParseJson(result.out));
    EXPECT_EQ(object["already_converted"], already);
  }
  EXPECT_THAT(ReadTestFile(out_ + "/model.safetensors"),
              HasSubstr("m.linear_attn._fp32_params.A_log"));
}

}  // namespace
}  // namespace windlass
