#include "windlass/io/inspection.h"

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/core/dtype.h"
#include "windlass/core/state_dict.h"
#include "windlass/core/tensor.h"
#include "windlass/io/safetensors/header.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/tests/testing/files.h"

namespace windlass {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kIndex[] = "model.safetensors.index.json";
constexpr char kFirst[] = "model-00001-of-00002.safetensors";
constexpr char kSecond[] = "model-00002-of-00002.safetensors";

class InspectionTest : public ::testing::Test {
 protected:
  ~InspectionTest() override { std::filesystem::remove_all(folder_); }

  // Tensors of two bytes' worth of each dtype, one after the other.
  static StateDict Dict(
      const std::vector<std::pair<std::string, DType>>& named) {
    StateDict dict;
    for (const auto& [name, dtype] : named) {
      EXPECT_OK(dict.Insert(
          name, Tensor::FromBytes(dtype, {2},
                                  std::string(2 * DTypeBits(dtype) / 8, '\0'))
                    .value()));
    }
    return dict;
  }

  void Write(const std::string& name, absl::string_view contents) {
    WriteTestFile(folder_ + "/" + name, contents);
  }

  // Two shards of a tensor each, and an index that says `weight_map`.
  void WriteIndexed(const std::string& weight_map) {
    Write(kFirst, SafetensorsBytes(Dict({{"a", DType::kU8}})));
    Write(kSecond, SafetensorsBytes(Dict({{"b", DType::kU8}})));
    Write(kIndex, "{\"weight_map\":{" + weight_map + "}}");
  }

  const std::string folder_ = MakeTestFolder();
};

std::string In(const char* tensor, const char* file) {
  return absl::StrCat("\"", tensor, "\":\"", file, "\"");
}

TEST_F(InspectionTest, SaysInWhichFileEachTensorLies) {
  WriteIndexed(In("a", kFirst) + "," + In("b", kSecond));
  ASSERT_OK_AND_ASSIGN(const Inspection found, Inspect(folder_));
  EXPECT_THAT(found.tensors,
              ElementsAre(AllOf(Field(&InspectedTensor::name, "a"),
                                Field(&InspectedTensor::shard, 0)),
                          AllOf(Field(&InspectedTensor::name, "b"),
                                Field(&InspectedTensor::shard, 1),
                                Field(&InspectedTensor::shards, 1))));
  EXPECT_EQ(found.checkpoint.index_name, kIndex);
  EXPECT_THAT(found.problems, IsEmpty());
  EXPECT_THAT(found.index.unlisted, IsEmpty());
}

TEST_F(InspectionTest, AnIndexThatDoesNotFitIsAProblemAndNoError) {
  struct Row {
    std::string weight_map;
    std::vector<std::string> unlisted, missing, misplaced;
  };
  const Row rows[] = {
      {In("a", kFirst), {"b"}, {}, {}},
      {In("a", kFirst) + "," + In("b", kFirst), {}, {}, {"b"}},
      {In("a", kFirst) + "," + In("b", kSecond) + "," + In("c", kSecond) + "," +
           In("d", kFirst),
       {},
       {"c", "d"},
       {}},
      {In("b", kFirst) + "," + In("x", kSecond), {"a"}, {"x"}, {"b"}},
      // Files that are not there.
      {In("a", kFirst) + "," + In("b", kSecond) + "," +
           In("c", "no.safetensors"),
       {},
       {"c"},
       {}},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.weight_map);
    WriteIndexed(row.weight_map);
    ASSERT_OK_AND_ASSIGN(const Inspection found, Inspect(folder_));
    EXPECT_EQ(found.tensors.size(), 2u);
    EXPECT_THAT(found.problems, ElementsAre(HasSubstr(kIndex)));
    EXPECT_EQ(found.index.unlisted, row.unlisted);
    EXPECT_EQ(found.index.missing, row.missing);
    EXPECT_EQ(found.index.misplaced, row.misplaced);
  }
}

TEST_F(InspectionTest, AnIndexThatIsNoneIsAProblemToo) {
  WriteIndexed("");
  Write(kIndex, "<html>");
  ASSERT_OK_AND_ASSIGN(const Inspection found, Inspect(folder_));
  EXPECT_EQ(found.tensors.size(), 2u);
  ASSERT_FALSE(found.problems.empty());
  EXPECT_THAT(found.problems[0], HasSubstr(kIndex));
}

TEST_F(InspectionTest, WhatCannotBeOpenedIsTheErrorOfOpening) {
  EXPECT_THAT(Inspect(folder_ + "/nowhere"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("nowhere")));
  WriteIndexed(In("a", kFirst) + "," + In("b", kSecond));
  Write(kSecond, "version https://git-lfs.github.com/spec/v1\n");
  EXPECT_THAT(Inspect(folder_), StatusIs(absl::StatusCode::kInvalidArgument,
                                         HasSubstr("Git LFS")));
}

TEST_F(InspectionTest, FindsWhatIsQuantisedAndByWhichScales) {
  Write("config.json",
        R"({"text_config": {"quantization_config": {"quant_method": "fp8"}}})");
  struct Row {
    const char* name;
    DType dtype;
    bool quantised;
    const char* scales;
  };
  const Row rows[] = {
      {"a.weight", DType::kF8E4M3, true, "a.weight_scale_inv"},
      {"a.weight_scale_inv", DType::kF32, false, ""},
      {"b.weight_packed", DType::kI32, true, "b.weight_scale"},
      {"b.weight_scale", DType::kF16, false, ""},
      {"c.weight", DType::kU8, true, "c.weight_scale"},
      {"c.weight_scale", DType::kF8E4M3, false, ""},
      {"d_blocks", DType::kU8, true, "d_scales"},
      {"d_scales", DType::kU8, false, ""},
      {"e.qweight", DType::kI32, true, "e.scales"},
      {"e.scales", DType::kF16, false, ""},
      {"f.weight", DType::kI8, true, "f.scale"},
      {"f.scale", DType::kF8E8M0, false, ""},
      {"g.weight", DType::kI8, true, "g.SCB"},
      {"g.SCB", DType::kF32, false, ""},
      {"h.weight", DType::kF8E5M2, true, ""},
      // Weights beside something that is called a scale.
      {"i.weight", DType::kBF16, false, ""},
      {"i.weight_scale", DType::kF32, false, ""},
      {"position_ids", DType::kI64, false, ""},
      {"mask", DType::kBool, false, ""},
  };
  std::vector<std::pair<std::string, DType>> named;
  for (const Row& row : rows) named.emplace_back(row.name, row.dtype);
  Write("model.safetensors", SafetensorsBytes(Dict(named)));
  ASSERT_OK_AND_ASSIGN(const Inspection found, Inspect(folder_));
  EXPECT_EQ(found.quantisation, "fp8");
  ASSERT_EQ(found.tensors.size(), named.size());
  for (const InspectedTensor& tensor : found.tensors) {
    const Row* row = nullptr;
    for (const Row& candidate : rows) {
      if (tensor.name == candidate.name) row = &candidate;
    }
    ASSERT_NE(row, nullptr);
    EXPECT_EQ(tensor.quantised, row->quantised) << row->name;
    EXPECT_EQ(tensor.scales, row->scales) << row->name;
  }
}

TEST_F(InspectionTest, FindsWhatIsTied) {
  const StateDict tensors = Dict({{"model.embed_tokens.weight", DType::kBF16}});
  const auto tied = [](const char* name, const char* said_by) {
    return AllOf(Field(&TiedTensor::name, name),
                 Field(&TiedTensor::to, "model.embed_tokens.weight"),
                 Field(&TiedTensor::said_by, said_by));
  };
  Write("config.json", R"({"tie_word_embeddings": true})");
  Write("model.safetensors", SafetensorsBytes(tensors));
  ASSERT_OK_AND_ASSIGN(const Inspection by_config, Inspect(folder_));
  EXPECT_THAT(by_config.tied,
              ElementsAre(tied("lm_head.weight", "config.json")));

  Write("model.safetensors",
        absl::StrCat(
            SerializeSafetensorsHeader(
                {{"head", "model.embed_tokens.weight"}, {"format", "pt"}},
                std::vector<SafetensorsEntry>{
                    {"model.embed_tokens.weight", DType::kU8, {1}, 0, 1},
                    {"lm_head.weight", DType::kU8, {1}, 1, 2}}),
            "xy"));
  ASSERT_OK_AND_ASSIGN(const Inspection by_metadata, Inspect(folder_));
  EXPECT_THAT(by_metadata.tied,
              ElementsAre(tied("head", "the files' metadata")));
  EXPECT_THAT(by_metadata.metadata,
              ElementsAre(Field(&FileMetadata::key, "head"),
                          AllOf(Field(&FileMetadata::key, "format"),
                                Field(&FileMetadata::value, "pt"),
                                Field(&FileMetadata::files, 1))));
}

TEST_F(InspectionTest, AConfigThatCannotBeReadIsAProblem) {
  Write("model.safetensors", SafetensorsBytes(Dict({{"a", DType::kU8}})));
  Write("config.json", "{");
  ASSERT_OK_AND_ASSIGN(const Inspection found, Inspect(folder_));
  EXPECT_EQ(found.tensors.size(), 1u);
  EXPECT_THAT(found.problems, ElementsAre(HasSubstr("config.json")));
}

}  // namespace
}  // namespace windlass
