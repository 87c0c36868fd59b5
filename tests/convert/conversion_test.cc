#include "windlass/convert/conversion.h"

#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/io/checkpoint.h"
#include "windlass/io/storage/storage.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/testing/tensors.h"
#include "windlass/tests/testing/files.h"

namespace windlass {
namespace {

using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Optional;

class ConversionTest : public ::testing::Test {
 protected:
  ConversionTest() {
    request_.input = "examples/qwen3_5_tiny";
    request_.output = folder_ + "/out";
  }
  ~ConversionTest() override { std::filesystem::remove_all(folder_); }

  // A checkpoint that can be renamed in place.
  void WriteGates(const std::string& folder) {
    std::mt19937 random(1);
    std::vector<StateDict> shards(1);
    ASSERT_OK(shards[0].Insert("m.linear_attn.A_log",
                               RandomTensor(DType::kF32, {16}, &random)));
    WriteTestCheckpoint(folder, shards,
                        R"({"architectures": ["Qwen3_5ForCausalLM"]})");
  }

  const std::string folder_ = MakeTestFolder();
  ConversionRequest request_;
};

TEST_F(ConversionTest, ReportsWhatItDid) {
  ASSERT_OK_AND_ASSIGN(const ConversionReport report, Convert(request_));
  EXPECT_EQ(report.adapter, "qwen3_5");
  EXPECT_EQ(report.summary.tensors_out, 92);
  EXPECT_EQ(report.summary.renamed, 7);
  ASSERT_EQ(report.summary.casts.size(), 1u);
  EXPECT_EQ(report.summary.casts[0].from, DType::kBF16);
  EXPECT_EQ(report.summary.casts[0].to, DType::kF32);
  EXPECT_EQ(report.summary.casts[0].count, 3);
  EXPECT_THAT(
      report.files,
      ElementsAre(
          Field(&ReportedFile::name, "model-00001-of-00002.safetensors"),
          Field(&ReportedFile::name, "model-00002-of-00002.safetensors"),
          Field(&ReportedFile::name, "config.json"),
          Field(&ReportedFile::name, "generation_config.json"),
          Field(&ReportedFile::name, "model.safetensors.index.json")));
  ASSERT_OK_AND_ASSIGN(const Checkpoint out, OpenCheckpoint(request_.output));
  EXPECT_EQ(out.tensors.size(), 92u);
}

TEST_F(ConversionTest, TheSameLayoutTakesNoAdapterAndNoConfig) {
  std::mt19937 random(1);
  std::vector<StateDict> shards(1);
  ASSERT_OK(shards[0].Insert("_orig_mod.net.x_extra_state",
                             RandomTensor(DType::kF32, {16}, &random)));
  ASSERT_OK(shards[0].Insert("_orig_mod.net.layers.0.mlp.experts.0.w",
                             RandomTensor(DType::kF8E4M3, {16}, &random)));
  WriteTestCheckpoint(folder_ + "/in", shards, "");
  request_.input = folder_ + "/in";
  request_.to = Layout::kSame;
  request_.check = true;
  ASSERT_OK_AND_ASSIGN(const ConversionReport report, Convert(request_));
  EXPECT_EQ(report.adapter, "");
  EXPECT_EQ(report.input_format, "safetensors");
  EXPECT_EQ(report.output_format, "safetensors");
  EXPECT_THAT(report.losses, Optional(IsEmpty()));
  ASSERT_OK_AND_ASSIGN(const Checkpoint out, OpenCheckpoint(request_.output));
  EXPECT_EQ(Difference(out.tensors, shards[0]), "");
  // A prefix that is asked to go does.
  request_.wrapper_names.prefixes = {"net"};
  request_.output = folder_ + "/stripped";
  ASSERT_OK(Convert(request_));
  ASSERT_OK_AND_ASSIGN(const Checkpoint stripped,
                       OpenCheckpoint(request_.output));
  EXPECT_THAT(Names(stripped.tensors),
              ElementsAre("x_extra_state", "layers.0.mlp.experts.0.w"));
}

TEST_F(ConversionTest, TheSameLayoutRefusesWhatAnAdapterWouldDo) {
  request_.to = Layout::kSame;
  const auto refused = [this](const ConversionRequest& request) {
    const absl::Status status = Convert(request).status();
    return IsBadRequest(status) && !std::filesystem::exists(request_.output);
  };
  ConversionRequest request = request_;
  request.adapter = "qwen3_5";
  EXPECT_TRUE(refused(request));
  request = request_;
  request.adapter_options = R"({"a": 1})";
  EXPECT_TRUE(refused(request));
  request = request_;
  request.config = "examples/qwen3_5_tiny/config.json";
  EXPECT_TRUE(refused(request));
  request = request_;
  request.exclude_key_regex = "x";
  EXPECT_TRUE(refused(request));
  request = request_;
  request.v4_compatible = true;
  EXPECT_TRUE(refused(request));
  request = request_;
  request.device_mesh.ep_size = 2;
  EXPECT_TRUE(refused(request));
  request = request_;
  request.output = "";
  EXPECT_TRUE(IsBadRequest(Convert(request).status()));
}

TEST_F(ConversionTest, WorksInMemory) {
  request_.output = "mem://converted";
  ASSERT_OK(Convert(request_));
  EXPECT_OK(OpenCheckpoint("mem://converted"));
}

TEST_F(ConversionTest, ADryRunWritesAndHoldsNothing) {
  ASSERT_OK_AND_ASSIGN(const Conversion conversion,
                       Conversion::Plan(request_, {}, /*dry_run=*/true));
  EXPECT_GT(conversion.report().bytes, 500'000);
  EXPECT_FALSE(std::filesystem::exists(request_.output));
  WriteGates(folder_ + "/gates");
  const auto before = ReadTestFolder(folder_ + "/gates");
  request_.input = folder_ + "/gates";
  request_.output = "";
  ASSERT_OK(Conversion::Plan(request_, {}, /*dry_run=*/true));
  EXPECT_EQ(ReadTestFolder(folder_ + "/gates"), before);
}

TEST_F(ConversionTest, TellsBadRequestsFromABadWorld) {
  request_.adapter = "qwen";
  EXPECT_TRUE(IsBadRequest(Convert(request_).status()));
  request_.adapter = "auto";
  request_.adapter_options = R"({"none": 1})";
  EXPECT_TRUE(IsBadRequest(Convert(request_).status()));
  request_.adapter_options = "{";
  EXPECT_TRUE(IsBadRequest(Convert(request_).status()));
  request_.adapter_options = "{}";
  request_.exclude_key_regex = "(";
  EXPECT_TRUE(IsBadRequest(Convert(request_).status()));
  request_.exclude_key_regex = "x";
  request_.device_mesh.ep_size = 2;
  EXPECT_TRUE(IsBadRequest(Convert(request_).status()));
  request_.device_mesh.ep_size = 1;
  request_.open.format = "none";
  EXPECT_TRUE(IsBadRequest(Convert(request_).status()));
  request_.open.format = "auto";
  request_.save.format = "none";
  EXPECT_TRUE(IsBadRequest(Convert(request_).status()));
  request_.save.format = "safetensors";
  request_.input = folder_ + "/nowhere";
  const auto missing = Convert(request_);
  EXPECT_THAT(missing,
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("nowhere")));
  EXPECT_FALSE(IsBadRequest(missing.status()));
}

TEST_F(ConversionTest, HoldsItsFoldersFromPlanToEnd) {
  const std::string gates = folder_ + "/gates";
  WriteGates(gates);
  const auto busy =
      StatusIs(absl::StatusCode::kUnavailable, HasSubstr("in use by"));
  ConversionRequest in_place = request_;
  in_place.input = gates;
  in_place.output = "";
  request_.input = gates;
  {
    ASSERT_OK_AND_ASSIGN(Conversion reading,
                         Conversion::Plan(request_, {}, /*dry_run=*/false));
    EXPECT_THAT(Convert(in_place), busy);
    // Another reader is welcome.
    ConversionRequest other = request_;
    other.output = folder_ + "/other";
    EXPECT_OK(Convert(other));
    reading.Unlock();
    EXPECT_OK(Conversion::Plan(in_place, {}, /*dry_run=*/false));
  }
  {
    ASSERT_OK_AND_ASSIGN(Conversion writing,
                         Conversion::Plan(in_place, {}, /*dry_run=*/false));
    EXPECT_THAT(Convert(request_), busy);
    EXPECT_THAT(Convert(in_place), busy);
    ASSERT_OK(writing.Run({}));
  }
  ASSERT_OK_AND_ASSIGN(const ConversionReport again, Convert(in_place));
  EXPECT_TRUE(again.already_converted);
}

TEST_F(ConversionTest, SaysWhatTheWayBackWouldNotGive) {
  ASSERT_OK_AND_ASSIGN(const ConversionReport report, Convert(request_));
  ASSERT_TRUE(report.losses.has_value());
  ASSERT_EQ(report.losses->size(), 1u);
  EXPECT_EQ(report.losses->front().reason, "cast");
  EXPECT_EQ(report.losses->front().count, 3);
  // What is F32 already comes back as it was.
  WriteGates(folder_ + "/gates");
  request_.input = folder_ + "/gates";
  request_.output = folder_ + "/native";
  request_.check = true;
  ASSERT_OK_AND_ASSIGN(const ConversionReport exact, Convert(request_));
  EXPECT_THAT(exact.losses, Optional(IsEmpty()));
}

TEST_F(ConversionTest, ACheckRefusesWhatTheWayBackWouldNotGive) {
  request_.check = true;
  for (const bool dry_run : {true, false}) {
    const auto plan = Conversion::Plan(request_, {}, dry_run);
    EXPECT_THAT(plan.status(),
                StatusIs(absl::StatusCode::kFailedPrecondition,
                         HasSubstr("not reversible: 3 tensors cast (\"")));
    EXPECT_FALSE(IsBadRequest(plan.status()));
  }
  EXPECT_FALSE(std::filesystem::exists(request_.output));
}

TEST_F(ConversionTest, StripsWrappersAndCountsThem) {
  const std::string folder = folder_ + "/wrapped";
  std::mt19937 random(1);
  std::vector<StateDict> shards(1);
  for (const char* name : {"_orig_mod.model.a", "model.b"}) {
    ASSERT_OK(shards[0].Insert(name, RandomTensor(DType::kF32, {16}, &random)));
  }
  WriteTestCheckpoint(folder, shards,
                      R"({"architectures": ["Qwen3_5ForCausalLM"]})");
  request_.input = folder;
  ASSERT_OK_AND_ASSIGN(const ConversionReport report, Convert(request_));
  EXPECT_EQ(report.unwrapped, 1);
  ASSERT_OK_AND_ASSIGN(const Checkpoint out, OpenCheckpoint(request_.output));
  EXPECT_THAT(Names(out.tensors), ElementsAre("model.a", "model.b"));
  request_.wrapper_names.keep = true;
  request_.output = folder_ + "/kept";
  ASSERT_OK_AND_ASSIGN(const ConversionReport kept, Convert(request_));
  EXPECT_EQ(kept.unwrapped, 0);
}

TEST_F(ConversionTest, SaysThatTheNamesInAnErrorAreStripped) {
  const std::string folder = folder_ + "/wrapped";
  std::mt19937 random(1);
  std::vector<StateDict> shards(1);
  ASSERT_OK(shards[0].Insert(
      "_orig_mod.model.layers.0.mlp.experts.0.gate_proj.weight",
      RandomTensor(DType::kBF16, {2, 4}, &random)));
  WriteTestCheckpoint(folder, shards,
                      R"({"architectures": ["Qwen3MoeForCausalLM"],
                      "num_experts": 1, "moe_intermediate_size": 2})");
  request_.input = folder;
  EXPECT_THAT(Convert(request_),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("stripped of wrappers"),
                             HasSubstr("experts.0.up_proj"))));
}

// A DeepSeek-V3 of one dense layer, in FP8, whose config announces it.
TEST_F(ConversionTest, AnnouncesNoQuantisationThatIsGone) {
  const std::string folder = folder_ + "/fp8";
  std::mt19937 random(1);
  std::vector<StateDict> shards(1);
  ASSERT_OK(shards[0].Insert("model.layers.0.mlp.up_proj.weight",
                             RandomTensor(DType::kF8E4M3, {4, 4}, &random)));
  ASSERT_OK(shards[0].Insert("model.layers.0.mlp.up_proj.weight_scale_inv",
                             RandomTensor(DType::kF32, {1, 1}, &random)));
  WriteTestCheckpoint(folder, shards,
                      R"({"architectures": ["DeepseekV3ForCausalLM"],
 "n_routed_experts": 2, "moe_intermediate_size": 4, "dtype": "bfloat16",
 "quantization_config": {"quant_method": "fp8"}})");
  request_.input = folder;
  ASSERT_OK_AND_ASSIGN(const ConversionReport report, Convert(request_));
  EXPECT_THAT(report.edited,
              ElementsAre(HasSubstr("config.json: without quantization")));
  EXPECT_EQ(ReadTestFolder(request_.output)["config.json"],
            R"({"architectures": ["DeepseekV3ForCausalLM"],
 "n_routed_experts": 2, "moe_intermediate_size": 4, "dtype": "bfloat16"})");
  // So it is where a rank's share has no way back.
  for (const char* expert : {"0", "1"}) {
    for (const char* projection : {"gate_proj", "up_proj", "down_proj"}) {
      ASSERT_OK(
          shards[0].Insert(absl::StrCat("model.layers.0.mlp.experts.", expert,
                                        ".", projection, ".weight"),
                           RandomTensor(DType::kBF16, {4, 4}, &random)));
    }
  }
  WriteTestCheckpoint(folder_ + "/share", shards,
                      R"({"architectures": ["DeepseekV3ForCausalLM"],
 "n_routed_experts": 2, "moe_intermediate_size": 4, "dtype": "bfloat16",
 "quantization_config": {"quant_method": "fp8"}})");
  ConversionRequest share = request_;
  share.input = folder_ + "/share";
  share.output = folder_ + "/share_out";
  share.adapter_options = R"({"expert_layout": "fused"})";
  share.device_mesh.ep_size = 2;
  ASSERT_OK_AND_ASSIGN(const ConversionReport rank, Convert(share));
  EXPECT_EQ(rank.edited.size(), 1u);
  ASSERT_TRUE(rank.losses.has_value());
  EXPECT_THAT(DescribeLosses(*rank.losses),
              HasSubstr("not reversible: on the way back: "));
  shards[0] = StateDict();
  ASSERT_OK(shards[0].Insert("model.layers.0.mlp.up_proj.weight",
                             RandomTensor(DType::kF8E4M3, {4, 4}, &random)));
  // A dense model's FP8 stays, and is still announced.
  WriteTestCheckpoint(folder_ + "/dense", shards,
                      R"({"architectures": ["LlamaForCausalLM"],
 "quantization_config": {"quant_method": "fp8"}})");
  request_.input = folder_ + "/dense";
  request_.output = folder_ + "/dense_out";
  ASSERT_OK_AND_ASSIGN(const ConversionReport dense, Convert(request_));
  EXPECT_THAT(dense.edited, IsEmpty());
  EXPECT_THAT(ReadTestFolder(request_.output)["config.json"],
              HasSubstr("quant_method"));
}

TEST_F(ConversionTest, ADenseAdapterTakesNoMixture) {
  const std::string folder = folder_ + "/mixture";
  std::mt19937 random(1);
  std::vector<StateDict> shards(1);
  ASSERT_OK(shards[0].Insert("model.layers.0.mlp.experts.0.up_proj.weight",
                             RandomTensor(DType::kBF16, {4, 4}, &random)));
  WriteTestCheckpoint(
      folder, shards,
      R"({"architectures": ["Qwen3MoeForCausalLM"], "num_experts": 1})");
  request_.input = folder;
  request_.adapter = "qwen3_5";
  EXPECT_THAT(
      Convert(request_),
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr("experts.0.up_proj.weight\": found an expert")));
  // Who asks for all as it is gets it.
  request_.adapter = "identity";
  EXPECT_OK(Convert(request_));
}

TEST_F(ConversionTest, RefusesWhatWouldBeNoModel) {
  std::mt19937 random(1);
  const std::string folder = folder_ + "/odd";
  std::vector<StateDict> gptq(1);
  ASSERT_OK(gptq[0].Insert("model.layers.0.self_attn.q_proj.qweight",
                           RandomTensor(DType::kI32, {4, 4}, &random)));
  WriteTestCheckpoint(folder, gptq,
                      R"({"architectures": ["Qwen3_5ForCausalLM"]})");
  request_.input = folder;
  EXPECT_THAT(Convert(request_),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("q_proj.qweight\": found a quantised")));
  // A file that is HF's already has nothing that the encoder's wrapper has.
  std::vector<StateDict> head(1);
  ASSERT_OK(head[0].Insert("score.weight",
                           RandomTensor(DType::kBF16, {4, 4}, &random)));
  WriteTestCheckpoint(folder + "2", head,
                      R"({"architectures": ["LlamaBidirectionalModel"]})");
  request_.input = folder + "2";
  request_.to = Layout::kHf;
  EXPECT_THAT(Convert(request_),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("nothing is left of 1 tensors")));
}

TEST_F(ConversionTest, WhatIsExcludedOnTheWayToHfIsNotMissingBefore) {
  WriteGates(folder_ + "/gates");
  request_.input = folder_ + "/gates";
  request_.exclude_key_regex = "m\\..*";
  ASSERT_OK_AND_ASSIGN(const ConversionReport report, Convert(request_));
  EXPECT_THAT(report.losses, Optional(IsEmpty()));
}

TEST_F(ConversionTest, ItsLocksGoWithIt) {
  const std::string gates = folder_ + "/gates";
  WriteGates(gates);
  request_.input = gates;
  ASSERT_OK(Convert(request_));
  for (const std::string& folder : {gates, request_.output}) {
    for (const auto& [name, bytes] : ReadTestFolder(folder)) {
      EXPECT_NE(name[0], '.') << name;
    }
  }
}

}  // namespace
}  // namespace windlass
