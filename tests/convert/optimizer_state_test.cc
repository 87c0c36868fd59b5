#include "windlass/convert/optimizer_state.h"

#include <cstring>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/convert/conversion.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/json.h"
#include "windlass/core/layout_table.h"
#include "windlass/core/state_dict_adapter.h"
#include "windlass/io/checkpoint.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/testing/tensors.h"
#include "windlass/tests/testing/files.h"

namespace windlass {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Optional;
using ::testing::SizeIs;

constexpr char kCase[] = "tests/formats/data/optimizer/adam_qwen3_moe";

// The object that was saved, by its bytes.
std::string ReadObject(const StateDict& objects, const std::string& name) {
  const Tensor* object = objects.Find(name);
  return object == nullptr ? absl::StrCat("no ", name)
                           : ReadAll(*object).value();
}

class AdamTest : public ::testing::Test {
 protected:
  AdamTest() {
    request_.input = absl::StrCat(kCase, "/input");
    request_.output = folder_ + "/hf";
    request_.config = absl::StrCat(kCase, "/config.json");
    request_.to = Layout::kHf;
    request_.optimizer = true;
  }
  ~AdamTest() override { std::filesystem::remove_all(folder_); }

  const std::string folder_ = MakeTestFolder();
  ConversionRequest request_;
};

TEST_F(AdamTest, MomentsGoWhereTheirParametersGo) {
  request_.check = true;
  ASSERT_OK_AND_ASSIGN(const ConversionReport report, Convert(request_));
  EXPECT_THAT(report.losses, Optional(IsEmpty()));
  EXPECT_THAT(report.left_out_objects, SizeIs(24));
  ASSERT_OK_AND_ASSIGN(const Checkpoint found, OpenCheckpoint(request_.output));
  ASSERT_OK_AND_ASSIGN(
      const Checkpoint expected,
      OpenCheckpoint(absl::StrCat(kCase, "/expected.safetensors")));
  ASSERT_OK_AND_ASSIGN(
      const Json json,
      ParseJson(ReadTestFile(absl::StrCat(kCase, "/case.json"))));
  EXPECT_THAT(Names(found.tensors),
              ElementsAreArray(json["order"].get<std::vector<std::string>>()));
  EXPECT_EQ(Difference(Sorted(found.tensors), Sorted(expected.tensors)), "");
}

TEST_F(AdamTest, SettingsFollowThereAndBackWhereTheFormatHasObjects) {
  request_.save.format = "dcp";
  ASSERT_OK_AND_ASSIGN(ConversionReport report, Convert(request_));
  EXPECT_THAT(report.left_out_objects, IsEmpty());
  ASSERT_OK_AND_ASSIGN(const Checkpoint native, OpenCheckpoint(request_.input));
  ASSERT_OK_AND_ASSIGN(const Checkpoint hf, OpenCheckpoint(request_.output));
  EXPECT_THAT(hf.objects, SizeIs(28 * 3));
  const std::string kExperts = "optim.param_groups.model.layers.0.mlp.experts.";
  EXPECT_EQ(
      ReadObject(hf.object_bytes, kExperts + "3.up_proj.weight.betas"),
      ReadObject(native.object_bytes, kExperts + "gate_and_up_projs.betas"));
  request_.input = request_.output;
  request_.output = folder_ + "/native";
  request_.to = Layout::kNative;
  request_.save.num_shards = 2;
  ASSERT_OK(Convert(request_));
  ASSERT_OK_AND_ASSIGN(const Checkpoint back, OpenCheckpoint(request_.output));
  EXPECT_EQ(Difference(Sorted(back.tensors), Sorted(native.tensors)), "");
  EXPECT_EQ(Difference(Sorted(back.object_bytes), Sorted(native.object_bytes)),
            "");
}

TEST_F(AdamTest, TheSameLayoutKeepsObjectsWhereTheFormatHasThem) {
  request_.to = Layout::kSame;
  request_.config = "";
  request_.save.format = "dcp";
  ASSERT_OK(Convert(request_));
  ASSERT_OK_AND_ASSIGN(const Checkpoint in, OpenCheckpoint(request_.input));
  ASSERT_OK_AND_ASSIGN(const Checkpoint out, OpenCheckpoint(request_.output));
  EXPECT_EQ(Difference(out.tensors, in.tensors), "");
  EXPECT_EQ(Difference(out.object_bytes, in.object_bytes), "");
  request_.save.format = "safetensors";
  request_.output = folder_ + "/safetensors";
  ASSERT_OK_AND_ASSIGN(const ConversionReport report, Convert(request_));
  EXPECT_EQ(report.left_out_objects, in.objects);
}

TEST_F(AdamTest, IsNotTakenForAModel) {
  request_.optimizer = false;
  request_.adapter = "qwen2";
  EXPECT_THAT(Convert(request_).status(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("found an optimizer's state")));
}

TEST_F(AdamTest, ACheckpointOfAJobHasItsStateAndItsConfig) {
  namespace fs = std::filesystem;
  const std::string step = folder_ + "/job/epoch_0_step_3";
  fs::create_directories(step + "/model/.hf_metadata");
  fs::copy(absl::StrCat(kCase, "/input"), step + "/optim");
  fs::copy(absl::StrCat(kCase, "/config.json"),
           step + "/model/.hf_metadata/config.json");
  request_.input = folder_ + "/job";
  request_.config = "";
  ASSERT_OK_AND_ASSIGN(const ConversionReport report, Convert(request_));
  EXPECT_THAT(report.input, HasSubstr("epoch_0_step_3/optim"));
  EXPECT_EQ(report.adapter, "qwen3_moe");
}

// A table with a row of every kind, and state as small as can be.
class StateTest : public ::testing::Test {
 protected:
  StateTest() {
    const LayoutDim E = {"E", 2, "two"};
    LayoutTable table;
    table.Map({"e.{e}.w"}, {"es"}, {layout::Transpose(), layout::Stack("e", E)})
        .Map({"q"}, {"wq"}, {layout::Cast(DType::kBF16)})
        .Map({"half"}, {"whole"},
             {layout::OneWay("double", 1, 1, Double(), Double())})
        .Rename("a", "b");
    adapter_ = MakeLayoutAdapter({table}).value();
  }

  static LayoutOp::Function Double() {
    return [](const LayoutContext&, std::vector<Tensor>* tensors) {
      tensors->front() =
          Tensor::FromBytes(DType::kF32, {2}, std::string(8, 'x')).value();
      return absl::OkStatus();
    };
  }

  void Add(const std::string& name, float value, const Shape& shape) {
    const int64_t count = *ElementCount(shape);
    ASSERT_OK(tensors_.Insert(
        name,
        MakeTensor(DType::kF32, shape,
                   std::vector<float>(static_cast<size_t>(count), value))));
  }
  void AddObject(const std::string& name, const std::string& bytes) {
    ASSERT_OK(objects_.Insert(
        name, Tensor::FromBytes(DType::kU8,
                                {static_cast<int64_t>(bytes.size())}, bytes)
                  .value()));
  }
  absl::StatusOr<OptimizerState> Convert(bool to_hf) {
    return ConvertOptimizerState(
        tensors_, objects_, wrapper_names_, [&](const StateDict& parameters) {
          ToHfOptions to;
          to.optimizer_state = true;
          FromHfOptions from;
          from.optimizer_state = true;
          return to_hf ? adapter_->ToHf(parameters, to)
                       : adapter_->FromHf(parameters, from);
        });
  }

  std::unique_ptr<StateDictAdapter> adapter_;
  StateDict tensors_;
  StateDict objects_;
  WrapperNames wrapper_names_;
};

TEST_F(StateTest, GivesNumbersToEachPartAndCastsNothing) {
  Add("optim.state.wq.step", 3, {});
  Add("optim.state.wq.exp_avg", 1.0000001f, {4});
  Add("optim.state.es.step", 5, {});
  Add("optim.state.es.exp_avg", 2, {2, 3, 1});
  AddObject("optim.param_groups.es.lr", "lr");
  AddObject("optim.state.es.note", "of no tensor");
  AddObject("sched.last_epoch", "7");
  ASSERT_OK_AND_ASSIGN(const OptimizerState state, Convert(/*to_hf=*/true));
  EXPECT_THAT(Names(state.tensors),
              ElementsAre("optim.state.q.exp_avg", "optim.state.e.0.w.exp_avg",
                          "optim.state.e.1.w.exp_avg", "optim.state.q.step",
                          "optim.state.e.0.w.step", "optim.state.e.1.w.step"));
  EXPECT_EQ(state.tensors.Find("optim.state.q.exp_avg")->dtype(), DType::kF32);
  EXPECT_EQ(state.tensors.Find("optim.state.e.1.w.exp_avg")->shape(),
            Shape({1, 3}));
  EXPECT_EQ(ReadAll(*state.tensors.Find("optim.state.e.1.w.step")).value(),
            ReadAll(*tensors_.Find("optim.state.es.step")).value());
  EXPECT_THAT(
      Names(state.objects),
      ElementsAre("sched.last_epoch", "optim.state.e.0.w.note",
                  "optim.state.e.1.w.note", "optim.param_groups.e.0.w.lr",
                  "optim.param_groups.e.1.w.lr"));
}

TEST_F(StateTest, JoinedNumbersHaveToBeTheSame) {
  for (const char* e : {"0", "1"}) {
    Add(absl::StrCat("state.e.", e, ".w.exp_avg"), 1, {3, 2});
    Add(absl::StrCat("state.e.", e, ".w.step"), e[0], {});
  }
  ASSERT_OK_AND_ASSIGN(const OptimizerState state, Convert(/*to_hf=*/false));
  EXPECT_THAT(Names(state.tensors),
              ElementsAre("state.es.exp_avg", "state.es.step"));
  EXPECT_THAT(ReadAll(*state.tensors.Find("state.es.step")).status(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("\"state.e.0.w.step\" and "
                                 "\"state.e.1.w.step\": found different")));
}

TEST_F(StateTest, WrappersAreTakenOffParametersNames) {
  Add("optim.state.module._orig_mod.b.exp_avg", 1, {4});
  Add("optim.state.module._orig_mod.b.step", 1, {});
  ASSERT_OK_AND_ASSIGN(const OptimizerState state, Convert(/*to_hf=*/true));
  EXPECT_EQ(state.unwrapped, 1);
  EXPECT_THAT(Names(state.tensors),
              ElementsAre("optim.state.a.exp_avg", "optim.state.a.step"));
}

TEST_F(StateTest, ListsObjectsOfNoParameterItKnows) {
  Add("optim.state.b.exp_avg", 1, {4});
  AddObject("optim.param_groups.0.lr", "lr");
  AddObject("optim.param_groups.never_trained.lr", "lr");
  ASSERT_OK_AND_ASSIGN(const OptimizerState state, Convert(/*to_hf=*/true));
  EXPECT_THAT(state.objects, IsEmpty());
  EXPECT_THAT(state.left_out,
              ElementsAre("optim.param_groups.0.lr",
                          "optim.param_groups.never_trained.lr"));
}

TEST_F(StateTest, RefusesWhatDoesNotFollowParameters) {
  struct Entry {
    const char* name;
    Shape shape;
    DType dtype = DType::kF32;
  };
  const struct {
    const char* what;
    std::vector<Entry> entries;
    const char* message;
  } kCases[] = {
      {"no state", {{"model.b", {4}}}, "tensor \"model.b\": found F32 [4]"},
      {"a step alone", {{"state.b.step", {}}}, "no moment of the parameter"},
      {"a factored moment",
       {{"state.b.exp_avg", {4, 2}}, {"state.b.exp_avg_sq_row", {4}}},
       "found F32 [4], expected [4, 2] as \"state.b.exp_avg\" has"},
      {"codes",
       {{"state.b.state1", {4}, DType::kU8}},
       "found U8 [4], expected floats"},
      {"state within state",
       {{"state.b.exp_avg", {4}}, {"state.b.blocks.0", {2}}},
       "found state within that of the parameter \"b\""},
      {"a parameter that is multiplied",
       {{"state.half.exp_avg", {2}}},
       "state.*: tensor \"half\": found a parameter that is computed "
       "(double)"},
      {"a part of a joined parameter",
       {{"state.e.0.w.exp_avg", {3, 2}}},
       "found no \"e.1.w\""},
      {"a part without a number",
       {{"state.e.0.w.exp_avg", {3, 2}},
        {"state.e.1.w.exp_avg", {3, 2}},
        {"state.e.0.w.step", {}}},
       "tensor \"state.e.1.w.step\": found no such entry"},
      {"a setting of nobody",
       {{"state.b.exp_avg", {4}}, {"param_groups.c.lr", {}}},
       "tensor \"param_groups.c.lr\": found a setting"},
  };
  for (const auto& row : kCases) {
    tensors_ = StateDict();
    std::mt19937 random(1);
    for (const Entry& entry : row.entries) {
      ASSERT_OK(tensors_.Insert(
          entry.name, RandomTensor(entry.dtype, entry.shape, &random)));
    }
    EXPECT_THAT(
        Convert(/*to_hf=*/false).status(),
        StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(row.message)))
        << row.what;
  }
}

TEST_F(StateTest, RefusesAParameterThatIsMadeOfAnother) {
  LayoutTable table;
  table.Synthesize("head", "a", {});
  adapter_ = MakeLayoutAdapter({table}).value();
  Add("state.a.exp_avg", 1, {4});
  EXPECT_THAT(Convert(/*to_hf=*/false).status(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("tensor \"head\": found no state"),
                             HasSubstr("\"a\""))));
}

}  // namespace
}  // namespace windlass
