#include "windlass/io/dcp/metadata.h"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/tests/io/torch/torch_bytes.h"

namespace windlass {
namespace {

using ::testing::HasSubstr;

constexpr char kModule[] = "torch.distributed.checkpoint.metadata";
constexpr char kFilesystem[] = "torch.distributed.checkpoint.filesystem";

using Members = std::vector<std::pair<std::string, std::string>>;

std::string Dict(const Members& members) {
  std::string text = "}(";
  for (const auto& [name, value] : members) {
    absl::StrAppend(&text, PickleText(name), value);
  }
  return text + "u";
}

std::string Object(const std::string& module, const std::string& name,
                   const std::string& state) {
  return absl::StrCat("c", module, "\n", name, "\n)\x81", state, "b");
}

std::string Size(const std::vector<int64_t>& values) {
  return absl::StrCat("ctorch\nSize\n", PickleInts(values), "\x85R");
}

std::string Chunk(const std::vector<int64_t>& offsets,
                  const std::vector<int64_t>& sizes) {
  return Object(kModule, "ChunkStorageMetadata",
                Dict({{"offsets", Size(offsets)}, {"sizes", Size(sizes)}}));
}

const char kStrided[] =
    "ctorch.serialization\n_get_layout\nX\x0d\0\0\0torch.strided\x85R";

std::string Properties() {
  return Object(
      kModule, "TensorProperties",
      absl::StrCat("(ctorch\nfloat32\n",
                   std::string(kStrided, sizeof(kStrided) - 1), "\x89N\x89t"));
}

// A tensor [4] in two chunks, and all that may be another way.
struct Parts {
  std::string properties = Properties();
  std::string size = Size({4});
  std::string chunks =
      absl::StrCat("](", Chunk({0}, {1}), Chunk({1}, {3}), "e");
  std::string filesystem = kFilesystem;
  std::string file = PickleText("__0_0.distcp");
  Members info = {};
  std::string offset = PickleInt(7);
  std::string more_storage = "";
  Members more = {};
};

std::string Metadata(const Parts& parts) {
  const std::string entry = Object(kModule, "TensorStorageMetadata",
                                   Dict({{"properties", parts.properties},
                                         {"size", parts.size},
                                         {"chunks", parts.chunks}}));
  const std::string object = Object(kModule, "BytesStorageMetadata", "}");
  std::string storage = "}(";
  for (const int64_t at : {0, 1}) {
    Members info = {{"relative_path", parts.file},
                    {"offset", parts.offset},
                    {"length", PickleInt(100 + at)}};
    info.insert(info.end(), parts.info.begin(), parts.info.end());
    absl::StrAppend(&storage,
                    Object(kModule, "MetadataIndex",
                           Dict({{"fqn", PickleText("w")},
                                 {"index", "N"},
                                 {"offset", Size({at})}})),
                    Object(parts.filesystem, "_StorageInfo", Dict(info)));
  }
  absl::StrAppend(&storage, parts.more_storage, "u");
  Members all = {
      {"state_dict_metadata", Dict({{"note", object}, {"w", entry}})},
      {"storage_data", storage}};
  all.insert(all.end(), parts.more.begin(), parts.more.end());
  return absl::StrCat("\x80\x02", Object(kModule, "Metadata", Dict(all)), ".");
}

// Where the object "note" lies.
std::string ObjectPlace(const std::string& file) {
  return absl::StrCat(
      Object(kModule, "MetadataIndex",
             Dict({{"fqn", PickleText("note")}, {"index", "N"}})),
      Object(kFilesystem, "_StorageInfo",
             Dict({{"relative_path", PickleText(file)},
                   {"offset", PickleInt(3)},
                   {"length", PickleInt(9)}})));
}

TEST(DcpMetadataTest, ObjectsHavePlacesToo) {
  Parts parts;
  parts.more_storage = ObjectPlace("__1_0.distcp");
  ASSERT_OK_AND_ASSIGN(const DcpMetadata metadata,
                       ParseDcpMetadata(Metadata(parts)));
  ASSERT_EQ(metadata.objects.size(), 1u);
  ASSERT_TRUE(metadata.objects[0].blob.has_value());
  EXPECT_EQ(metadata.objects[0].blob->file, "__1_0.distcp");
  EXPECT_EQ(metadata.objects[0].blob->offset, 3);
  EXPECT_EQ(metadata.objects[0].blob->size, 9);
}

TEST(DcpMetadataTest, ReadsEntriesAndPlaces) {
  ASSERT_OK_AND_ASSIGN(const DcpMetadata metadata,
                       ParseDcpMetadata(Metadata({})));
  ASSERT_EQ(metadata.objects.size(), 1u);
  EXPECT_EQ(metadata.objects[0].name, "note");
  EXPECT_FALSE(metadata.objects[0].blob.has_value());
  ASSERT_EQ(metadata.tensors.size(), 1u);
  const DcpTensor& tensor = metadata.tensors[0];
  EXPECT_EQ(tensor.name, "w");
  EXPECT_EQ(tensor.dtype, DType::kF32);
  EXPECT_EQ(tensor.shape, Shape({4}));
  ASSERT_EQ(tensor.chunks.size(), 2u);
  EXPECT_EQ(tensor.chunks[1].offsets, Shape({1}));
  EXPECT_EQ(tensor.chunks[1].shape, Shape({3}));
  EXPECT_EQ(tensor.chunks[1].blob.file, "__0_0.distcp");
  EXPECT_EQ(tensor.chunks[1].blob.offset, 7);
  EXPECT_EQ(tensor.chunks[1].blob.size, 101);
}

TEST(DcpMetadataTest, ReadsWhatOtherVersionsWrite) {
  Parts old_home;
  old_home.properties = absl::StrCat(
      "ctorch.distributed._shard.sharded_tensor.metadata\nTensorProperties\n)"
      "\x81",
      "(ctorch\nfloat32\n", std::string(kStrided, sizeof(kStrided) - 1),
      "\x89"
      "ctorch.distributed._shard.sharded_tensor.metadata\n"
      "MEM_FORMAT_ENCODING\nK\x01\x85R\x89"
      "tb");
  Parts by_name;
  by_name.properties = Object(kModule, "TensorProperties",
                              Dict({{"dtype", "ctorch\nfloat32\n"}}));
  Parts backport;
  backport.filesystem =
      "nemo_automodel.components.checkpoint._backports.filesystem";
  Parts getattr;
  getattr.more = {
      {"storage_meta",
       absl::StrCat("c__builtin__\ngetattr\nc", kModule,
                    "\n_MEM_FORMAT_ENCODING\n", PickleText("X"), "\x86R")}};
  Parts plain;
  plain.size = PickleInts({4});
  Parts untransformed;
  untransformed.info = {{"transform_descriptors", "N"}};
  Parts no_transforms;
  no_transforms.info = {{"transform_descriptors", "]"}};
  Parts with_path;
  with_path.more = {
      {"storage_meta",
       Object(kModule, "StorageMeta",
              Dict({{"checkpoint_id",
                     absl::StrCat("cpathlib._local\nPosixPath\n(",
                                  PickleText("/"), PickleText("a"), "tR")}}))}};
  for (const Parts& parts : {old_home, by_name, backport, getattr, plain,
                             untransformed, no_transforms, with_path}) {
    ASSERT_OK_AND_ASSIGN(const DcpMetadata metadata,
                         ParseDcpMetadata(Metadata(parts)));
    EXPECT_EQ(metadata.tensors[0].chunks.size(), 2u);
    EXPECT_EQ(metadata.tensors[0].dtype, DType::kF32);
  }
}

TEST(DcpMetadataTest, RefusesWhatDoesNotFit) {
  struct {
    Parts parts;
    const char* message;
  } cases[20] = {};
  int n = 0;
  const auto add = [&](const char* message) -> Parts& {
    cases[n].message = message;
    return cases[n++].parts;
  };
  add("tensor \"w\": found a chunk [3] at [2], expected one within [4]")
      .chunks = absl::StrCat("](", Chunk({0}, {1}), Chunk({2}, {3}), "e");
  add("expected one within [4]").chunks =
      absl::StrCat("]", Chunk({0, 0}, {1, 1}), "a");
  add("no place for the chunk at [2]").chunks =
      absl::StrCat("]", Chunk({2}, {1}), "a");
  add("found an integer, expected a list of chunks").chunks = "K\x01";
  add("too many").size = Size({INT64_MAX, INT64_MAX});
  add("integers that are not negative").size = Size({-4});
  add("found an integer, expected a tuple of integers").size = "K\x04";
  add("the file \"../x\", expected a name in the same folder").file =
      PickleText("../x");
  add("the file \"/etc/passwd\"").file = PickleText("/etc/passwd");
  add("the file \"..\"").file = PickleText("..");
  add("the file \"\"").file = "N";
  add("offset that is an integer, expected an integer that is not negative")
      .offset = PickleInt(-1);
  add("transformed (ZStandard)").info = {
      {"transform_descriptors",
       absl::StrCat("]", PickleText("ZStandard"), "a")}};
  add("no dtype").properties = Object(kModule, "TensorProperties", "}");
  add("the dtype torch.complex128").properties = Object(
      kModule, "TensorProperties", Dict({{"dtype", "ctorch\ncomplex128\n"}}));
  add("a sparse tensor").properties = Object(
      kModule, "TensorProperties",
      absl::StrCat("(ctorch\nfloat32\nctorch.serialization\n_get_layout\n",
                   PickleText("torch.sparse_coo"), "\x85Rt"));
  add("a part of \"w\" in two places").more_storage = absl::StrCat(
      Object(kModule, "MetadataIndex",
             Dict({{"fqn", PickleText("w")}, {"offset", Size({0})}})),
      Object(kFilesystem, "_StorageInfo", "}"));
  add("object \"note\": found the file \"../note\"").more_storage =
      ObjectPlace("../note");
  add("the object \"note\" in two places").more_storage =
      absl::StrCat(ObjectPlace("a"), ObjectPlace("b"));
  add("found an integer, expected the index of an entry").more_storage =
      "K\x01K\x02";
  for (int i = 0; i < n; ++i) {
    const absl::StatusOr<DcpMetadata> metadata =
        ParseDcpMetadata(Metadata(cases[i].parts));
    ASSERT_FALSE(metadata.ok()) << cases[i].message;
    EXPECT_THAT(std::string(metadata.status().message()),
                HasSubstr(cases[i].message));
  }
  EXPECT_THAT(ParseDcpMetadata("}."),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("expected the metadata of a checkpoint")));
  EXPECT_THAT(
      ParseDcpMetadata(absl::StrCat(Object(kModule, "Metadata", "}"), ".")),
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr("without entries or their places")));
}

TEST(DcpMetadataTest, TheOrderIsThePlannersAndThenTheEntries) {
  const std::string entry = Object(kModule, "TensorStorageMetadata",
                                   Dict({{"properties", Properties()},
                                         {"size", Size({0})},
                                         {"chunks", "]"}}));
  const std::string bytes = absl::StrCat(
      Object(
          kModule, "Metadata",
          Dict({{"state_dict_metadata",
                 Dict({{"a", entry}, {"b", entry}, {"c", entry}})},
                {"storage_data", "}"},
                {"planner_data", Dict({{"c", "N"}, {"x", "N"}, {"a", "N"}})}})),
      ".");
  ASSERT_OK_AND_ASSIGN(const DcpMetadata metadata, ParseDcpMetadata(bytes));
  std::vector<std::string> names;
  for (const DcpTensor& tensor : metadata.tensors) names.push_back(tensor.name);
  EXPECT_EQ(names, (std::vector<std::string>{"c", "a", "b"}));
}

}  // namespace
}  // namespace windlass
