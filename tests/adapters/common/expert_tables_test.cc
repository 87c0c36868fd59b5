#include "windlass/adapters/common/expert_tables.h"

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/adapters/common/moe_options.h"
#include "windlass/core/state_dict.h"
#include "windlass/core/tensor_ops.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/testing/tensors.h"

namespace windlass {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr auto kExists = absl::StatusCode::kAlreadyExists;

MoeOptions TestMoe() {
  MoeOptions moe;
  moe.experts = {"E", 3, "config.json: field \"num_experts\""};
  moe.intermediate = {"I", 4, "config.json: field \"moe_intermediate_size\""};
  moe.hidden = {"H", -1, ""};
  moe.dtype = DType::kBF16;
  return moe;
}

std::unique_ptr<StateDictAdapter> Adapter(const MoeOptions& moe = TestMoe(),
                                          bool param_wrapper = false) {
  return MakeLayoutAdapter(ExpertStages(moe, param_wrapper)).value();
}

FromHfOptions Rank(int size, int rank) {
  FromHfOptions options;
  options.device_mesh.ep_size = size;
  options.device_mesh.ep_rank = rank;
  return options;
}

constexpr char kLayer[] = "model.layers.0.mlp.experts.";

std::string Name(int expert, const char* projection) {
  return absl::StrCat(kLayer, expert, ".", projection, ".weight");
}

class TablesTest : public ::testing::Test {
 protected:
  Tensor Random(DType dtype, Shape shape) {
    return RandomTensor(dtype, std::move(shape), &random_);
  }

  void Add(StateDict* dict, std::string name, Shape shape,
           DType dtype = DType::kBF16) {
    EXPECT_OK(dict->Insert(std::move(name), Random(dtype, std::move(shape))));
  }

  // A whole layer but for the tensor `without`.
  StateDict Layer(const std::string& without = "", int experts = 3,
                  DType dtype = DType::kBF16) {
    StateDict hf;
    for (int e = 0; e < experts; ++e) {
      for (const char* projection : {"gate_proj", "up_proj", "down_proj"}) {
        if (Name(e, projection) == without) continue;
        Add(&hf, Name(e, projection),
            projection[0] == 'd' ? Shape{6, 4} : Shape{4, 6}, dtype);
      }
    }
    return hf;
  }

  absl::StatusOr<StateDict> ToHf(const MoeOptions& moe, const char* name,
                                 Shape shape) {
    StateDict native;
    Add(&native, name, std::move(shape));
    return Adapter(moe)->ToHf(native, {});
  }

  std::mt19937 random_{5};
  const std::unique_ptr<StateDictAdapter> adapter_ = Adapter();
};

using ExpertsTest = TablesTest;

TEST_F(ExpertsTest, AGroupStandsWhereItsLastMemberStood) {
  StateDict hf = Layer();
  Add(&hf, "model.norm.weight", {6});
  ASSERT_OK_AND_ASSIGN(const StateDict native, adapter_->FromHf(hf, {}));
  EXPECT_THAT(Names(native),
              ElementsAre("model.layers.0.mlp.experts.gate_and_up_projs",
                          "model.layers.0.mlp.experts.down_projs",
                          "model.norm.weight"));
  EXPECT_EQ(native.begin()->tensor.shape(), (Shape{3, 6, 8}));
}

TEST_F(ExpertsTest, NamesTheMissingExpert) {
  EXPECT_THAT(adapter_->FromHf(Layer(Name(1, "up_proj")), {}),
              StatusIs(kInvalid, HasSubstr(Name(1, "up_proj"))));
  EXPECT_THAT(adapter_->FromHf(Layer("", 2), {}),
              StatusIs(kInvalid, AllOf(HasSubstr(Name(2, "gate_proj")),
                                       HasSubstr(Name(2, "down_proj")))));
}

TEST_F(ExpertsTest, AKindOfTensorThatIsMissingWholeIsMissed) {
  StateDict hf;
  for (const auto& [name, tensor] : Layer()) {
    if (absl::StrContains(name, "down")) continue;
    ASSERT_OK(hf.Insert(name, tensor));
  }
  EXPECT_THAT(adapter_->FromHf(hf, {}),
              StatusIs(kInvalid, HasSubstr("down_proj")));
}

TEST_F(ExpertsTest, ARankNeedsOnlyItsOwnExperts) {
  const StateDict hf = Layer(Name(2, "up_proj"));
  ASSERT_OK_AND_ASSIGN(const StateDict native,
                       adapter_->FromHf(hf, Rank(2, 0)));
  EXPECT_EQ(native.begin()->tensor.shape(), (Shape{2, 6, 8}));
  EXPECT_THAT(adapter_->FromHf(hf, Rank(2, 1)),
              StatusIs(kInvalid, HasSubstr(Name(2, "up_proj"))));
}

TEST_F(ExpertsTest, RefusesAMeshThatIsNone) {
  for (const auto& [size, rank] :
       {std::pair(0, 0), std::pair(2, 2), std::pair(2, -1)}) {
    EXPECT_THAT(adapter_->FromHf(Layer(), Rank(size, rank)),
                StatusIs(kInvalid, HasSubstr("\"ep\"")));
  }
}

TEST_F(ExpertsTest, RefusesAnExpertThatTheConfigDoesNotKnow) {
  EXPECT_THAT(adapter_->FromHf(Layer("", 4), {}),
              StatusIs(kInvalid, AllOf(HasSubstr("found expert 3"),
                                       HasSubstr("\"num_experts\""))));
}

TEST_F(ExpertsTest, RefusesTwoSpellingsOfOneExpert) {
  for (const char* spelling : {"01", "0000001"}) {
    for (const char* projection : {"gate_proj", "down_proj"}) {
      const std::string other =
          absl::StrCat(kLayer, spelling, ".", projection, ".weight");
      // Beside a whole layer, and where the count alone would fit.
      for (const std::string& without : {std::string(), Name(2, projection)}) {
        StateDict hf = Layer(without);
        Add(&hf, other, projection[0] == 'd' ? Shape{6, 4} : Shape{4, 6});
        EXPECT_THAT(adapter_->FromHf(hf, {}),
                    StatusIs(kExists, AllOf(HasSubstr(Name(1, projection)),
                                            HasSubstr(other))));
      }
    }
  }
}

TEST_F(ExpertsTest, NumbersOfTheConfigReserveNothing) {
  MoeOptions moe = TestMoe();
  for (int64_t experts : {int64_t{1000000000}, int64_t{1} << 62,
                          std::numeric_limits<int64_t>::max()}) {
    moe.experts.size = experts;
    EXPECT_THAT(Adapter(moe)->FromHf(Layer(), {}),
                StatusIs(kInvalid, AllOf(HasSubstr(Name(3, "gate_proj")),
                                         HasSubstr("num_experts"))));
  }
  // A tensor without a byte claims them as well.
  moe.experts.size = 1000000000;
  EXPECT_THAT(ToHf(moe, "layers.0.mlp.experts.down_projs", {1000000000, 4, 0}),
              StatusIs(kInvalid, HasSubstr("[1000000000, 4, 0]")));
  moe = TestMoe();
  moe.intermediate.size = std::numeric_limits<int64_t>::max();
  EXPECT_THAT(Adapter(moe)->FromHf(Layer(), {}),
              StatusIs(kInvalid, HasSubstr("moe_intermediate_size")));
  EXPECT_THAT(ToHf(moe, "layers.0.mlp.experts.gate_and_up_projs", {3, 6, 8}),
              StatusIs(kInvalid, HasSubstr("[6, 8]")));
}

TEST_F(ExpertsTest, RefusesShapesThatDoNotFitTheConfig) {
  StateDict hf = Layer(Name(2, "down_proj"));
  Add(&hf, Name(2, "down_proj"), {6, 5});
  EXPECT_THAT(adapter_->FromHf(hf, {}),
              StatusIs(kInvalid, AllOf(HasSubstr(Name(2, "down_proj")),
                                       HasSubstr("BF16 [6, 5]"),
                                       HasSubstr("moe_intermediate_size"))));
  StateDict uneven = Layer(Name(2, "up_proj"));
  Add(&uneven, Name(2, "up_proj"), {4, 7});
  EXPECT_THAT(
      adapter_->FromHf(uneven, {}),
      StatusIs(kInvalid, AllOf(HasSubstr(Name(2, "up_proj")),
                               HasSubstr("expected 6 in dimension 1"))));
}

// What is an expert's and is not taken must not pass by unseen.
TEST_F(ExpertsTest, RefusesExpertsThatItDoesNotKnow) {
  const struct {
    const char* name;
    const char* what;
  } kCases[] = {
      {"model.layers.0.mlp.experts.0.gate_proj.qweight", "AWQ or GPTQ"},
      {"model.layers.0.mlp.experts.0.gate_proj.scales", "AWQ or GPTQ"},
      {"model.layers.0.mlp.experts.0.gate_proj.g_idx", "GPTQ"},
      {"model.layers.0.mlp.experts.0.up_proj.weight_packed", "packed"},
      {"model.layers.0.mlp.experts.0.up_proj.weight.absmax", "bitsandbytes"},
      {"model.layers.0.mlp.experts.gate_up_proj_blocks", "packed"},
      {"model.layers.0.mlp.experts.+1.gate_proj.weight", "a name that no row"},
      {"model.layers.0.mlp.experts.99999999999999999999.gate_proj.weight",
       "a name that no row"},
      {"model.layers.0.block_sparse_moe.experts.0.w1.weight",
       "a name that no row"},
  };
  for (const auto& test : kCases) {
    StateDict hf = Layer();
    Add(&hf, test.name, {4}, DType::kF32);
    EXPECT_THAT(
        adapter_->FromHf(hf, {}),
        StatusIs(kInvalid, AllOf(HasSubstr(test.name), HasSubstr(test.what))));
  }
}

TEST_F(ExpertsTest, KeepsAPrefixThatItDoesNotKnow) {
  StateDict hf;
  for (const auto& [name, tensor] : Layer()) {
    ASSERT_OK(hf.Insert("base_model.model." + name, tensor));
  }
  ASSERT_OK_AND_ASSIGN(const StateDict native, adapter_->FromHf(hf, {}));
  EXPECT_EQ(native.begin()->name,
            "base_model.model.model.layers.0.mlp.experts.gate_and_up_projs");
}

TEST_F(ExpertsTest, RefusesALayerWithoutExperts) {
  StateDict router = Layer();
  Add(&router, "model.layers.1.mlp.gate.weight", {3, 6});
  EXPECT_THAT(adapter_->FromHf(router, {}),
              StatusIs(kInvalid, HasSubstr("model.layers.1.mlp.gate.weight")));

  MoeOptions moe = TestMoe();
  moe.sparse = [](int64_t layer) { return layer < 2; };
  StateDict declared = Layer();
  Add(&declared, "model.layers.2.input_layernorm.weight", {6});
  EXPECT_OK(Adapter(moe)->FromHf(declared, {}));
  Add(&declared, "model.layers.1.input_layernorm.weight", {6});
  EXPECT_THAT(Adapter(moe)->FromHf(declared, {}),
              StatusIs(kInvalid, HasSubstr("model.layers.1.")));
  StateDict lora;
  Add(&lora, "model.layers.1.self_attn.q_proj.lora_A.weight", {2, 6});
  EXPECT_OK(Adapter(moe)->FromHf(lora, {}));
}

TEST_F(ExpertsTest, AnEncodersLayersNeedNoExperts) {
  MoeOptions moe = TestMoe();
  moe.sparse = [](int64_t layer) { return layer < 2; };
  ExpertNames names;
  names.router = "{p:model.|}layers.{l}.mlp.gate.weight";
  const auto adapter =
      MakeLayoutAdapter(ExpertStages(moe, /*param_wrapper=*/false, names))
          .value();
  StateDict hf = Layer();
  Add(&hf, "audio_tower.layers.1.fc1.weight", {6});
  EXPECT_OK(adapter->FromHf(hf, {}));
  Add(&hf, "layers.1.input_layernorm.weight", {6});
  EXPECT_THAT(adapter->FromHf(hf, {}),
              StatusIs(kInvalid, HasSubstr("layer \"layers.1.\"")));
}

TEST_F(ExpertsTest, RefusesFusedFp8WhateverTheConfigSays) {
  for (const bool says_dtype : {false, true}) {
    MoeOptions moe = TestMoe();
    if (!says_dtype) moe.dtype.reset();
    StateDict hf;
    Add(&hf, "model.layers.1.mlp.experts.gate_up_proj", {3, 8, 6},
        DType::kF8E4M3);
    Add(&hf, "model.layers.1.mlp.experts.gate_up_proj_scale_inv", {3, 1, 1},
        DType::kF32);
    Add(&hf, "model.layers.1.mlp.experts.down_proj", {3, 6, 4});
    EXPECT_THAT(Adapter(moe)->FromHf(hf, {}),
                StatusIs(kInvalid, HasSubstr("experts.gate_up_proj\"")));
  }
}

TEST_F(ExpertsTest, TellsTheOrientationOfFusedExpertsByTheirShapes) {
  const struct {
    int64_t experts, intermediate, hidden;
  } kSizes[] = {{3, 4, 6}, {2, 4, 8}, {4, 4, 4}, {2, 2, 2}};
  for (const auto& size : kSizes) {
    for (const bool config_has_hidden : {true, false}) {
      MoeOptions moe = TestMoe();
      moe.experts.size = size.experts;
      moe.intermediate.size = size.intermediate;
      moe.expert_layout = "fused";
      if (config_has_hidden) moe.hidden.size = size.hidden;
      ExpertNames names;
      names.fused_as_native = true;
      const auto adapter =
          MakeLayoutAdapter(ExpertStages(moe, true, names)).value();
      const std::string layer = "model.layers.0.mlp.experts.";
      StateDict published, turned;
      for (const auto& [name, shape] :
           {std::pair("gate_up_proj",
                      Shape{size.experts, size.hidden, 2 * size.intermediate}),
            std::pair("down_proj",
                      Shape{size.experts, size.intermediate, size.hidden})}) {
        const Tensor tensor = Random(DType::kBF16, shape);
        ASSERT_OK(published.Insert(layer + name, tensor));
        ASSERT_OK(turned.Insert(layer + name, Transpose(tensor).value()));
      }
      ASSERT_OK_AND_ASSIGN(const StateDict native,
                           adapter->FromHf(published, {}));
      ASSERT_OK_AND_ASSIGN(const StateDict same, adapter->FromHf(turned, {}));
      EXPECT_EQ(Difference(same, native), "");
      ASSERT_OK_AND_ASSIGN(const StateDict back, adapter->ToHf(native, {}));
      EXPECT_EQ(Difference(back, published), "");
    }
  }
}

TEST_F(ExpertsTest, DequantisesFp8AndRefusesItWithoutScale) {
  StateDict hf = Layer("", 3, DType::kF8E4M3);
  EXPECT_THAT(adapter_->FromHf(hf, {}),
              StatusIs(kInvalid, HasSubstr("without a scale")));
  StateDict scaled;
  for (const auto& [name, tensor] : hf) {
    ASSERT_OK(scaled.Insert(name, tensor));
    Add(&scaled, name + "_scale_inv", {1, 1}, DType::kF32);
  }
  ASSERT_OK_AND_ASSIGN(const StateDict native, adapter_->FromHf(scaled, {}));
  EXPECT_EQ(native.size(), 2u);
  EXPECT_EQ(native.begin()->tensor.dtype(), DType::kBF16);
}

TEST_F(ExpertsTest, ReadsBothLayoutsLayerByLayerAndWritesTheOneAskedFor) {
  StateDict hf = Layer();
  Add(&hf, "model.layers.1.mlp.experts.gate_up_proj", {3, 8, 6});
  Add(&hf, "model.layers.1.mlp.experts.down_proj", {3, 6, 4});
  ASSERT_OK_AND_ASSIGN(const StateDict native, adapter_->FromHf(hf, {}));
  EXPECT_EQ(native.size(), 4u);
  EXPECT_EQ(
      native.Find("model.layers.1.mlp.experts.gate_and_up_projs")->shape(),
      (Shape{3, 6, 8}));
  MoeOptions moe = TestMoe();
  moe.expert_layout = "fused";
  ASSERT_OK_AND_ASSIGN(const StateDict fused, Adapter(moe)->ToHf(native, {}));
  EXPECT_THAT(Names(fused),
              ElementsAre("model.layers.0.mlp.experts.gate_up_proj",
                          "model.layers.0.mlp.experts.down_proj",
                          "model.layers.1.mlp.experts.gate_up_proj",
                          "model.layers.1.mlp.experts.down_proj"));
  ASSERT_OK_AND_ASSIGN(const StateDict again, adapter_->FromHf(fused, {}));
  EXPECT_EQ(Difference(again, native), "");
  ASSERT_OK_AND_ASSIGN(const StateDict share, adapter_->FromHf(hf, Rank(2, 1)));
  for (const auto& [name, tensor] : share) EXPECT_EQ(tensor.shape()[0], 1);

  StateDict twice = Layer();
  Add(&twice, "model.layers.0.mlp.experts.gate_up_proj", {3, 8, 6});
  EXPECT_THAT(adapter_->FromHf(twice, {}),
              StatusIs(kExists, AllOf(HasSubstr("gate_up_proj"),
                                      HasSubstr(Name(0, "gate_proj")))));
}

TEST_F(ExpertsTest, RefusesALayerOfWhichHalfIsFused) {
  StateDict half;
  for (const auto& [name, tensor] : Layer()) {
    if (!absl::StrContains(name, "down_proj")) continue;
    ASSERT_OK(half.Insert(name, tensor));
  }
  Add(&half, "model.layers.0.mlp.experts.gate_up_proj", {3, 8, 6});
  EXPECT_THAT(adapter_->FromHf(half, {}),
              StatusIs(kExists, AllOf(HasSubstr("gate_up_proj"),
                                      HasSubstr(Name(0, "down_proj")),
                                      HasSubstr("two forms"))));
}

TEST_F(ExpertsTest, SplitRefusesWhatTheConfigDoesNotExplain) {
  const MoeOptions moe = TestMoe();
  EXPECT_THAT(ToHf(moe, "model.layers.0.mlp.experts.down_projs", {3, 5, 6}),
              StatusIs(kInvalid, HasSubstr("moe_intermediate_size")));
  EXPECT_THAT(
      ToHf(moe, "model.layers.0.mlp.experts.gate_and_up_projs", {3, 6, 7}),
      StatusIs(kInvalid, HasSubstr("expected 8 in dimension 1")));
  EXPECT_THAT(
      ToHf(moe, "model.layers.0.mlp.experts.gate_and_up_projs", {2, 6, 8}),
      StatusIs(kInvalid, HasSubstr("num_experts")));
  EXPECT_OK(
      ToHf(moe, "model.layers.0.mlp.experts.gate_and_up_projs", {3, 6, 8}));
}

TEST_F(ExpertsTest, ThePrefixFollowsTheNameUnlessAnOptionSays) {
  const struct {
    const char* native;
    std::optional<bool> option;
    const char* hf;
  } kCases[] = {
      {"model.layers.7", std::nullopt, "model.layers.7"},
      {"layers.7", std::nullopt, "layers.7"},
      {"layers.7", true, "model.layers.7"},
      {"model.layers.7", false, "layers.7"},
  };
  for (const auto& c : kCases) {
    MoeOptions moe = TestMoe();
    moe.uses_model_prefix = c.option;
    const std::string native =
        absl::StrCat(c.native, ".mlp.experts.down_projs");
    ASSERT_OK_AND_ASSIGN(const StateDict hf,
                         ToHf(moe, native.c_str(), {3, 4, 6}));
    EXPECT_EQ(hf.begin()->name,
              absl::StrCat(c.hf, ".mlp.experts.0.down_proj.weight"));
  }
}

TEST_F(ExpertsTest, WithoutADTypeTheMergedKeepThatOfTheirParts) {
  MoeOptions moe = TestMoe();
  moe.dtype = std::nullopt;
  ASSERT_OK_AND_ASSIGN(const StateDict native,
                       Adapter(moe)->FromHf(Layer("", 3, DType::kF32), {}));
  EXPECT_EQ(native.begin()->tensor.dtype(), DType::kF32);
}

// H = 6, I = 4, r = 2.
class ExpertLoraTest : public TablesTest {
 protected:
  StateDict Native() {
    StateDict native;
    const std::string layer = absl::StrCat("base_model.model.", kLayer);
    const std::pair<const char*, Shape> kTensors[] = {
        {"lora_gate_and_up_A", {3, 6, 2}},
        {"lora_gate_and_up_B", {3, 2, 8}},
        {"lora_down_A", {3, 4, 2}},
        {"lora_down_B", {3, 2, 6}}};
    for (const auto& [name, shape] : kTensors) {
      Add(&native, layer + name, shape, DType::kF32);
    }
    return native;
  }

  MoeOptions Moe(const char* peft_layout = nullptr) {
    MoeOptions moe = TestMoe();
    moe.hidden.size = 6;
    if (peft_layout != nullptr) moe.peft_layout = peft_layout;
    return moe;
  }

  StateDict ToHf(const StateDictAdapter& adapter, bool v4) {
    ToHfOptions options;
    options.v4_compatible = v4;
    return adapter.ToHf(native_, options).value();
  }

  const StateDict native_ = Native();
};

TEST_F(ExpertLoraTest, EveryFormComesBackAndIsToldByItsShapes) {
  for (const char* peft_layout : {"0.18", "0.19"}) {
    for (bool param_wrapper : {true, false}) {
      for (bool v4 : {true, false}) {
        const StateDict hf =
            ToHf(*Adapter(Moe(peft_layout), param_wrapper), v4);
        EXPECT_EQ(hf.size(), param_wrapper && !v4 ? 4u : 18u);
        ASSERT_OK_AND_ASSIGN(const StateDict back,
                             Adapter(Moe())->FromHf(hf, {}));
        EXPECT_EQ(Difference(back, native_), "");
      }
    }
  }
}

TEST_F(ExpertLoraTest, FoldsRowsByExpertAndColumnsByRank) {
  const StateDict hf = ToHf(*Adapter(Moe("0.18"), true), false);
  const std::string layer = absl::StrCat("base_model.model.", kLayer);
  const std::string down_a =
      ReadAll(*native_.Find(layer + "lora_down_A")).value();
  const std::string lora_b = ReadAll(*hf.Find(layer + "lora_B.weight")).value();
  for (int e = 0; e < 3; ++e) {
    for (int i = 0; i < 4; ++i) {
      for (int k = 0; k < 2; ++k) {
        EXPECT_EQ(lora_b.substr((i * 6 + k * 3 + e) * 4, 4),
                  down_a.substr(((e * 4 + i) * 2 + k) * 4, 4));
      }
    }
  }
}

TEST_F(ExpertLoraTest, AsksForTheLayoutWhereShapesCannotTell) {
  StateDict hf;  // of gate_up alone, where 2I is H
  MoeOptions moe = Moe();
  moe.intermediate.size = 3;
  Add(&hf, "layers.0.mlp.experts.base_layer.lora_A.weight", {6, 6});
  Add(&hf, "layers.0.mlp.experts.base_layer.lora_B.weight", {6, 6});
  EXPECT_THAT(Adapter(moe)->FromHf(hf, {}),
              StatusIs(kInvalid, HasSubstr("peft_layout")));
  moe.peft_layout = "0.18";
  ASSERT_OK_AND_ASSIGN(const StateDict native, Adapter(moe)->FromHf(hf, {}));
  EXPECT_THAT(Names(native),
              ElementsAre("layers.0.mlp.experts.lora_gate_and_up_A",
                          "layers.0.mlp.experts.lora_gate_and_up_B"));
  StateDict neither;
  Add(&neither, "layers.0.mlp.experts.lora_A.weight", {6, 5});
  EXPECT_THAT(Adapter(Moe())->FromHf(neither, {}),
              StatusIs(kInvalid, HasSubstr("neither")));
}

TEST_F(ExpertLoraTest, GateAndUpMustShareTheirAUnlessAskedNotTo) {
  StateDict unlike;
  for (const auto& [name, tensor] : ToHf(*Adapter(Moe()), true)) {
    const bool up = absl::StrContains(name, ".1.up_proj.lora_A");
    ASSERT_OK(unlike.Insert(
        name, up ? Random(tensor.dtype(), tensor.shape()) : tensor));
  }
  ASSERT_OK_AND_ASSIGN(const StateDict native,
                       Adapter(Moe())->FromHf(unlike, {}));
  EXPECT_THAT(ReadAll(native.begin()->tensor),
              StatusIs(kInvalid, AllOf(HasSubstr("1.gate_proj.lora_A"),
                                       HasSubstr("1.up_proj.lora_A"))));
  MoeOptions moe = Moe();
  moe.gate_lora_a = true;
  ASSERT_OK_AND_ASSIGN(const StateDict gates, Adapter(moe)->FromHf(unlike, {}));
  EXPECT_EQ(Difference(gates, native_), "");
}

TEST_F(ExpertLoraTest, ReadsEqualCopiesOfA) {
  StateDict copies;
  for (const auto& [name, tensor] : ToHf(*Adapter(Moe()), true)) {
    ASSERT_OK(
        copies.Insert(name, Tensor::FromBytes(tensor.dtype(), tensor.shape(),
                                              ReadAll(tensor).value())
                                .value()));
  }
  ASSERT_OK_AND_ASSIGN(const StateDict native,
                       Adapter(Moe())->FromHf(copies, {}));
  EXPECT_EQ(Difference(native, native_), "");
}

TEST_F(ExpertLoraTest, FollowsTheRank) {
  const FromHfOptions rank = Rank(2, 1);
  for (bool v4 : {true, false}) {
    const StateDict hf = ToHf(*Adapter(Moe(), true), v4);
    ASSERT_OK_AND_ASSIGN(const StateDict share,
                         Adapter(Moe())->FromHf(hf, rank));
    EXPECT_EQ(share.size(), 4u);
    for (const auto& [name, tensor] : share) EXPECT_EQ(tensor.shape()[0], 1);
    ToHfOptions options;
    options.device_mesh = rank.device_mesh;
    EXPECT_THAT(Adapter(Moe(), true)->ToHf(share, options),
                StatusIs(kInvalid, HasSubstr("a share of them")));
    options.v4_compatible = true;
    EXPECT_OK(Adapter(Moe(), true)->ToHf(share, options));
  }
}

TEST_F(ExpertLoraTest, RefusesAnIncompleteSet) {
  StateDict hf;
  for (const auto& [name, tensor] : ToHf(*Adapter(Moe()), true)) {
    if (absl::StrContains(name, ".1.up_proj.lora_B")) continue;
    ASSERT_OK(hf.Insert(name, tensor));
  }
  EXPECT_THAT(Adapter(Moe())->FromHf(hf, {}),
              StatusIs(kInvalid, AllOf(HasSubstr("lora_gate_and_up_B"),
                                       HasSubstr("1.up_proj.lora_B"))));
}

TEST_F(ExpertLoraTest, RefusesTwoSpellingsOfOneExpert) {
  const std::string layer = absl::StrCat("base_model.model.", kLayer);
  for (const char* spelling : {"02", "+2"}) {
    StateDict hf = ToHf(*Adapter(Moe()), true);
    const std::string other =
        absl::StrCat(layer, spelling, ".down_proj.lora_A.weight");
    Add(&hf, other, {2, 4}, DType::kF32);
    const auto code = spelling[0] == '+' ? kInvalid : kExists;
    EXPECT_THAT(Adapter(Moe())->FromHf(hf, {}),
                StatusIs(code, HasSubstr(other)));
  }
}

TEST_F(ExpertLoraTest, RefusesWhatTheConfigDoesNotExplain) {
  EXPECT_THAT(TablesTest::ToHf(Moe(), "layers.0.mlp.experts.lora_gate_and_up_B",
                               {3, 2, 10}),
              StatusIs(kInvalid, HasSubstr("expected 8")));
  StateDict both = ToHf(*Adapter(Moe()), true);
  const std::string layer = absl::StrCat("base_model.model.", kLayer);
  Add(&both, layer + "lora_A.weight", {6, 4}, DType::kF32);
  Add(&both, layer + "lora_B.weight", {6, 6}, DType::kF32);
  EXPECT_THAT(Adapter(Moe())->FromHf(both, {}),
              StatusIs(kExists, HasSubstr("lora_down_A")));
  StateDict odd;
  Add(&odd, "layers.0.mlp.experts.lora_A.weight", {7, 4});
  EXPECT_THAT(Adapter(Moe())->FromHf(odd, {}),
              StatusIs(kInvalid, HasSubstr("a multiple of 3 experts")));
}

using BlockFp8Test = TablesTest;

TEST_F(BlockFp8Test, MultipliesAndDropsTheScale) {
  StateDict hf;
  Add(&hf, "a.weight", {130, 4}, DType::kF8E4M3);
  // More blocks than the weight has: the reference ignores them.
  Add(&hf, "a.weight_scale_inv", {3, 2}, DType::kF32);
  Add(&hf, "b.bias", {4}, DType::kF8E4M3);
  MoeOptions moe = TestMoe();
  moe.dtype = DType::kF32;
  ASSERT_OK_AND_ASSIGN(const StateDict native, Adapter(moe)->FromHf(hf, {}));
  EXPECT_THAT(Names(native), ElementsAre("a.weight", "b.bias"));
  EXPECT_EQ(native.Find("a.weight")->dtype(), DType::kF32);
}

TEST_F(BlockFp8Test, RefusesAWeightWithoutItsWholeScale) {
  StateDict hf;
  Add(&hf, "a.weight", {130, 4}, DType::kF8E4M3);
  EXPECT_THAT(adapter_->FromHf(hf, {}),
              StatusIs(kInvalid, AllOf(HasSubstr("\"a.weight\""),
                                       HasSubstr("without a scale"))));
  Add(&hf, "a.weight_scale_inv", {1, 1}, DType::kF32);
  EXPECT_THAT(adapter_->FromHf(hf, {}),
              StatusIs(kInvalid,
                       AllOf(HasSubstr("\"a.weight\""), HasSubstr("[2, 1]"))));
}

TEST(MoeOptionsTest, FindsTheFieldsThatTheModelHas) {
  auto read = [](const char* config, const char* options) {
    return ReadMoeOptions(ModelConfig::Parse(config).value(),
                          JsonFields::Parse(options, "options").value());
  };
  constexpr char kGood[] = R"({"num_experts": 8, "moe_intermediate_size": 4})";
  ASSERT_OK_AND_ASSIGN(const MoeOptions good, read(kGood, "{}"));
  EXPECT_EQ(good.experts.size, 8);
  EXPECT_FALSE(good.dtype.has_value());
  EXPECT_EQ(read(kGood, R"({"dtype": "float32"})")->dtype, DType::kF32);
  for (const char* field :
       {"num_local_experts", "n_routed_experts", "moe_num_experts"}) {
    const std::string config =
        absl::StrReplaceAll(kGood, {{"num_experts", field}});
    EXPECT_EQ(read(config.c_str(), "{}")->experts.size, 8);
  }
  EXPECT_EQ(read("{}", R"({"num_experts": 3, "moe_intermediate_size": 5})")
                ->intermediate.size,
            5);
}

TEST(MoeOptionsTest, NamesTheFieldThatIsWrong) {
  const struct {
    const char* config;
    const char* options;
    const char* said;
  } kCases[] = {
      {R"({"num_experts": "8"})", "{}", "\"num_experts\": found \"8\""},
      {R"({"num_experts": 8})", "{}", "\"moe_intermediate_size\""},
      {R"({"moe_intermediate_size": 8})", "{}", "\"n_routed_experts\""},
      {R"({"num_experts": 8, "num_local_experts": 9})", "{}",
       "found 9, expected 8"},
      {R"({"num_experts": 8, "moe_intermediate_size": 4})",
       R"({"dtype": "int8"})", "int8"},
      {R"({"num_experts": 8, "moe_intermediate_size": 4})",
       R"({"uses_model_prefix": 1})", "uses_model_prefix"},
      {R"({"num_experts": 8, "moe_intermediate_size": 4})",
       R"({"expert_layout": "split"})", "per_expert or fused"},
      {R"({"num_experts": 8, "moe_intermediate_size": 4})",
       R"({"peft_layout": "0.20"})", "0.19 or 0.18"},
  };
  for (const auto& c : kCases) {
    const auto read =
        ReadMoeOptions(ModelConfig::Parse(c.config).value(),
                       JsonFields::Parse(c.options, "options").value());
    EXPECT_THAT(std::string(read.status().message()), HasSubstr(c.said));
  }
}

TEST(MoeOptionsTest, KnowsWhichLayersTheConfigSaysToBeMixtures) {
  auto sparse = [](const char* rest) {
    const std::string config = absl::StrCat(
        R"({"num_experts": 8, "moe_intermediate_size": 4,
            "num_hidden_layers": 6, )",
        rest, "}");
    const MoeOptions moe =
        ReadMoeOptions(ModelConfig::Parse(config).value(), {}).value();
    std::string layers;
    for (int layer = 0; layer < 8; ++layer) {
      if (moe.sparse(layer)) absl::StrAppend(&layers, layer);
    }
    return layers;
  };
  EXPECT_EQ(sparse(R"("first_k_dense_replace": 2)"), "2345");
  EXPECT_EQ(sparse(R"("first_k_dense_replace": 0, "moe_layer_freq": 2)"),
            "024");
  EXPECT_EQ(sparse(R"("moe_layer_freq": [0, 1, 0, 1])"), "13");
  EXPECT_EQ(sparse(R"("mlp_layer_types": ["dense", "sparse", "sparse"])"),
            "12");
  EXPECT_EQ(sparse(R"("decoder_sparse_step": 2)"), "135");
  EXPECT_EQ(sparse(R"("decoder_sparse_step": 1, "mlp_only_layers": [0, 5])"),
            "1234");
}

}  // namespace
}  // namespace windlass
