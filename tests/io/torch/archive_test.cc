#include "windlass/io/torch/archive.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/tests/io/torch/torch_bytes.h"

namespace windlass {
namespace {

using ::testing::HasSubstr;

absl::StatusOr<TorchArchive> Open(const std::string& bytes) {
  const int64_t size = static_cast<int64_t>(bytes.size());
  return TorchArchive::Open({std::make_shared<MemorySource>(bytes), 0, size});
}

// An archive whose object is what the instructions make, with storage 0.
std::string Archive(const std::string& pickle,
                    const std::string& storage = "0123456789abcdef") {
  return ZipBytes({{"m/data.pkl", pickle + "."},
                   {"m/data/0", storage},
                   {"m/version", "3"}});
}

absl::StatusOr<Tensor> Read(const std::string& pickle) {
  const absl::StatusOr<TorchArchive> archive = Open(Archive(pickle));
  if (!archive.ok()) return archive.status();
  return archive->GetTensor(archive->root());
}

const char kStorage[] = "FloatStorage";

std::string Plain() {
  return PickleTensor(PickleStorage(kStorage, "0", 4), 1, {2}, {1});
}

TEST(TorchArchiveTest, TensorsAreViewsOfStorages) {
  ASSERT_OK_AND_ASSIGN(const Tensor tensor, Read(Plain()));
  EXPECT_EQ(tensor.ToString(), "F32 [2]");
  EXPECT_EQ(ReadAll(tensor).value(), "456789ab");
  EXPECT_TRUE(tensor.source()->Verbatim().has_value());
}

TEST(TorchArchiveTest, WhatWrapsATensorIsTakenOff) {
  const std::string storage = PickleStorage("ByteStorage", "0", 16);
  const std::string plain = PickleTensor(storage, 0, {3}, {1});
  const std::string arguments = absl::StrCat(
      "(", storage, PickleInt(0), PickleInts({3}), PickleInts({1}), "\x89}t");
  for (const std::string& pickle : {
           plain,
           absl::StrCat("ctorch._utils\n_rebuild_parameter\n(", plain,
                        "\x88}tR"),
           absl::StrCat("ctorch._utils\n_rebuild_parameter_with_state\n(",
                        plain, "\x88}}tR"),
           absl::StrCat(
               "ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._utils"
               "\n_rebuild_tensor_v2\nctorch.nn.parameter\nParameter\n",
               arguments, "}tR"),
           // Four arguments, as the oldest files have them.
           absl::StrCat("ctorch._utils\n_rebuild_tensor\n(", storage,
                        PickleInt(0), PickleInts({3}), PickleInts({1}), "tR"),
           // torch.Size for a shape.
           absl::StrCat("ctorch._utils\n_rebuild_tensor_v2\n(", storage,
                        PickleInt(0), "ctorch\nSize\n", PickleInts({3}),
                        "\x85R", PickleInts({1}), "\x89}tR"),
           // Bits that are not set.
           absl::StrCat("ctorch._utils\n_rebuild_tensor_v2\n(", storage,
                        PickleInt(0), PickleInts({3}), PickleInts({1}),
                        "\x89}}", PickleText("conj"), "\x89stR"),
           // A storage of bytes, with the dtype beside it.
           absl::StrCat("ctorch._utils\n_rebuild_tensor_v3\n(",
                        PickleStorage("UntypedStorage", "0", 16), PickleInt(0),
                        PickleInts({3}), PickleInts({1}), "\x89}",
                        "ctorch\nuint8\ntR"),
       }) {
    ASSERT_OK_AND_ASSIGN(const Tensor tensor, Read(pickle));
    EXPECT_EQ(tensor.ToString(), "U8 [3]");
    EXPECT_EQ(ReadAll(tensor).value(), "012");
  }
}

TEST(TorchArchiveTest, RefusesTensorsThatItCannotGiveExactly) {
  const std::string storage = PickleStorage(kStorage, "0", 4);
  const std::string rest =
      absl::StrCat(PickleInt(0), PickleInts({2}), PickleInts({1}), "\x89}");
  const struct {
    std::string pickle;
    const char* message;
  } kCases[] = {
      {"K\x01", "found an integer, expected a dense tensor"},
      {"}", "found a dictionary, expected a dense tensor"},
      {PickleTensor(storage, 3, {2}, {1}), "needs 5 elements"},
      {PickleTensor(storage, -1, {2}, {1}), "none negative"},
      {PickleTensor(storage, 0, {-2}, {1}), "integers that are not negative"},
      {PickleTensor(storage, 0, {2}, {-1}), "integers that are not negative"},
      {PickleTensor(PickleStorage(kStorage, "0", 5), 0, {2}, {1}),
       "a storage 0 of 16 bytes, expected 20"},
      {PickleTensor(PickleStorage(kStorage, "0", INT64_MAX), 0, {2}, {1}),
       "too many bytes"},
      {PickleTensor(PickleStorage(kStorage, "0", -1), 0, {2}, {1}),
       "expected a storage and its size"},
      {PickleTensor(PickleStorage(kStorage, "1", 4), 0, {2}, {1}),
       "found no m/data/1"},
      {PickleTensor(PickleStorage("QInt8Storage", "0", 4), 0, {2}, {1}),
       "found torch.QInt8Storage"},
      {PickleTensor(PickleStorage("UntypedStorage", "0", 16), 0, {2}, {1}),
       "a storage of bytes alone"},
      {PickleTensor("K\x01", 0, {2}, {1}), "expected a storage"},
      {PickleTensor("NQ", 0, {2}, {1}), "expected a storage"},
      {absl::StrCat("ctorch._utils\n_rebuild_tensor_v2\n(", storage, rest, "}",
                    PickleText("neg"), "\x88stR"),
       "a conjugated or negated view"},
      {absl::StrCat("ctorch._utils\n_rebuild_tensor_v3\n(", storage, rest,
                    "ctorch\ncomplex128\ntR"),
       "the dtype torch.complex128"},
      {absl::StrCat("ctorch._utils\n_rebuild_tensor_v2\n(", storage, "tR"),
       "without what makes one"},
      {"ctorch._utils\n_rebuild_sparse_tensor\n)R",
       "another kind (sparse_tensor)"},
      {"ctorch._utils\n_rebuild_parameter\n)R", "another kind (parameter)"},
  };
  for (const auto& one : kCases) {
    const absl::StatusOr<Tensor> tensor = Read(one.pickle);
    ASSERT_FALSE(tensor.ok()) << one.message;
    EXPECT_THAT(std::string(tensor.status().message()), HasSubstr(one.message));
  }
}

// The five pickles of a legacy file, and its storages.
std::string Legacy(const std::string& object, const std::string& keys,
                   const std::string& storages,
                   const std::string& little_endian = "\x88") {
  return absl::StrCat(
      "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"
      ".",
      "\x80\x02", PickleInt(1001), ".", "\x80\x02}",
      PickleText("little_endian"), little_endian, "s.", "\x80\x02", object, ".",
      "\x80\x02", keys, ".", storages);
}

TEST(TorchArchiveTest, LegacyStoragesLieBehindThePickles) {
  const auto storage = [](const std::string& view) {
    return absl::StrCat("(", PickleText("storage"), "ctorch\nShortStorage\n",
                        PickleText("77"), PickleText("cpu"), PickleInt(4), view,
                        "tQ");
  };
  const std::string keys = absl::StrCat("]", PickleText("77"), "a");
  const std::string storages = Number(4, 8) + "aabbccdd";
  for (const auto& [view, expected] :
       std::vector<std::pair<std::string, std::string>>{
           {"N", "bb"},
           // A part of it, as files of PyTorch 0.3 have them.
           {absl::StrCat("(", PickleText("78"), PickleInt(1), PickleInt(3),
                         "t"),
            "cc"}}) {
    ASSERT_OK_AND_ASSIGN(
        const TorchArchive archive,
        Open(Legacy(PickleTensor(storage(view), 1, {1}, {1}), keys, storages)));
    ASSERT_OK_AND_ASSIGN(const Tensor tensor,
                         archive.GetTensor(archive.root()));
    EXPECT_EQ(ReadAll(tensor).value(), expected);
  }
  const std::string object = PickleTensor(storage("N"), 0, {1}, {1});
  EXPECT_OK(Open(Legacy(object, keys, storages)));
  EXPECT_THAT(Open(Legacy(object, keys, storages + "x")),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("1 bytes behind the storages")));
  EXPECT_THAT(Open(Legacy(object, keys, "")),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("truncated")));
  EXPECT_THAT(Open(Legacy(object, keys, storages.substr(0, 12))),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("truncated")));
  EXPECT_THAT(
      Open(Legacy(object, keys, storages, "\x89")),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("big-endian")));
  EXPECT_THAT(
      Open(Legacy(
          PickleTensor(storage(absl::StrCat("(", PickleText("78"), PickleInt(2),
                                            PickleInt(3), "t")),
                       0, {1}, {1}),
          keys, storages)),
      StatusIs(absl::StatusCode::kInvalidArgument,
               HasSubstr("a part that its storage does not have")));
}

TEST(TorchArchiveTest, ALongPickleIsReadInParts) {
  // Longer than what is read of a legacy file at first.
  const std::string long_text(200'000, 'x');
  ASSERT_OK_AND_ASSIGN(const TorchArchive archive,
                       Open(Legacy(PickleText(long_text), "]", "")));
  EXPECT_EQ(archive.root().text.size(), long_text.size());
}

TEST(TorchArchiveTest, RefusesWhatIsNoArchiveOfTorch) {
  const struct {
    std::string bytes;
    const char* message;
  } kCases[] = {
      {"", "an empty file"},
      {std::string(64, '\x01'), "neither a zip archive nor a pickle"},
      {"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"},
      {"<!DOCTYPE html>", "a web page"},
      {"\x80\x02}.", "a pickle of a dictionary"},
      {ZipBytes({{"word/document.xml", "x"}}), "with 0 data.pkl"},
      {ZipBytes({{"a/data.pkl", "N."}, {"b/data.pkl", "N."}}),
       "with 2 data.pkl"},
      {ZipBytes({{"a/data.pkl", "N."}, {"a/constants.pkl", "N."}}),
       "a TorchScript archive"},
      {ZipBytes({{"a/data.pkl", "N."}, {"a/byteorder", "big"}}),
       "the byte order \"big\""},
      {ZipBytes({{"a/data.pkl", "x", 8}}), "compressed"},
      {ZipBytes({{"a/data.pkl", "N"}}), "data.pkl: byte 1"},
      {Archive("cos\nsystem\n)R"), "os.system"},
  };
  for (const auto& one : kCases) {
    const absl::StatusOr<TorchArchive> archive = Open(one.bytes);
    ASSERT_FALSE(archive.ok()) << one.message;
    EXPECT_THAT(std::string(archive.status().message()),
                HasSubstr(one.message));
  }
}

}  // namespace
}  // namespace windlass
