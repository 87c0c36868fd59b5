// Every folder below data/ that has a case.json: checkpoints that PyTorch
// wrote, and what is wrong with others.

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "re2/re2.h"
#include "windlass/core/json.h"
#include "windlass/io/checkpoint.h"
#include "windlass/io/storage/storage.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/testing/tensors.h"
#include "windlass/tests/testing/files.h"
#include "windlass/tests/testing/work.h"

namespace windlass {
namespace {

using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kRoot[] = "tests/formats/data";

// No case is larger than some kilobytes; what it takes to read one is what it
// takes to refuse it.
constexpr int64_t kMostMemory = 32 << 20;

struct FormatCase {
  std::string name;  // "torch/zip_views"
  Json json;

  std::string Path(const std::string& file) const {
    return absl::StrCat(kRoot, "/", name, "/", json[file].get<std::string>());
  }
};

std::vector<FormatCase> Cases() {
  std::vector<FormatCase> cases;
  for (const char* format : {"dcp", "dcp_safetensors", "torch"}) {
    const auto location = ResolveLocation(absl::StrCat(kRoot, "/", format));
    const auto folders = location->storage->List(location->path);
    if (!folders.ok()) continue;
    for (const Storage::Entry& folder : *folders) {
      const std::string name = absl::StrCat(format, "/", folder.name);
      cases.push_back({name, ParseJson(ReadTestFile(absl::StrCat(
                                           kRoot, "/", name, "/case.json")))
                                 .value()});
    }
  }
  return cases;
}

// What each message of a refusal has in it, beside the file's name.
std::string ExpectedError(const std::string& name) {
  const std::pair<const char*, const char*> kErrors[] = {
      {"dcp/bad_dtype", "tensor \"a\": found F32 [16, 4], expected BF16"},
      {"dcp/bad_gap", "tensor \"a\": no box has the elements"},
      {"dcp/bad_garbled_metadata", ".metadata: byte"},
      {"dcp/bad_malicious_metadata", "posix.system"},
      {"dcp/bad_missing_file", "__0_0.distcp"},
      {"dcp/bad_no_metadata", "no .metadata; the save did not finish"},
      {"dcp/bad_outside",
       "tensor \"a\": found a chunk [16, 4] at [4, 0], expected one within"},
      {"dcp/bad_overlap", "overlap"},
      {"dcp/bad_path_up", "tensor \"a\": found the file"},
      {"dcp/bad_truncated_file", "the file was truncated"},
      {"dcp_safetensors/bad_dtype_differs", "tensor \"w\": "},
      {"dcp_safetensors/bad_info_garbled", "DCP_SHARDING_INFO: not JSON"},
      {"dcp_safetensors/bad_missing_rank", "expected the file of shard"},
      {"dcp_safetensors/bad_offsets_rank", "expected one for each dimension"},
      {"dcp_safetensors/bad_overlap", "overlap"},
      {"torch/bad_legacy_malicious", "posix.system"},
      {"torch/bad_legacy_truncated", "the file was truncated"},
      {"torch/bad_legacy_whole_module",
       "torch.nn.modules.container.Sequential"},
      {"torch/bad_lfs_pointer", "a Git LFS pointer"},
      {"torch/bad_not_torch", "found a web page"},
      {"torch/bad_zip_ambiguous", "several state dicts (\"model\", \"ema\")"},
      {"torch/bad_zip_big_endian_mark", "the byte order \"big\""},
      {"torch/bad_zip_huge_shape", "tensor \"a\": the view"},
      {"torch/bad_zip_list", "found a list, expected a state dict"},
      {"torch/bad_zip_malicious", "posix.system"},
      {"torch/bad_zip_missing_storage", "found no model/data/"},
      {"torch/bad_zip_no_tensors", "no tensors in it"},
      {"torch/bad_zip_pickle_deep", "nested deeper"},
      {"torch/bad_zip_short_storage", "tensor \"a\": found a storage"},
      {"torch/bad_zip_sparse",
       "tensor \"w\": found a tensor of another kind (sparse_tensor)"},
      {"torch/bad_zip_truncated", "the file was truncated"},
      {"torch/bad_zip_whole_module", "torch.nn.modules.container.Sequential"},
  };
  for (const auto& [known, error] : kErrors) {
    if (name == known) return error;
  }
  return absl::StrCat("no message for ", name);
}

class FormatsTest : public ::testing::TestWithParam<FormatCase> {
 protected:
  absl::StatusOr<Checkpoint> Open(const std::string& key) const {
    OpenOptions options;
    options.state_dict_key = key;
    return OpenCheckpoint(GetParam().Path("input"), options);
  }
};

TEST_P(FormatsTest, IsReadExactlyOrRefused) {
  const Json& json = GetParam().json;
  const std::string key = json["options"].value("state_dict_key", "");
  // With a key, and by detection.
  for (const std::string& one : {key, std::string()}) {
    WorkCounter counter;
    const absl::StatusOr<Checkpoint> found = Open(one);
    EXPECT_LT(counter.work().peak, kMostMemory);
    if (json["expected"].is_null()) {
      ASSERT_FALSE(found.ok());
      const std::string message(found.status().message());
      EXPECT_THAT(message, HasSubstr(ExpectedError(GetParam().name)));
      EXPECT_THAT(message, HasSubstr(GetParam().Path("input")));
      EXPECT_THAT(message, Not(HasSubstr("\n")));
      continue;
    }
    ASSERT_OK(found);
    EXPECT_EQ(found->format->name(), json["format"].get<std::string>());
    EXPECT_THAT(
        Names(found->tensors),
        ElementsAreArray(json["order"].get<std::vector<std::string>>()));
    ASSERT_OK_AND_ASSIGN(const Checkpoint expected,
                         OpenCheckpoint(GetParam().Path("expected")));
    EXPECT_EQ(Difference(Sorted(found->tensors), Sorted(expected.tensors)), "");
    if (!json.contains("not_tensors")) continue;
    // A list of numbers ("lr.0", "lr.1") is one entry in the file ("lr").
    std::vector<std::string> objects;
    for (const Json& name : json["not_tensors"]) {
      std::string entry = name.get<std::string>();
      RE2::Replace(&entry, "\\.[0-9]+$", "");
      if (objects.empty() || objects.back() != entry) objects.push_back(entry);
    }
    EXPECT_EQ(found->objects, objects);
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, FormatsTest, ::testing::ValuesIn(Cases()),
    [](const ::testing::TestParamInfo<FormatCase>& info) {
      return absl::StrReplaceAll(info.param.name, {{"/", "_"}});
    });

}  // namespace
}  // namespace windlass
