// Conversions to the layout that a checkpoint is in already.

#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
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

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Optional;
using ::testing::UnorderedElementsAre;

constexpr char kMixture[] =
    R"({"architectures": ["Qwen3MoeForCausalLM"], "num_experts": 2,
        "moe_intermediate_size": 4, "hidden_size": 8, "dtype": "bfloat16"})";
constexpr char kFused[] = R"({"expert_layout": "fused"})";
constexpr char kPerExpert[] = R"({"expert_layout": "per_expert"})";

class SameLayoutTest : public ::testing::Test {
 protected:
  ~SameLayoutTest() override { std::filesystem::remove_all(folder_); }

  void Add(const std::string& name, DType dtype, Shape shape) {
    ASSERT_OK(tensors_.Insert(name, RandomTensor(dtype, shape, &random_)));
  }

  // A layer of two experts, a tensor each, and what stands around it.
  void AddMixture(DType dtype = DType::kBF16) {
    Add("model.embed_tokens.weight", DType::kBF16, {4, 8});
    for (const char* expert : {"0", "1"}) {
      for (const char* projection : {"gate_proj", "up_proj", "down_proj"}) {
        const bool down = projection[0] == 'd';
        Add(absl::StrCat("model.layers.0.mlp.experts.", expert, ".", projection,
                         ".weight"),
            dtype, down ? Shape{8, 4} : Shape{4, 8});
      }
    }
    Add("model.norm.weight", DType::kF32, {8});
  }

  // Writes tensors_ and forgets them.
  void Write(const std::string& name, const std::string& config) {
    std::vector<StateDict> shards(1);
    shards[0] = std::move(tensors_);
    tensors_ = StateDict();
    WriteTestCheckpoint(Path(name), shards, config);
  }

  std::string Path(const std::string& name) const {
    return folder_ + "/" + name;
  }

  absl::StatusOr<ConversionReport> Run(Layout to, const std::string& from,
                                       const std::string& output,
                                       const std::string& options = "{}") {
    ConversionRequest request = request_;
    request.input = Path(from);
    request.output = Path(output);
    request.to = to;
    request.adapter_options = options;
    return Convert(request);
  }

  void ExpectSame(const std::string& found, const std::string& expected) {
    ASSERT_OK_AND_ASSIGN(const Checkpoint a, OpenCheckpoint(Path(found)));
    ASSERT_OK_AND_ASSIGN(const Checkpoint b, OpenCheckpoint(Path(expected)));
    EXPECT_EQ(Difference(a.tensors, b.tensors), "");
  }

  std::mt19937 random_{1};
  const std::string folder_ = MakeTestFolder();
  ConversionRequest request_;
  StateDict tensors_;
};

TEST_F(SameLayoutTest, NothingChangesWhereNothingIsAsked) {
  AddMixture();
  Add("model.layers.0.mlp.gate.weight", DType::kF32, {2, 8});
  Write("hf", kMixture);
  ASSERT_OK_AND_ASSIGN(const ConversionReport report,
                       Run(Layout::kHf, "hf", "hf2"));
  EXPECT_EQ(report.input_layout, "hf");
  EXPECT_EQ(report.output_layout, "hf");
  EXPECT_EQ(report.summary.computed, 0);
  EXPECT_EQ(report.summary.renamed, 0);
  EXPECT_THAT(report.losses, Optional(IsEmpty()));
  ExpectSame("hf2", "hf");
  ASSERT_OK_AND_ASSIGN(const ConversionReport there,
                       Run(Layout::kNative, "hf", "native"));
  EXPECT_EQ(there.input_layout, "hf");
  EXPECT_EQ(there.output_layout, "native");
  ASSERT_OK_AND_ASSIGN(const ConversionReport native,
                       Run(Layout::kNative, "native", "native2"));
  EXPECT_EQ(native.input_layout, "native");
  EXPECT_EQ(native.output_layout, "native");
  ExpectSame("native2", "native");
}

TEST_F(SameLayoutTest, ExpertsAreWrittenAsAsked) {
  AddMixture();
  Write("hf", kMixture);
  ASSERT_OK_AND_ASSIGN(const ConversionReport fused,
                       Run(Layout::kHf, "hf", "fused", kFused));
  EXPECT_THAT(fused.losses, Optional(IsEmpty()));
  ASSERT_OK_AND_ASSIGN(const Checkpoint out, OpenCheckpoint(Path("fused")));
  EXPECT_THAT(
      Names(out.tensors),
      ElementsAre("model.embed_tokens.weight",
                  "model.layers.0.mlp.experts.gate_up_proj",
                  "model.layers.0.mlp.experts.down_proj", "model.norm.weight"));
  // As from the native layout.
  ASSERT_OK(Run(Layout::kNative, "hf", "native"));
  ASSERT_OK(Run(Layout::kHf, "native", "fused2", kFused));
  ASSERT_OK_AND_ASSIGN(const Checkpoint by_native,
                       OpenCheckpoint(Path("fused2")));
  EXPECT_EQ(Difference(Sorted(out.tensors), Sorted(by_native.tensors)), "");
  // They stay fused, unless something else is asked for.
  ASSERT_OK(Run(Layout::kHf, "fused", "still_fused"));
  ExpectSame("still_fused", "fused");
  ASSERT_OK(Run(Layout::kHf, "fused", "split", kPerExpert));
  ASSERT_OK_AND_ASSIGN(const Checkpoint split, OpenCheckpoint(Path("split")));
  ASSERT_OK_AND_ASSIGN(const Checkpoint first, OpenCheckpoint(Path("hf")));
  EXPECT_EQ(Difference(Sorted(split.tensors), Sorted(first.tensors)), "");
}

TEST_F(SameLayoutTest, NamesAreExcludedAsOnEveryWayToHf) {
  AddMixture();
  Add("model.layers.0.x_extra_state", DType::kU8, {3});
  Write("hf", kMixture);
  request_.exclude_key_regex = ".*_extra_state.*|model.norm.*";
  ASSERT_OK_AND_ASSIGN(const ConversionReport report,
                       Run(Layout::kHf, "hf", "out"));
  EXPECT_THAT(report.summary.dropped,
              UnorderedElementsAre("model.layers.0.x_extra_state",
                                   "model.norm.weight"));
  ASSERT_OK_AND_ASSIGN(const Checkpoint out, OpenCheckpoint(Path("out")));
  EXPECT_EQ(out.tensors.size(), 7u);
}

TEST_F(SameLayoutTest, NothingIsTouchedInPlace) {
  AddMixture();
  Write("hf", kMixture);
  const auto before = ReadTestFolder(Path("hf"));
  ConversionRequest request;
  request.input = Path("hf");
  request.to = Layout::kHf;
  ASSERT_OK_AND_ASSIGN(const ConversionReport report, Convert(request));
  EXPECT_TRUE(report.already_converted);
  EXPECT_EQ(ReadTestFolder(Path("hf")), before);
}

TEST_F(SameLayoutTest, NoHeadIsMadeThatNobodyAskedFor) {
  Add("model.embed_tokens.weight", DType::kBF16, {4, 8});
  Add("thinker.x", DType::kBF16, {4});
  Write("hf",
        R"({"architectures": ["Qwen3ForCausalLM"],
            "tie_word_embeddings": true})");
  ASSERT_OK_AND_ASSIGN(const ConversionReport report,
                       Run(Layout::kHf, "hf", "hf2"));
  // Both layouts have these names.
  EXPECT_EQ(report.input_layout, "");
  ExpectSame("hf2", "hf");
}

TEST_F(SameLayoutTest, QuantisedWeightsStayUnlessADTypeIsAsked) {
  AddMixture();
  Add("model.layers.0.self_attn.q_proj.weight", DType::kF8E4M3, {4, 4});
  Add("model.layers.0.self_attn.q_proj.weight_scale_inv", DType::kF32, {1, 1});
  Write("hf",
        R"({"architectures": ["DeepseekV3ForCausalLM"], "n_routed_experts": 2,
            "moe_intermediate_size": 4, "dtype": "bfloat16",
            "quantization_config": {"quant_method": "fp8"}})");
  ASSERT_OK_AND_ASSIGN(const ConversionReport same,
                       Run(Layout::kHf, "hf", "same"));
  EXPECT_THAT(same.losses, Optional(IsEmpty()));
  EXPECT_THAT(same.edited, IsEmpty());
  ExpectSame("same", "hf");
  request_.dtype = DType::kF16;
  ASSERT_OK_AND_ASSIGN(const ConversionReport cast,
                       Run(Layout::kHf, "hf", "cast"));
  ASSERT_TRUE(cast.losses.has_value());
  EXPECT_THAT(DescribeLosses(*cast.losses),
              AllOf(HasSubstr("dequantised"), HasSubstr("cast")));
  EXPECT_THAT(cast.edited, ElementsAre(HasSubstr("without quantization_config"),
                                       "config.json: dtype float16"));
  ASSERT_OK_AND_ASSIGN(const Checkpoint out, OpenCheckpoint(Path("cast")));
  EXPECT_FALSE(
      out.tensors.Contains("model.layers.0.self_attn.q_proj.weight_scale_inv"));
  for (const NamedTensor& named : out.tensors) {
    EXPECT_EQ(named.tensor.dtype(), DType::kF16) << named.name;
  }
  // One rounding, from codes and scale to what is asked for.
  ASSERT_OK_AND_ASSIGN(const Checkpoint in, OpenCheckpoint(Path("hf")));
  const std::string q = "model.layers.0.self_attn.q_proj.weight";
  ASSERT_OK_AND_ASSIGN(
      const Tensor expected,
      DequantizeBlocks(*in.tensors.Find(q), *in.tensors.Find(q + "_scale_inv"),
                       128, DType::kF16));
  EXPECT_EQ(*ReadAll(*out.tensors.Find(q)), *ReadAll(expected));
}

TEST_F(SameLayoutTest, WhatIsFusedOfCodesIsDequantisedAsAWhole) {
  for (const char* expert : {"0", "1"}) {
    for (const char* projection : {"gate_proj", "up_proj", "down_proj"}) {
      const std::string name = absl::StrCat("model.layers.0.mlp.experts.",
                                            expert, ".", projection, ".weight");
      const bool down = projection[0] == 'd';
      Add(name, DType::kF8E4M3, down ? Shape{8, 4} : Shape{4, 8});
      Add(name + "_scale_inv", DType::kF32, {1, 1});
    }
  }
  Add("model.q_proj.weight", DType::kF8E4M3, {4, 4});
  Add("model.q_proj.weight_scale_inv", DType::kF32, {1, 1});
  Write("hf",
        R"({"architectures": ["DeepseekV3ForCausalLM"], "n_routed_experts": 2,
            "moe_intermediate_size": 4, "dtype": "bfloat16",
            "quantization_config": {"quant_method": "fp8"}})");
  ASSERT_OK_AND_ASSIGN(const ConversionReport report,
                       Run(Layout::kHf, "hf", "fused", kFused));
  EXPECT_EQ(report.edited.size(), 1u);
  ASSERT_OK_AND_ASSIGN(const Checkpoint out, OpenCheckpoint(Path("fused")));
  EXPECT_EQ(out.tensors.size(), 3u);
  for (const NamedTensor& named : out.tensors) {
    EXPECT_EQ(named.tensor.dtype(), DType::kBF16) << named.name;
  }
}

// An adapter that packs on the way to HF is asked not to.
TEST_F(SameLayoutTest, QuantisedWeightsAreUnpackedWhereAnOptionSaysSo) {
  Add("model.layers.0.mlp.up_proj.weight", DType::kF8E4M3, {4, 8});
  Add("model.layers.0.mlp.up_proj.weight_scale_inv", DType::kF32, {1, 1});
  Add("model.layers.1.mlp.experts.gate_up_proj", DType::kBF16, {2, 8, 8});
  Add("model.layers.1.mlp.experts.down_proj", DType::kBF16, {2, 8, 4});
  Write("hf",
        R"({"architectures": ["MiMoV2FlashForCausalLM"], "hidden_size": 8,
            "n_routed_experts": 2, "moe_intermediate_size": 4,
            "num_key_value_heads": 1, "head_dim": 4, "dtype": "bfloat16"})");
  ASSERT_OK(Run(Layout::kHf, "hf", "same"));
  ExpectSame("same", "hf");
  ASSERT_OK(Run(Layout::kHf, "hf", "values",
                R"({"export_fp8": false, "expert_layout": "fused"})"));
  ASSERT_OK_AND_ASSIGN(const Checkpoint out, OpenCheckpoint(Path("values")));
  EXPECT_EQ(out.tensors.size(), 3u);
  EXPECT_EQ(out.tensors.Find("model.layers.0.mlp.up_proj.weight")->dtype(),
            DType::kBF16);
}

TEST_F(SameLayoutTest, LoraIsWrittenInTheOrientationThatIsAsked) {
  const std::string experts = "base_model.model.model.layers.0.mlp.experts.";
  // PEFT 0.19, of two experts and rank 3.
  Add(experts + "base_layer.lora_A.weight", DType::kF32, {6, 8});
  Add(experts + "base_layer.lora_B.weight", DType::kF32, {8, 6});
  Add(experts + "lora_A.weight", DType::kF32, {6, 4});
  Add(experts + "lora_B.weight", DType::kF32, {8, 6});
  Write("new", kMixture);
  ASSERT_OK(Run(Layout::kHf, "new", "kept"));
  ExpectSame("kept", "new");
  ASSERT_OK(Run(Layout::kHf, "new", "old", R"({"peft_layout": "0.18"})"));
  ASSERT_OK_AND_ASSIGN(const Checkpoint old, OpenCheckpoint(Path("old")));
  EXPECT_EQ(old.tensors.Find(experts + "lora_B.weight")->shape(),
            (Shape{4, 6}));
  ASSERT_OK(Run(Layout::kHf, "old", "again", R"({"peft_layout": "0.19"})"));
  ASSERT_OK_AND_ASSIGN(const Checkpoint again, OpenCheckpoint(Path("again")));
  ASSERT_OK_AND_ASSIGN(const Checkpoint first, OpenCheckpoint(Path("new")));
  EXPECT_EQ(Difference(Sorted(again.tensors), Sorted(first.tensors)), "");
  // And a key an expert, of transformers 4.
  request_.v4_compatible = true;
  ASSERT_OK(Run(Layout::kHf, "new", "v4"));
  ASSERT_OK_AND_ASSIGN(const Checkpoint v4, OpenCheckpoint(Path("v4")));
  EXPECT_TRUE(v4.tensors.Contains(experts + "1.up_proj.lora_B.weight"));
}

TEST_F(SameLayoutTest, NamesOfTwoLayoutsAreRefused) {
  AddMixture();
  Add("model.layers.1.mlp.experts.down_projs", DType::kBF16, {2, 4, 8});
  Write("mixed", kMixture);
  for (const Layout to : {Layout::kHf, Layout::kNative}) {
    EXPECT_THAT(
        Run(to, "mixed", "out"),
        StatusIs(absl::StatusCode::kInvalidArgument,
                 AllOf(HasSubstr("\"model.layers.1.mlp.experts.down_projs\": "
                                 "found a name of the native layout"),
                       HasSubstr("experts.0.gate_proj.weight"))));
  }
}

TEST_F(SameLayoutTest, ABaseOfTheOtherLayoutIsRefused) {
  AddMixture();
  Write("hf", kMixture);
  ASSERT_OK(Run(Layout::kNative, "hf", "native"));
  request_.fill_from = Path("native");
  EXPECT_THAT(Run(Layout::kHf, "native", "out"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("found a name of the other layout")));
  request_.fill_from = Path("hf");
  EXPECT_OK(Run(Layout::kHf, "native", "out"));
}

TEST_F(SameLayoutTest, NoShareOfExpertsIsTakenOfOneLayoutAlone) {
  AddMixture();
  Write("hf", kMixture);
  request_.device_mesh.ep_size = 2;
  EXPECT_THAT(Run(Layout::kHf, "hf", "out"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("of which there are no shares")));
}

}  // namespace
}  // namespace windlass
