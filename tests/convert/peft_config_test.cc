#include "windlass/convert/peft_config.h"

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/convert/conversion.h"
#include "windlass/core/json.h"
#include "windlass/core/tensor_ops.h"
#include "windlass/io/checkpoint.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/testing/tensors.h"
#include "windlass/tests/testing/files.h"

namespace windlass {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kLayer[] = "base_model.model.model.layers.0.";

using Entries = std::vector<std::pair<std::string, Shape>>;

StateDict Tensors(const Entries& entries) {
  StateDict dict;
  for (const auto& [name, shape] : entries) {
    EXPECT_OK(dict.Insert(absl::StrCat(kLayer, name),
                          Fill(DType::kF32, shape, 0).value()));
  }
  return dict;
}

// Two experts of H = 8, I = 6, r = 2, and a module beside them.
const Entries kModule = {{"self_attn.q_proj.lora_A.weight", {2, 8}},
                         {"self_attn.q_proj.lora_B.weight", {8, 2}}};

StateDict Native() {
  Entries entries = kModule;
  const std::string experts = "mlp.experts.lora_";
  entries.push_back({experts + "gate_and_up_A", {2, 8, 2}});
  entries.push_back({experts + "gate_and_up_B", {2, 2, 12}});
  entries.push_back({experts + "down_A", {2, 6, 2}});
  entries.push_back({experts + "down_B", {2, 2, 8}});
  return Tensors(entries);
}

StateDict PerExpert() {
  Entries entries = kModule;
  for (const char* e : {"0", "1"}) {
    for (const char* projection : {"gate_proj", "up_proj", "down_proj"}) {
      const std::string name = absl::StrCat("mlp.experts.", e, ".", projection);
      entries.push_back({name + ".lora_A.weight", {2, 8}});
      entries.push_back({name + ".lora_B.weight", {6, 2}});
    }
  }
  return Tensors(entries);
}

// As PEFT 0.19 has them, or 0.18, which takes in for out.
StateDict Wrapped(bool turned, int64_t inner = 12,
                  const std::string& experts = "mlp.experts") {
  Entries entries = kModule;
  const int64_t a = turned ? 8 : inner;
  const int64_t b = turned ? inner : 8;
  entries.push_back({experts + ".base_layer.lora_A.weight", {4, a}});
  entries.push_back({experts + ".base_layer.lora_B.weight", {b, 4}});
  entries.push_back({experts + ".lora_A.weight", {4, turned ? 6 : 8}});
  entries.push_back({experts + ".lora_B.weight", {turned ? 8 : 6, 4}});
  return Tensors(entries);
}

std::string Edit(const std::string& text, const StateDict& in,
                 const StateDict& out) {
  const absl::StatusOr<std::string> edited = FollowLora(text, in, out);
  return edited.ok() ? *edited : std::string(edited.status().message());
}

constexpr char kWrappedConfig[] = R"({
  "peft_type": "LORA",
  "r": 2,
  "target_modules": [
    "q_proj"
  ],
  "target_parameters": [
    "mlp.experts.gate_up_proj",
    "mlp.experts.down_proj"
  ]
})";

constexpr char kPerExpertConfig[] = R"({
  "peft_type": "LORA",
  "r": 2,
  "target_modules": [
    "model.layers.0.mlp.experts.0.down_proj",
    "model.layers.0.mlp.experts.0.gate_proj",
    "model.layers.0.mlp.experts.0.up_proj",
    "model.layers.0.mlp.experts.1.down_proj",
    "model.layers.0.mlp.experts.1.gate_proj",
    "model.layers.0.mlp.experts.1.up_proj",
    "q_proj"
  ]
})";

constexpr char kNativeConfig[] = R"({
  "peft_type": "LORA",
  "r": 2,
  "target_modules": [
    "model.layers.0.mlp.experts",
    "q_proj"
  ]
})";

TEST(PeftConfigTest, TargetsFollowTheForm) {
  const struct {
    const char* config;
    StateDict tensors;
  } kForms[] = {{kWrappedConfig, Wrapped(true)},
                {kWrappedConfig, Wrapped(false)},
                {kPerExpertConfig, PerExpert()},
                {kNativeConfig, Native()}};
  for (const auto& in : kForms) {
    for (const auto& out : kForms) {
      EXPECT_EQ(Edit(in.config, in.tensors, out.tensors), out.config);
    }
  }
}

TEST(PeftConfigTest, WhatStaysIsNotTouched) {
  // Two spaces more, and a target that nothing has.
  const std::string text = R"({"target_modules":  ["q_proj", "k_proj"]})";
  EXPECT_EQ(Edit(text, Tensors(kModule), Tensors(kModule)), text);
  for (const char* pattern : {"all-linear", ".*\\\\.self_attn\\\\..*"}) {
    const std::string one =
        absl::StrCat(R"({"target_modules": ")", pattern, "\"}");
    EXPECT_EQ(Edit(one, Tensors(kModule), Tensors(kModule)), one);
  }
  const std::string other = R"({"peft_type": "IA3", "target_modules": 3})";
  EXPECT_EQ(Edit(other, Native(), PerExpert()), other);
}

TEST(PeftConfigTest, OneEntryMayMeanModulesThatStayAndOthersThatGo) {
  Entries shared = {{"mlp.shared_expert.up_proj.lora_A.weight", {2, 8}}};
  StateDict in = Tensors(shared);
  StateDict out = Tensors(shared);
  for (const auto& [name, tensor] : PerExpert()) {
    ASSERT_OK(in.Insert(name, tensor));
  }
  for (const auto& [name, tensor] : Wrapped(true)) {
    ASSERT_OK(out.Insert(name, tensor));
  }
  ASSERT_OK_AND_ASSIGN(
      const Json edited,
      ParseJson(Edit(R"({"target_modules": ["down_proj", "gate_proj", "q_proj",
                                            "up_proj"]})",
                     in, out)));
  EXPECT_EQ(edited["target_modules"], Json({"q_proj", "up_proj"}));
  EXPECT_EQ(edited["target_parameters"],
            Json({"mlp.experts.gate_up_proj", "mlp.experts.down_proj"}));
}

TEST(PeftConfigTest, ExpertsWithoutAGateAreToldByTheirWidth) {
  for (const bool turned : {true, false}) {
    ASSERT_OK_AND_ASSIGN(
        const Json edited,
        ParseJson(Edit(R"({"target_modules": ["q_proj"]})", Native(),
                       Wrapped(turned, 6, "mixer.experts"))));
    EXPECT_EQ(edited["target_parameters"],
              Json({"mixer.experts.up_proj", "mixer.experts.down_proj"}));
  }
}

TEST(PeftConfigTest, APatternThatDoesNotMeanAllBecomesAList) {
  const std::string text = R"({"target_modules": ".*q_proj"})";
  ASSERT_OK_AND_ASSIGN(const Json edited,
                       ParseJson(Edit(text, Wrapped(true), Native())));
  EXPECT_EQ(
      edited["target_modules"],
      Json({"model.layers.0.mlp.experts", "model.layers.0.self_attn.q_proj"}));
}

TEST(PeftConfigTest, RefusesWhatItCannotSay) {
  const struct {
    const char* text;
    const char* message;
  } kCases[] = {
      {"[]", "found no object"},
      {R"({"target_modules": 3})", "field \"target_modules\": found 3"},
      {R"({"target_modules": [3]})", "field \"target_modules\": found 3"},
      {R"j({"target_modules": "(?=q)"})j", "found the pattern (?=q)"},
      {R"({"rank_pattern": {"gate_proj": 4}})",
       "field \"rank_pattern\": found \"gate_proj\" for modules that have "
       "other names"},
      {R"({"alpha_pattern": {"experts\\..*": 4}})", "field \"alpha_pattern\""},
      {R"({"alpha_pattern": []})", "field \"alpha_pattern\": found []"},
      {R"({"lora_alpha": NaN})", "a number that JSON does not have"},
  };
  for (const auto& row : kCases) {
    EXPECT_THAT(Edit(row.text, PerExpert(), Wrapped(true)),
                HasSubstr(row.message))
        << row.text;
  }
}

TEST(PeftConfigTest, TheRankIsThatOfTheTensors) {
  for (const auto& tensors : {Native(), PerExpert(), Wrapped(true)}) {
    EXPECT_OK(CheckPeftRank(R"({"r": 2})", tensors));
    EXPECT_OK(CheckPeftRank(R"({})", tensors));
    EXPECT_THAT(
        CheckPeftRank(R"({"r": 4})", tensors),
        StatusIs(absl::StatusCode::kInvalidArgument,
                 AllOf(HasSubstr("field \"r\": found 4, expected 2"),
                       HasSubstr("q_proj.lora_A.weight\" (F32 [2, 8])"))));
  }
  StateDict experts;
  const StateDict native = Native();
  for (const auto& [name, tensor] : native) {
    if (tensor.rank() != 3) continue;
    ASSERT_OK(experts.Insert(name, tensor));
  }
  EXPECT_OK(CheckPeftRank(R"({"r": 2})", experts));
  EXPECT_THAT(CheckPeftRank(R"({"r": 4})", experts),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("lora_gate_and_up_A")));
  EXPECT_OK(CheckPeftRank(R"({"r": 4, "rank_pattern": {"q_proj": 2}})",
                          Tensors(kModule)));
  EXPECT_THAT(CheckPeftRank(R"({"r": 2, "rank_pattern": {"q_proj": 3}})",
                            Tensors(kModule)),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("field \"rank_pattern\": found 3")));
  EXPECT_THAT(CheckPeftRank(R"({"r": "2"})", Tensors(kModule)),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("a whole number")));
}

// adapter_model.safetensors as PEFT leaves it, and the base model's folder.
class PeftTest : public ::testing::Test {
 protected:
  static constexpr char kCase[] =
      "tests/golden/data/qwen3_moe/lora_per_expert/";

  PeftTest() {
    const Json json =
        ParseJson(ReadTestFile(absl::StrCat(kCase, "case.json"))).value();
    std::filesystem::create_directories(folder_ + "/base");
    std::filesystem::create_directories(folder_ + "/peft");
    WriteTestFile(folder_ + "/base/config.json", json["config"].dump());
    WriteTestFile(folder_ + "/peft/adapter_model.safetensors",
                  ReadTestFile(absl::StrCat(kCase, "hf_out.safetensors")));
    WriteConfig(2, folder_ + "/base");
    request_.input = folder_ + "/peft";
    request_.output = folder_ + "/native";
  }
  ~PeftTest() override { std::filesystem::remove_all(folder_); }

  void WriteConfig(int rank, const std::string& base) {
    Json config = {
        {"peft_type", "LORA"},
        {"r", rank},
        {"base_model_name_or_path", base},
        {"target_modules", {"q_proj", "gate_proj", "up_proj", "down_proj"}}};
    WriteTestFile(folder_ + "/peft/adapter_config.json", config.dump(2));
  }
  Json ReadConfig(const std::string& folder) const {
    return ParseJson(ReadTestFile(folder + "/adapter_config.json")).value();
  }

  const std::string folder_ = MakeTestFolder();
  ConversionRequest request_;
};

TEST_F(PeftTest, EachFormBecomesTheOthers) {
  ASSERT_OK_AND_ASSIGN(ConversionReport report, Convert(request_));
  EXPECT_EQ(report.adapter, "qwen3_moe");
  EXPECT_THAT(report.edited, ElementsAre(HasSubstr("adapter_config.json: ")));
  const Json native = ReadConfig(folder_ + "/native");
  EXPECT_FALSE(native.contains("target_parameters"));
  EXPECT_THAT(native["target_modules"].dump(),
              AllOf(HasSubstr("\"model.layers.0.mlp.experts\""),
                    HasSubstr("\"q_proj\"")));
  request_.input = folder_ + "/native";
  request_.to = Layout::kHf;
  request_.output = folder_ + "/wrapped";
  ASSERT_OK(Convert(request_));
  EXPECT_EQ(ReadConfig(request_.output)["target_parameters"],
            Json({"mlp.experts.gate_up_proj", "mlp.experts.down_proj"}));
  EXPECT_EQ(ReadConfig(request_.output)["target_modules"], Json({"q_proj"}));
  request_.v4_compatible = true;
  request_.output = folder_ + "/v4";
  ASSERT_OK(Convert(request_));
  EXPECT_FALSE(ReadConfig(request_.output).contains("target_parameters"));
  EXPECT_THAT(ReadConfig(request_.output)["target_modules"].dump(),
              HasSubstr("\"model.layers.0.mlp.experts.3.gate_proj\""));
  ASSERT_OK_AND_ASSIGN(const Checkpoint before,
                       OpenCheckpoint(folder_ + "/peft"));
  ASSERT_OK_AND_ASSIGN(const Checkpoint after, OpenCheckpoint(request_.output));
  EXPECT_EQ(Difference(Sorted(after.tensors), Sorted(before.tensors)), "");
}

TEST_F(PeftTest, OneHfFormBecomesTheOther) {
  request_.to = Layout::kHf;
  request_.adapter_options = R"({"peft_layout": "0.19"})";
  request_.output = folder_ + "/wrapped";
  ASSERT_OK(Convert(request_));
  EXPECT_EQ(ReadConfig(request_.output)["target_modules"], Json({"q_proj"}));
  EXPECT_EQ(ReadConfig(request_.output)["target_parameters"],
            Json({"mlp.experts.gate_up_proj", "mlp.experts.down_proj"}));
  request_.input = request_.output;
  request_.adapter_options = "{}";
  request_.v4_compatible = true;
  request_.output = folder_ + "/v4";
  ASSERT_OK(Convert(request_));
  EXPECT_FALSE(ReadConfig(request_.output).contains("target_parameters"));
  ASSERT_OK_AND_ASSIGN(const Checkpoint before,
                       OpenCheckpoint(folder_ + "/peft"));
  ASSERT_OK_AND_ASSIGN(const Checkpoint after, OpenCheckpoint(request_.output));
  EXPECT_EQ(Difference(Sorted(after.tensors), Sorted(before.tensors)), "");
}

TEST_F(PeftTest, TheFileKeepsTheNameThatPeftLooksFor) {
  request_.to = Layout::kSame;
  request_.save.format = "torch";
  ASSERT_OK(Convert(request_));
  EXPECT_TRUE(std::filesystem::exists(request_.output + "/adapter_model.bin"));
  request_.input = request_.output;
  request_.to = Layout::kNative;
  request_.save.format = "safetensors";
  request_.output = folder_ + "/again";
  ASSERT_OK(Convert(request_));
  EXPECT_TRUE(
      std::filesystem::exists(request_.output + "/adapter_model.safetensors"));
}

TEST_F(PeftTest, ARankThatIsNotTheTensorsIsRefused) {
  WriteConfig(3, folder_ + "/base");
  EXPECT_THAT(
      Convert(request_).status(),
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr("/peft/adapter_config.json: field \"r\": found 3")));
  EXPECT_FALSE(std::filesystem::exists(request_.output));
}

TEST_F(PeftTest, ABaseModelThatIsNoFolderIsNamed) {
  WriteConfig(2, "Qwen/Qwen3-30B-A3B");
  EXPECT_THAT(Convert(request_).status(),
              StatusIs(absl::StatusCode::kNotFound,
                       HasSubstr("adapter_config.json: field "
                                 "\"base_model_name_or_path\": found "
                                 "\"Qwen/Qwen3-30B-A3B\"")));
  request_.config = folder_ + "/base/config.json";
  EXPECT_OK(Convert(request_));
}

}  // namespace
}  // namespace windlass
