// What reads input that others wrote does ten times the work for ten times as
// much of it, not a hundred times.

#include <functional>
#include <ostream>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "windlass/adapters/common/expert_tables.h"
#include "windlass/adapters/common/moe_options.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/model_config.h"
#include "windlass/core/state_dict.h"
#include "windlass/io/safetensors/header.h"
#include "windlass/io/safetensors/index.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/testing/tensors.h"
#include "windlass/tests/testing/work.h"

namespace windlass {
namespace {

// `{` and `count` members that `member` makes and `}`.
std::string Object(int count, const std::function<std::string(int)>& member) {
  std::string text = "{";
  for (int i = 0; i < count; ++i) {
    absl::StrAppend(&text, i == 0 ? "" : ",", member(i));
  }
  return text + "}";
}

std::string Numbered(int i) { return absl::StrCat(10000000 + i); }

std::string TextMember(int i) {
  return absl::StrCat("\"key", Numbered(i), "\":\"value\"");
}

std::string TensorMember(int i) {
  return absl::StrCat("\"tensor", Numbered(i),
                      R"(":{"dtype":"U8","shape":[0],"data_offsets":[0,0]})");
}

StateDict Dict(int count, const std::function<std::string(int)>& name) {
  std::mt19937 random(1);
  StateDict dict;
  for (int i = 0; i < count; ++i) {
    EXPECT_OK(
        dict.Insert(name(i), RandomTensor(DType::kBF16, {2, 2}, &random)));
  }
  return dict;
}

MoeOptions Moe(int experts) {
  MoeOptions moe;
  moe.experts = {"E", experts, "test"};
  moe.intermediate = {"I", 2, "test"};
  moe.hidden = {"H", -1, ""};
  return moe;
}

absl::StatusOr<StateDict> FromHf(int experts, const StateDict& hf) {
  return MakeLayoutAdapter(ExpertStages(Moe(experts), false))
      .value()
      ->FromHf(hf, {});
}

// Experts of one layer last first, so that they must be sorted.
std::string ExpertName(int count, int i, const char* ending) {
  return absl::StrCat("layers.0.mlp.experts.", count - 1 - i, ending);
}

struct Reader {
  const char* name;
  // Makes input of a size, and what reads it.
  std::function<std::function<absl::Status()>(int)> make;
};

std::ostream& operator<<(std::ostream& out, const Reader& reader) {
  return out << reader.name;
}

template <typename Parse>
std::function<absl::Status()> Reading(std::string text, Parse parse) {
  return [text = std::move(text), parse] { return parse(text).status(); };
}

std::vector<Reader> Readers() {
  const auto index = [](const std::string& text) {
    return ParseWeightMap(text);
  };
  const auto header = [](const std::string& text) {
    return ParseSafetensorsHeader(text, 0);
  };
  return {
      {"header_metadata",
       [=](int n) {
         return Reading(
             absl::StrCat("{\"__metadata__\":", Object(n, TextMember), "}"),
             header);
       }},
      {"header_tensors",
       [=](int n) { return Reading(Object(n, TensorMember), header); }},
      {"header_unknown_fields",
       [=](int n) {
         return Reading(absl::StrCat("{\"t\":{\"dtype\":\"U8\",\"shape\":[0],"
                                     "\"data_offsets\":[0,0],\"x\":",
                                     Object(n, TextMember), "}}"),
                        header);
       }},
      {"header_dimensions",
       [=](int n) {
         std::string ones;
         for (int i = 0; i < n; ++i) ones += "1,";
         return Reading(absl::StrCat("{\"t\":{\"dtype\":\"U8\",\"shape\":[",
                                     ones, "0],\"data_offsets\":[0,0]}}"),
                        header);
       }},
      {"index",
       [=](int n) {
         return Reading(
             absl::StrCat("{\"weight_map\":", Object(n, TextMember), "}"),
             index);
       }},
      {"index_metadata",
       [=](int n) {
         return Reading(absl::StrCat("{\"weight_map\":{},\"metadata\":",
                                     Object(n, TextMember), "}"),
                        index);
       }},
      {"index_of_many_files",
       [=](int n) {
         const auto member = [](int i) {
           return absl::StrCat("\"key", Numbered(i), "\":\"file", Numbered(i),
                               "\"");
         };
         return Reading(
             absl::StrCat("{\"weight_map\":", Object(n, member), "}"), index);
       }},
      {"config",
       [](int n) {
         return Reading(Object(n, TextMember), [](const std::string& text) {
           return ModelConfig::Parse(text);
         });
       }},
      {"fields",
       [](int n) {
         return Reading(Object(n, TextMember), [](const std::string& text) {
           return JsonFields::Parse(text, "options");
         });
       }},
      {"experts",
       [](int n) {
         return [n, dict = std::make_shared<StateDict>(Dict(n, [n](int i) {
                      return ExpertName(n, i, ".down_proj.weight");
                    }))] {
           // Incomplete: without gate and up.
           return FromHf(n, *dict).ok() ? absl::InternalError("taken")
                                        : absl::OkStatus();
         };
       }},
      {"layers_of_one_expert",
       [](int n) {
         return [n, dict = std::make_shared<StateDict>(Dict(n, [](int i) {
                      return absl::StrCat("layers.", i,
                                          ".mlp.experts.0.down_proj.weight");
                    }))] {
           return FromHf(n, *dict).ok() ? absl::InternalError("taken")
                                        : absl::OkStatus();
         };
       }},
      {"expert_lora",
       [](int n) {
         return [n, dict = std::make_shared<StateDict>(Dict(n, [n](int i) {
                      return ExpertName(n, i, ".down_proj.lora_A.weight");
                    }))] {
           // Incomplete: without lora_B.
           return FromHf(n, *dict).ok() ? absl::InternalError("taken")
                                        : absl::OkStatus();
         };
       }},
      {"lora_layers_of_one_expert",
       [](int n) {
         return
             [n, dict = std::make_shared<StateDict>(Dict(n, [](int i) {
                   return absl::StrCat(
                       "layers.", i, ".mlp.experts.0.down_proj.lora_A.weight");
                 }))] {
               return FromHf(n, *dict).ok() ? absl::InternalError("taken")
                                            : absl::OkStatus();
             };
       }},
      {"names_that_meet",
       [](int n) {
         return [dict = std::make_shared<StateDict>(Dict(n, Numbered))] {
           StateDictBuilder builder;
           for (const auto& [name, tensor] : *dict) {
             const absl::Status added = builder.Add(name, tensor, name);
             if (!added.ok()) return added;
           }
           const NamedTensor& first = *dict->begin();
           return builder.Add(first.name, first.tensor, "other").ok()
                      ? absl::InternalError("taken")
                      : absl::OkStatus();
         };
       }},
  };
}

class LinearWorkTest : public ::testing::TestWithParam<Reader> {};

TEST_P(LinearWorkTest, TenTimesTheInputIsTenTimesTheWork) {
  Work few, many;
  for (auto [count, work] : {std::make_pair(1000, &few), {10000, &many}}) {
    const std::function<absl::Status()> read = GetParam().make(count);
    WorkCounter counter;
    ASSERT_OK(read());
    *work = counter.work();
  }
  // Sorting takes a third more for each, and a fixed part little.
  EXPECT_LE(many.comparisons, 15 * few.comparisons + 1000);
  EXPECT_LE(many.allocations, 15 * few.allocations + 1000);
  EXPECT_LE(many.peak, 20 * few.peak + (1 << 20));
  // Not so for a counter that counts nothing.
  EXPECT_GT(few.allocations, 0);
}

INSTANTIATE_TEST_SUITE_P(Readers, LinearWorkTest,
                         ::testing::ValuesIn(Readers()), [](const auto& info) {
                           return std::string(info.param.name);
                         });

}  // namespace
}  // namespace windlass
