// What other checkpoints of a model, and a dtype that is asked for, make of an
// output.

#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/convert/conversion.h"
#include "windlass/core/tensor_ops.h"
#include "windlass/io/checkpoint.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/testing/tensors.h"
#include "windlass/tests/testing/files.h"

namespace windlass {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

class BaseCheckpointTest : public ::testing::Test {
 protected:
  BaseCheckpointTest() {
    request_.input = folder_ + "/in";
    request_.output = folder_ + "/out";
    request_.to = Layout::kSame;
  }
  ~BaseCheckpointTest() override { std::filesystem::remove_all(folder_); }

  Tensor Random(DType dtype, Shape shape = {4, 4}) {
    return RandomTensor(dtype, shape, &random_);
  }

  // Shards of tensors by name and dtype.
  using Shards = std::vector<std::vector<std::pair<const char*, DType>>>;
  void Write(const std::string& name, const Shards& shards,
             absl::string_view config) {
    std::vector<StateDict> dicts(shards.size());
    for (size_t i = 0; i < shards.size(); ++i) {
      for (const auto& [tensor, dtype] : shards[i]) {
        ASSERT_OK(dicts[i].Insert(tensor, Random(dtype)));
      }
    }
    WriteTestCheckpoint(folder_ + "/" + name, dicts, config);
  }

  absl::StatusOr<Checkpoint> Out() { return OpenCheckpoint(request_.output); }

  DType OutDType(const Checkpoint& out, const char* name) {
    const Tensor* const tensor = out.tensors.Find(name);
    EXPECT_NE(tensor, nullptr) << name;
    return tensor == nullptr ? DType::kBool : tensor->dtype();
  }

  std::mt19937 random_{1};
  const std::string folder_ = MakeTestFolder();
  ConversionRequest request_;
};

TEST_F(BaseCheckpointTest, CastsFloatsAndLeavesTheRest) {
  Write("in",
        {{{"a", DType::kF32},
          {"b", DType::kF64},
          {"c", DType::kF16},
          {"ids", DType::kI64},
          {"mask", DType::kBool}}},
        "{\"torch_dtype\": \"float32\",\n \"text_config\": {\"dtype\": "
        "\"float32\"}, \"vocab\": 3}");
  request_.dtype = DType::kBF16;
  ASSERT_OK_AND_ASSIGN(const ConversionReport report, Convert(request_));
  EXPECT_EQ(report.summary.casts.size(), 3u);
  ASSERT_TRUE(report.losses.has_value());
  EXPECT_EQ(DescribeLosses(*report.losses),
            "not reversible: 3 tensors cast (\"a\", \"b\", \"c\")");
  EXPECT_THAT(report.edited, ElementsAre("config.json: dtype bfloat16"));
  ASSERT_OK_AND_ASSIGN(const Checkpoint in, OpenCheckpoint(request_.input));
  StateDict expected;
  for (const auto& [name, tensor] : in.tensors) {
    ASSERT_OK(expected.Insert(name, IsFloat(tensor.dtype())
                                        ? Cast(tensor, DType::kBF16).value()
                                        : tensor));
  }
  ASSERT_OK_AND_ASSIGN(const Checkpoint out, Out());
  EXPECT_EQ(Difference(Sorted(out.tensors), Sorted(expected)), "");
  EXPECT_EQ(ReadTestFile(request_.output + "/config.json"),
            "{\"torch_dtype\": \"bfloat16\",\n \"text_config\": {\"dtype\": "
            "\"bfloat16\"}, \"vocab\": 3}");
}

TEST_F(BaseCheckpointTest, WhatAnAdapterForcesIsNotCast) {
  constexpr char kConfig[] =
      R"({"architectures": ["Qwen3_5ForCausalLM"], "dtype": "float32"})";
  Write("in", {{{"m.linear_attn.A_log", DType::kF32}, {"m.w", DType::kF32}}},
        kConfig);
  request_.dtype = DType::kBF16;
  request_.to = Layout::kNative;
  ASSERT_OK(Convert(request_));
  ASSERT_OK_AND_ASSIGN(const Checkpoint native, Out());
  EXPECT_EQ(OutDType(native, "m.linear_attn._fp32_params.A_log"), DType::kF32);
  EXPECT_EQ(OutDType(native, "m.w"), DType::kBF16);
  request_.input = request_.output;
  request_.output = folder_ + "/hf";
  request_.to = Layout::kHf;
  request_.dtype = DType::kF16;
  ASSERT_OK(Convert(request_));
  ASSERT_OK_AND_ASSIGN(const Checkpoint hf, Out());
  EXPECT_EQ(OutDType(hf, "m.linear_attn.A_log"), DType::kF32);
  EXPECT_EQ(OutDType(hf, "m.w"), DType::kF16);
}

// Merged experts are rounded to config.json's dtype, which would be once too
// often here.
TEST_F(BaseCheckpointTest, AnAdapterRoundsToTheDTypeThatIsAsked) {
  Write("in",
        {{{"model.layers.0.mlp.experts.0.gate_proj.weight", DType::kF32},
          {"model.layers.0.mlp.experts.0.up_proj.weight", DType::kF32},
          {"model.layers.0.mlp.experts.0.down_proj.weight", DType::kF32}}},
        R"({"architectures": ["Qwen3MoeForCausalLM"], "num_experts": 1,
            "moe_intermediate_size": 4, "dtype": "bfloat16"})");
  request_.dtype = DType::kF32;
  request_.to = Layout::kNative;
  ASSERT_OK_AND_ASSIGN(const ConversionReport report, Convert(request_));
  EXPECT_THAT(report.summary.casts, IsEmpty());
  EXPECT_THAT(report.edited, ElementsAre("config.json: dtype float32"));
}

TEST_F(BaseCheckpointTest, RefusesToCastWhereFloatsMayBeScales) {
  request_.dtype = DType::kBF16;
  const auto refuses = [this](const std::string& what) {
    EXPECT_THAT(Convert(request_),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(what)));
    EXPECT_FALSE(std::filesystem::exists(request_.output));
  };
  Write("in",
        {{{"a.weight", DType::kF8E4M3}, {"a.weight_scale_inv", DType::kF32}}},
        "");
  refuses("in: tensor \"a.weight\": found F8_E4M3 [4, 4]");
  Write("in2", {{{"a.weight", DType::kU8}, {"a.weight.absmax", DType::kF32}}},
        "");
  request_.input = folder_ + "/in2";
  refuses("tensor \"a.weight.absmax\"");
  Write("in3", {{{"a.weight", DType::kF16}}},
        R"({"quantization_config": {"quant_method": "x"}})");
  request_.input = folder_ + "/in3";
  refuses("config.json: found quantization_config");
  Write("in5",
        {{{"a_blocks", DType::kU8},
          {"a_scales", DType::kU8},
          {"b", DType::kF32}}},
        "");
  request_.input = folder_ + "/in5";
  refuses("tensor \"a_blocks\"");
  // Floats of eight bits alone are not announced as codes of anything.
  Write("in4", {{{"a.weight", DType::kF8E4M3}, {"b", DType::kF32}}},
        R"({"quantization_config": null})");
  request_.input = folder_ + "/in4";
  ASSERT_OK(Convert(request_));
  ASSERT_OK_AND_ASSIGN(const Checkpoint out, Out());
  EXPECT_EQ(OutDType(out, "a.weight"), DType::kF8E4M3);
  EXPECT_EQ(OutDType(out, "b"), DType::kBF16);
}

TEST_F(BaseCheckpointTest, LikeGivesThePublishedLayoutBack) {
  Write("first",
        {{{"c", DType::kBF16}, {"a", DType::kF32}}, {{"b", DType::kBF16}}},
        R"({"torch_dtype": "bfloat16"})");
  WriteTestFile(folder_ + "/first/tokenizer.json", "{}");
  ConversionRequest publish = request_;
  publish.input = folder_ + "/first";
  publish.output = folder_ + "/base";
  ASSERT_OK(Convert(publish));
  Write("in", {{{"a", DType::kF32}, {"b", DType::kF32}, {"c", DType::kF32}}},
        R"({"torch_dtype": "float32", "tuned": true})");
  request_.like = folder_ + "/base";
  ASSERT_OK_AND_ASSIGN(const ConversionReport report, Convert(request_));
  EXPECT_THAT(report.differences, IsEmpty());
  EXPECT_THAT(report.edited, ElementsAre("config.json: dtype bfloat16"));
  ASSERT_OK_AND_ASSIGN(const Checkpoint in, OpenCheckpoint(request_.input));
  ASSERT_OK_AND_ASSIGN(const Checkpoint base, OpenCheckpoint(request_.like));
  ASSERT_OK_AND_ASSIGN(const Checkpoint out, Out());
  StateDict expected;
  for (const auto& [name, tensor] : base.tensors) {
    ASSERT_OK(expected.Insert(
        name, Cast(*in.tensors.Find(name), tensor.dtype()).value()));
  }
  EXPECT_EQ(Difference(out.tensors, expected), "");
  const auto published = ReadTestFolder(request_.like);
  auto out_files = ReadTestFolder(request_.output);
  // Its own config, and the tokenizer that it lacks.
  EXPECT_EQ(out_files["config.json"],
            R"({"torch_dtype": "bfloat16", "tuned": true})");
  EXPECT_EQ(out_files["tokenizer.json"], "{}");
  EXPECT_EQ(out_files["model.safetensors.index.json"],
            published.at("model.safetensors.index.json"));
  EXPECT_EQ(out_files["model-00001-of-00002.safetensors"].size(),
            published.at("model-00001-of-00002.safetensors").size());
  // What is published comes out as it was published, to the byte.
  request_.input = request_.like;
  request_.output = folder_ + "/again";
  ASSERT_OK(Convert(request_));
  EXPECT_EQ(ReadTestFolder(request_.output), published);
}

TEST_F(BaseCheckpointTest, LikeHoldsWhateverTheFormats) {
  Write("base",
        {{{"c", DType::kBF16}, {"a", DType::kF32}}, {{"b", DType::kF16}}}, "");
  Write("in", {{{"a", DType::kF32}, {"b", DType::kF32}, {"c", DType::kF32}}},
        "");
  request_.like = folder_ + "/base";
  for (const char* format : {"torch", "dcp"}) {
    SCOPED_TRACE(format);
    request_.save.format = format;
    request_.output = folder_ + "/" + format;
    ASSERT_OK(Convert(request_));
    ASSERT_OK_AND_ASSIGN(const Checkpoint out, Out());
    EXPECT_EQ(OutDType(out, "a"), DType::kF32);
    EXPECT_EQ(OutDType(out, "b"), DType::kF16);
    EXPECT_EQ(OutDType(out, "c"), DType::kBF16);
    if (std::string(format) == "torch") {
      EXPECT_EQ(out.shards.size(), 2u);
    }
  }
  // A base of another format gives dtypes, order and shards as well.
  request_.like = folder_ + "/torch";
  request_.save.format = "safetensors";
  request_.output = folder_ + "/out";
  ASSERT_OK(Convert(request_));
  ASSERT_OK_AND_ASSIGN(const Checkpoint out, Out());
  EXPECT_EQ(out.shards.size(), 2u);
  EXPECT_EQ(OutDType(out, "b"), DType::kF16);
}

// What a training job remembers of its model gives way, but for F32.
TEST_F(BaseCheckpointTest, WhatWasPublishedComesAfterAllThatIsAsked) {
  Write("in", {{{"a", DType::kBF16}, {"b", DType::kF32}, {"c", DType::kF32}}},
        "");
  Write("base", {{{"a", DType::kF16}, {"b", DType::kF16}, {"d", DType::kF64}}},
        "");
  const std::string metadata = request_.input + "/.hf_metadata";
  std::filesystem::create_directory(metadata);
  WriteTestFile(metadata + "/fqn_to_dtype_mapping.json",
                R"({"a": "F32", "b": "BF16", "c": "BF16", "d": "F32"})");
  WriteTestFile(metadata + "/fqn_to_file_index_mapping.json",
                R"({"d": 1, "c": 2, "b": 2, "a": 2})");
  // A tensor that was published is lacking.
  EXPECT_THAT(Convert(request_),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("tensor \"d\": found no such tensor")));
  request_.fill_from = folder_ + "/base";
  const auto dtypes = [this](const std::string& output) {
    request_.output = folder_ + "/" + output;
    EXPECT_OK(Convert(request_));
    std::vector<std::pair<std::string, DType>> found;
    const auto out = Out();
    if (!out.ok()) return found;
    for (const NamedTensor& named : out->tensors) {
      found.emplace_back(named.name, named.tensor.dtype());
    }
    return found;
  };
  // Filled tensors are as they were.
  EXPECT_THAT(
      dtypes("published"),
      UnorderedElementsAre(Pair("d", DType::kF64), Pair("a", DType::kF32),
                           Pair("c", DType::kBF16), Pair("b", DType::kBF16)));
  request_.dtype = DType::kF16;
  EXPECT_THAT(
      dtypes("asked"),
      UnorderedElementsAre(Pair("d", DType::kF32), Pair("a", DType::kF32),
                           Pair("c", DType::kF16), Pair("b", DType::kF16)));
  request_.dtype.reset();
  request_.like = folder_ + "/base";
  request_.allow_differences = true;
  EXPECT_THAT(
      dtypes("like"),
      UnorderedElementsAre(Pair("d", DType::kF64), Pair("a", DType::kF16),
                           Pair("b", DType::kF16), Pair("c", DType::kBF16)));
}

TEST_F(BaseCheckpointTest, AdaptersAreChosenByTheConfigOfLike) {
  constexpr char kConfig[] = R"({"architectures": ["Qwen3_5ForCausalLM"]})";
  Write("base", {{{"m.linear_attn.A_log", DType::kBF16}}}, kConfig);
  Write("in", {{{"m.linear_attn._fp32_params.A_log", DType::kF32}}}, "");
  request_.to = Layout::kHf;
  request_.like = folder_ + "/base";
  ASSERT_OK_AND_ASSIGN(const ConversionReport report, Convert(request_));
  EXPECT_EQ(report.adapter, "qwen3_5");
  ASSERT_OK_AND_ASSIGN(const Checkpoint out, Out());
  // What was published goes before what the adapter holds.
  EXPECT_EQ(OutDType(out, "m.linear_attn.A_log"), DType::kBF16);
  EXPECT_EQ(ReadTestFile(request_.output + "/config.json"), kConfig);
}

TEST_F(BaseCheckpointTest, ADTypeThatIsAskedGoesBeforeThatOfLike) {
  Write("base", {{{"a", DType::kF32}}, {{"b", DType::kBF16}}}, "");
  Write("in", {{{"a", DType::kF32}, {"b", DType::kF32}}}, "");
  request_.like = folder_ + "/base";
  request_.dtype = DType::kF16;
  // And a size of shards before its places.
  request_.save.max_shard_bytes = 1 << 20;
  ASSERT_OK(Convert(request_));
  ASSERT_OK_AND_ASSIGN(const Checkpoint out, Out());
  EXPECT_EQ(OutDType(out, "a"), DType::kF16);
  EXPECT_EQ(OutDType(out, "b"), DType::kF16);
  EXPECT_EQ(out.shards.size(), 1u);
}

TEST_F(BaseCheckpointTest, RefusesDifferencesFromLikeUnlessTheyAreAllowed) {
  Write("base", {{{"a", DType::kBF16}}, {{"b", DType::kBF16}}}, "");
  std::vector<StateDict> in(1);
  ASSERT_OK(in[0].Insert("new", Random(DType::kF32)));
  ASSERT_OK(in[0].Insert("b", Random(DType::kF32, {2, 4})));
  WriteTestCheckpoint(request_.input, in, "");
  request_.like = folder_ + "/base";
  EXPECT_THAT(Convert(request_),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("base: tensor \"a\": found none, expected "
                                 "BF16 [4, 4] (and 2 more differences)")));
  request_.allow_differences = true;
  ASSERT_OK_AND_ASSIGN(const ConversionReport report, Convert(request_));
  EXPECT_THAT(
      report.differences,
      ElementsAre("tensor \"a\": found none, expected BF16 [4, 4]",
                  "tensor \"b\": found F32 [2, 4], expected BF16 [4, 4]",
                  "tensor \"new\": found F32 [4, 4], expected none"));
  ASSERT_OK_AND_ASSIGN(const Checkpoint out, Out());
  EXPECT_THAT(Names(out.tensors), ElementsAre("b", "new"));
  EXPECT_EQ(OutDType(out, "b"), DType::kBF16);
  EXPECT_EQ(OutDType(out, "new"), DType::kF32);
}

TEST_F(BaseCheckpointTest, FillsInWhatTheInputLacks) {
  Write("base",
        {{{"a", DType::kBF16}, {"mtp.x", DType::kF16}, {"v", DType::kF32}}},
        "");
  Write("in", {{{"a", DType::kF32}}}, "");
  request_.fill_from = folder_ + "/base";
  request_.check = true;
  ASSERT_OK_AND_ASSIGN(const ConversionReport report, Convert(request_));
  EXPECT_THAT(report.filled, ElementsAre("mtp.x", "v"));
  ASSERT_OK_AND_ASSIGN(const Checkpoint in, OpenCheckpoint(request_.input));
  ASSERT_OK_AND_ASSIGN(const Checkpoint base,
                       OpenCheckpoint(request_.fill_from));
  ASSERT_OK_AND_ASSIGN(const Checkpoint out, Out());
  StateDict expected;
  ASSERT_OK(expected.Insert("a", *in.tensors.Find("a")));
  ASSERT_OK(expected.Insert("mtp.x", *base.tensors.Find("mtp.x")));
  ASSERT_OK(expected.Insert("v", *base.tensors.Find("v")));
  EXPECT_EQ(Difference(Sorted(out.tensors), Sorted(expected)), "");
}

// A scale beside a weight that is in values would make codes of those.
TEST_F(BaseCheckpointTest, FillsNoScalesInBesideValues) {
  Write("base",
        {{{"a.weight", DType::kF8E4M3}, {"a.weight_scale_inv", DType::kF32}}},
        "");
  Write("in", {{{"a.weight", DType::kBF16}}}, "");
  request_.fill_from = folder_ + "/base";
  EXPECT_THAT(Convert(request_),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("base: tensor \"a.weight_scale_inv\"")));
}

TEST_F(BaseCheckpointTest, HoldsTheOtherCheckpointsAndKeepsApartFromThem) {
  Write("base", {{{"a", DType::kBF16}}}, "");
  Write("in", {{{"a", DType::kBF16}}}, "");
  for (std::string ConversionRequest::*base :
       {&ConversionRequest::like, &ConversionRequest::fill_from}) {
    ConversionRequest request = request_;
    request.*base = folder_ + "/base";
    request.save.overwrite = true;
    request.output = folder_ + "/base";
    EXPECT_THAT(Convert(request),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("expected a folder apart from")));
    request.output = folder_ + "/other";
    ASSERT_OK_AND_ASSIGN(Conversion conversion,
                         Conversion::Plan(request, {}, /*dry_run=*/false));
    ASSERT_OK_AND_ASSIGN(const Location location,
                         ResolveLocation(request.*base));
    EXPECT_THAT(
        location.storage->Lock(location.path, LockMode::kExclusive).status(),
        StatusIs(absl::StatusCode::kUnavailable, HasSubstr("in use")));
    conversion.Unlock();
    EXPECT_OK(location.storage->Lock(location.path, LockMode::kExclusive));
  }
}

TEST_F(BaseCheckpointTest, RefusesInPlaceWhatTakesAnOutput) {
  Write("in", {{{"a", DType::kBF16}}},
        R"({"architectures": ["LlamaForCausalLM"]})");
  request_.to = Layout::kHf;
  request_.output = "";
  ConversionRequest request = request_;
  request.dtype = DType::kF16;
  EXPECT_TRUE(IsBadRequest(Convert(request).status()));
  request = request_;
  request.like = request.input;
  EXPECT_TRUE(IsBadRequest(Convert(request).status()));
  request = request_;
  request.fill_from = request.input;
  EXPECT_TRUE(IsBadRequest(Convert(request).status()));
  request = request_;
  request.output = folder_ + "/out";
  request.allow_differences = true;
  EXPECT_TRUE(IsBadRequest(Convert(request).status()));
}

}  // namespace
}  // namespace windlass
