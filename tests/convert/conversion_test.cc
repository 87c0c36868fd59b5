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
#include "windlass/tests/testing/files.h"
#include "windlass/tests/testing/status_matchers.h"
#include "windlass/tests/testing/tensors.h"

namespace windlass {
namespace {

using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::HasSubstr;

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
    ASSERT_OK_AND_ASSIGN(const Conversion writing,
                         Conversion::Plan(in_place, {}, /*dry_run=*/false));
    EXPECT_THAT(Convert(request_), busy);
    EXPECT_THAT(Convert(in_place), busy);
    ASSERT_OK(writing.Run({}));
  }
  ASSERT_OK_AND_ASSIGN(const ConversionReport again, Convert(in_place));
  EXPECT_TRUE(again.already_converted);
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
