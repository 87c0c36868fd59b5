// What every adapter must hold, over models that its own tables describe: tests
// of each adapter that is linked in. A new one needs no line here.
//
//   cc_test(
//       name = "my_model_test",
//       deps = [":my_model", "@windlass//testing:adapter_properties",
//               "@googletest//:gtest_main"],
//   )

#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/json.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/layout_evidence.h"
#include "windlass/core/layout_stage.h"
#include "windlass/core/layout_table.h"
#include "windlass/core/model_config.h"
#include "windlass/core/state_dict.h"
#include "windlass/core/state_dict_adapter.h"
#include "windlass/core/tensor_ops.h"
#include "windlass/testing/layout_example.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/testing/tensors.h"

namespace windlass {
namespace {

constexpr int kSeeds = 15;

// Sets numbers and sizes of experts wherever the config has them.
void SetExperts(int experts, int intermediate, Json* config) {
  for (const auto& [field, value] : config->items()) {
    if (value.is_object()) SetExperts(experts, intermediate, &value);
    for (const char* name : {"num_experts", "num_local_experts",
                             "n_routed_experts", "moe_num_experts"}) {
      if (field == name) value = experts;
    }
    for (const char* name : {"moe_intermediate_size", "intermediate_size"}) {
      if (field == name) value = intermediate;
    }
  }
}

// The adapter's example with other experts.
ModelConfig Config(const AdapterInfo& info, std::mt19937* random) {
  auto pick = [random](int low, int high) {
    return std::uniform_int_distribution<int>(low, high)(*random);
  };
  Json config = ParseJson(info.example_config).value();
  const int experts = pick(2, 7);
  SetExperts(experts, 2 * pick(1, 8), &config);
  return ModelConfig::Parse(config.dump()).value();
}

// Options under which everything can be given back, where an adapter has them.
JsonFields Options(const AdapterInfo& info, bool shares) {
  const struct {
    const char* option;
    const char* value;
    bool always;
  } kOptions[] = {
      {"export_fp8", "false", true},
      // Fused experts are all or none: a rank's share has no form in HF.
      {"expert_layout", R"("per_expert")", false},
      // A tensor alone does not say what the model's other names are like.
      {"uses_model_prefix", "true", true},
      // Nothing gives back what rounding took.
      {"quantize_experts", "false", true},
  };
  std::vector<std::string> fields;
  for (const AdapterOption& option : info.options) {
    for (const auto& o : kOptions) {
      if (option.name == o.option && (o.always || !shares)) {
        fields.push_back(absl::StrCat("\"", o.option, "\": ", o.value));
      }
    }
  }
  return JsonFields::Parse(absl::StrCat("{", absl::StrJoin(fields, ", "), "}"),
                           "options")
      .value();
}

// Whether tensors stand elsewhere in HF than where they came from.
bool MovesInHf(const std::vector<LayoutStage>& stages) {
  return absl::c_any_of(stages, [](const LayoutStage& stage) {
    const LayoutTable* table = stage.impl()->table();
    return table != nullptr &&
           absl::c_any_of(table->rows(), [](const LayoutTable::Row& row) {
             return row.at_end_in_hf;
           });
  });
}

bool IsTaken(const StateDictAdapter& adapter, const StateDict& hf) {
  const absl::Status taken = adapter.FromHf(hf, {}).status();
  EXPECT_TRUE(taken.ok() || absl::IsInvalidArgument(taken)) << taken;
  return taken.ok();
}

bool HasOption(const AdapterInfo& info, absl::string_view name) {
  return absl::c_any_of(info.options, [name](const AdapterOption& option) {
    return option.name == name;
  });
}

class AdapterPropertyTest : public ::testing::TestWithParam<std::string> {
 protected:
  // Runs `check` over models of many sizes. Without `shares`, what no rank can
  // give back alone is left out.
  void ForEachModel(
      const std::function<void(const StateDictAdapter&, const StateDict& hf,
                               const StateDict& native)>& check,
      bool shares = true) {
    const AdapterInfo* info = *AdapterRegistry::FindByName(GetParam());
    for (int seed = 0; seed < kSeeds; ++seed) {
      SCOPED_TRACE(absl::StrCat("seed ", seed));
      std::mt19937 random(seed);
      ASSERT_OK_AND_ASSIGN(
          const auto adapter,
          AdapterRegistry::Create(*info, Config(*info, &random),
                                  Options(*info, shares)));
      ASSERT_NE(adapter->stages(), nullptr);
      ASSERT_OK_AND_ASSIGN(StateDict hf,
                           ExampleHf(*adapter->stages(), shares, &random));
      // What no row is about, under the name that it has in HF.
      ASSERT_OK_AND_ASSIGN(const auto stray,
                           adapter->ConvertSingleTensorToHf(
                               "model.what.no.row.has",
                               RandomTensor(DType::kBF16, {3}, &random), {}));
      ASSERT_THAT(stray, ::testing::SizeIs(1));
      // A closed table has none.
      StateDict only;
      ASSERT_OK(only.Insert(stray[0].name, stray[0].tensor));
      if (IsTaken(*adapter, only)) {
        ASSERT_OK(hf.Insert(stray[0].name, stray[0].tensor));
      }
      ASSERT_OK_AND_ASSIGN(const StateDict native, adapter->FromHf(hf, {}));
      check(*adapter, hf, native);
    }
  }
};

TEST_P(AdapterPropertyTest, ToHfUndoesFromHf) {
  ForEachModel([](const StateDictAdapter& adapter, const StateDict& hf,
                  const StateDict& native) {
    ASSERT_OK_AND_ASSIGN(const StateDict back, adapter.ToHf(native, {}));
    EXPECT_EQ(Difference(Sorted(back), Sorted(hf)), "");
  });
}

TEST_P(AdapterPropertyTest, FromHfUndoesToHf) {
  ForEachModel([](const StateDictAdapter& adapter, const StateDict&,
                  const StateDict& native) {
    ASSERT_OK_AND_ASSIGN(const StateDict hf, adapter.ToHf(native, {}));
    ASSERT_OK_AND_ASSIGN(const StateDict back, adapter.FromHf(hf, {}));
    if (MovesInHf(*adapter.stages())) {
      EXPECT_EQ(Difference(Sorted(back), Sorted(native)), "");
    } else {
      EXPECT_EQ(Difference(back, native), "");
    }
  });
}

TEST_P(AdapterPropertyTest, NamesTellOfNoOtherLayout) {
  ForEachModel([](const StateDictAdapter& adapter, const StateDict& hf,
                  const StateDict& native) {
    const LayoutEvidence of_hf = FindLayoutEvidence(adapter, hf);
    const LayoutEvidence of_native = FindLayoutEvidence(adapter, native);
    EXPECT_EQ(of_hf.native, nullptr) << of_hf.native->name;
    EXPECT_EQ(of_native.hf, nullptr) << of_native.hf->name;
  });
}

TEST_P(AdapterPropertyTest, SingleTensorsAgreeWithTheWhole) {
  ForEachModel([](const StateDictAdapter& adapter, const StateDict&,
                  const StateDict& native) {
    ASSERT_OK_AND_ASSIGN(const StateDict whole, adapter.ToHf(native, {}));
    StateDict singles, known, expected;
    for (const auto& [name, tensor] : native) {
      ASSERT_OK_AND_ASSIGN(auto tensors,
                           adapter.ConvertSingleTensorToHf(name, tensor, {}));
      for (NamedTensor& named : tensors) {
        ASSERT_OK(singles.Insert(named.name, named.tensor));
        if (!whole.Contains(named.name)) continue;
        ASSERT_OK(known.Insert(named.name, named.tensor));
      }
    }
    // What is joined of several has other names where they come one by one.
    for (const auto& [name, tensor] : whole) {
      if (!singles.Contains(name)) continue;
      ASSERT_OK(expected.Insert(name, tensor));
    }
    if (MovesInHf(*adapter.stages())) {
      EXPECT_EQ(Difference(Sorted(known), Sorted(expected)), "");
    } else {
      EXPECT_EQ(Difference(known, expected), "");
    }
    ASSERT_OK_AND_ASSIGN(const StateDict back, adapter.FromHf(singles, {}));
    EXPECT_EQ(Difference(Sorted(back), Sorted(native)), "");
    ASSERT_OK_AND_ASSIGN(const auto keys, adapter.GetHfStateDictKeys(native));
    EXPECT_EQ(keys, Names(whole));
  });
}

TEST_P(AdapterPropertyTest, InputsStayAsTheyAre) {
  ForEachModel([](const StateDictAdapter& adapter, const StateDict& hf,
                  const StateDict& native) {
    const StateDict hf_before = hf.Copy();
    const StateDict native_before = native.Copy();
    ASSERT_OK(adapter.FromHf(hf, {}));
    ASSERT_OK(adapter.ToHf(native, {}));
    EXPECT_EQ(Difference(hf, hf_before), "");
    EXPECT_EQ(Difference(native, native_before), "");
  });
}

TEST_P(AdapterPropertyTest, RanksTogetherHoldExactlyTheWhole) {
  const AdapterInfo* info = *AdapterRegistry::FindByName(GetParam());
  if (!info->expert_parallel) return;
  // Where experts are fused in all of HF's forms, no rank can give back its
  // share of them.
  const bool fused = !HasOption(*info, "expert_layout");
  ForEachModel(
      [fused](const StateDictAdapter& adapter, const StateDict& hf,
              const StateDict& native) {
        for (int ep_size : {2, 3}) {
          std::map<std::string, std::vector<Tensor>> parts;
          std::map<std::string, Tensor> union_hf;
          for (int rank = 0; rank < ep_size; ++rank) {
            DeviceMesh mesh;
            mesh.ep_size = ep_size;
            mesh.ep_rank = rank;
            ASSERT_OK_AND_ASSIGN(const StateDict share,
                                 adapter.FromHf(hf, FromHfOptions{mesh}));
            for (const auto& [name, tensor] : share)
              parts[name].push_back(tensor);
            if (fused) continue;
            ToHfOptions options;
            options.device_mesh = mesh;
            ASSERT_OK_AND_ASSIGN(const StateDict back,
                                 adapter.ToHf(share, options));
            for (const auto& [name, tensor] : back)
              union_hf.emplace(name, tensor);
          }
          StateDict whole, joined_hf;
          for (const auto& [name, tensor] : native) {
            const bool split = parts[name][0].shape() != tensor.shape();
            ASSERT_OK_AND_ASSIGN(
                Tensor joined,
                split ? Concat(parts[name], 0)
                      : absl::StatusOr<Tensor>(parts[name].front()));
            ASSERT_OK(whole.Insert(name, joined));
          }
          EXPECT_EQ(Difference(whole, native), "");
          if (fused) continue;
          for (auto& [name, tensor] : union_hf) {
            ASSERT_OK(joined_hf.Insert(name, tensor));
          }
          EXPECT_EQ(Difference(joined_hf, Sorted(hf)), "");
        }
      },
      /*shares=*/fused);
}

TEST_P(AdapterPropertyTest, EpShardsTogetherHoldExactlyTheWhole) {
  constexpr int kSize = 2;
  ForEachModel([](const StateDictAdapter& adapter, const StateDict& hf,
                  const StateDict& native) {
    std::vector<StateDict> shards;
    for (int rank = 0; rank < kSize; ++rank) {
      FromHfOptions options;
      options.device_mesh.ep_shard_size = kSize;
      options.device_mesh.ep_shard_rank = rank;
      ASSERT_OK_AND_ASSIGN(StateDict shard, adapter.FromHf(hf, options));
      ASSERT_EQ(Names(shard), Names(native));
      shards.push_back(std::move(shard));
    }
    StateDict joined;
    for (const auto& [name, tensor] : native) {
      std::vector<Tensor> parts;
      for (const StateDict& shard : shards) parts.push_back(*shard.Find(name));
      // What no shard has a share of, all of them have.
      ASSERT_OK_AND_ASSIGN(Tensor whole, parts[0].shape() == tensor.shape()
                                             ? absl::StatusOr<Tensor>(parts[1])
                                             : Concat(parts, 1));
      ASSERT_OK(joined.Insert(name, std::move(whole)));
    }
    EXPECT_EQ(Difference(joined, native), "");
  });
}

std::vector<std::string> AllNames() {
  std::vector<std::string> names;
  for (const AdapterInfo* info : AdapterRegistry::All()) {
    names.push_back(info->name);
  }
  return names;
}

INSTANTIATE_TEST_SUITE_P(All, AdapterPropertyTest,
                         ::testing::ValuesIn(AllNames()),
                         [](const ::testing::TestParamInfo<std::string>& info) {
                           return info.param;
                         });

}  // namespace
}  // namespace windlass
