// Opens the folders of tests/field/data, made after public bug reports.

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/core/model_config.h"
#include "windlass/io/checkpoint.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/tests/testing/files.h"

namespace windlass {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string Folder(absl::string_view name) {
  return absl::StrCat("tests/field/data/", name);
}

TEST(FieldTest, RefusesWhatIsNotWhole) {
  const struct {
    const char* folder;
    absl::StatusCode code;
    std::vector<std::string> message;
  } kCases[] = {
      {"stale_index",
       absl::StatusCode::kNotFound,
       {"model.safetensors.index.json: expected ",
        "model-00001-of-00004.safetensors", "model-00001-of-00002.safetensors",
        "ignore the index"}},
      {"partial_index",
       absl::StatusCode::kFailedPrecondition,
       {"model.safetensors.index.json: names part of a model",
        "expected model-00002-of-00002.safetensors", "ignore the index"}},
      {"shard_of_2_alone",
       absl::StatusCode::kFailedPrecondition,
       {"found 1 of the 2 files", "model-00002-of-00002.safetensors"}},
      {"lfs_pointers",
       absl::StatusCode::kInvalidArgument,
       {"model-00002-of-00002.safetensors: found a Git LFS pointer",
        "git lfs pull"}},
      {"html_error_page",
       absl::StatusCode::kInvalidArgument,
       {"model-00002-of-00002.safetensors: found a web page",
        "fetch the file again"}},
  };
  for (const auto& test : kCases) {
    const auto opened = OpenCheckpoint(Folder(test.folder));
    for (const std::string& part : test.message) {
      EXPECT_THAT(opened, StatusIs(test.code, HasSubstr(part))) << test.folder;
    }
  }
}

TEST(FieldTest, ReadsTheShardsThatLieThereWhenToldToIgnoreTheIndex) {
  OpenOptions options;
  options.ignore_index = true;
  for (const char* folder : {"stale_index", "partial_index"}) {
    ASSERT_OK_AND_ASSIGN(const Checkpoint checkpoint,
                         OpenCheckpoint(Folder(folder), options));
    EXPECT_EQ(checkpoint.shards.size(), 2u) << folder;
    EXPECT_EQ(checkpoint.index_name, "") << folder;
    EXPECT_THAT(checkpoint.left_out,
                ElementsAre("model.safetensors.index.json"))
        << folder;
  }
}

TEST(FieldTest, TakesTheModelAndNamesWhatIsLeftOut) {
  ASSERT_OK_AND_ASSIGN(const Checkpoint checkpoint,
                       OpenCheckpoint(Folder("consolidated_no_index")));
  ASSERT_EQ(checkpoint.shards.size(), 1u);
  EXPECT_EQ(checkpoint.shards[0].name, "model.safetensors");
  EXPECT_THAT(checkpoint.left_out, ElementsAre("consolidated.safetensors"));
}

TEST(FieldTest, ReadsNamesThatStartWithADot) {
  ASSERT_OK_AND_ASSIGN(const Checkpoint checkpoint,
                       OpenCheckpoint(Folder("dot_slash")));
  ASSERT_EQ(checkpoint.shards.size(), 2u);
  EXPECT_EQ(checkpoint.shards[0].name, "model-00001-of-00002.safetensors");
}

TEST(FieldTest, ReadsInfinityInAConfig) {
  const std::string path = Folder("infinity/config.json");
  ASSERT_OK_AND_ASSIGN(const ModelConfig config,
                       ModelConfig::Parse(ReadTestFile(path), path));
  EXPECT_EQ(config.ModelType().value(), "llama");
}

TEST(FieldTest, TakesAlongWhatIsLoadedAndListsTheRest) {
  ASSERT_OK_AND_ASSIGN(const Checkpoint checkpoint,
                       OpenCheckpoint(Folder("companions")));
  EXPECT_THAT(
      checkpoint.side_files,
      ElementsAre("1_Pooling/config.json", "LICENSE", "NOTICE", "README.md",
                  "USE_POLICY.md", "additional_chat_templates/rag.jinja",
                  "chat_template.jinja", "chat_template.json", "config.json",
                  "merges.txt", "modeling_x.py", "preprocessor_config.json",
                  "qwen.tiktoken", "reasoning_parser.py",
                  "sentencepiece.bpe.model", "special_tokens_map.json",
                  "spm.vocab", "tokenizer.json", "tokenizer.model",
                  "tokenizer.model.v3", "tokenizer_config.json",
                  "video_preprocessor_config.json", "vocab.bpe"));
  EXPECT_THAT(checkpoint.left_behind,
              ElementsAre(".gitattributes", "generation.yaml", "original/",
                          "pytorch_model.bin", "tokenizer.bin"));
  EXPECT_THAT(checkpoint.left_out, ElementsAre());
}

}  // namespace
}  // namespace windlass
