// The engine and plans that hold late bytes.

#include "windlass/io/transfer/transfer.h"

#include <atomic>
#include <cstdint>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/core/tensor_ops.h"
#include "windlass/io/transfer/crc32.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/testing/tensors.h"

namespace windlass {
namespace {

// Eight digits a checksum.
LateBytes AllChecksums(int count) {
  return {8 * count, [](absl::Span<const uint32_t> checksums) {
            std::string text;
            for (const uint32_t crc : checksums) {
              absl::StrAppend(&text, absl::Hex(crc, absl::kZeroPad8));
            }
            return text;
          }};
}

class TransferTest : public ::testing::Test {
 protected:
  // Late bytes first, between and last; tensors of several pieces, computed
  // ones, an empty one, neighbours in one source, and bytes of no tensor.
  TransferTest() {
    std::mt19937 random(1);
    const Tensor large = RandomTensor(DType::kU8, {20 << 20}, &random);
    const Tensor wide = RandomTensor(DType::kBF16, {3000, 1000}, &random);
    const Tensor cast = Transpose(Cast(wide, DType::kF32).value()).value();
    const Extent whole = *large.source()->Verbatim();
    const Tensor first =
        Tensor::FromExtent(DType::kU8, {100},
                           Extent{whole.source, whole.offset, 100})
            .value();
    const Tensor second =
        Tensor::FromExtent(DType::kU8, {50},
                           Extent{whole.source, whole.offset + 100, 50})
            .value();
    const Tensor empty = Tensor::FromBytes(DType::kF32, {0}, "").value();
    PlannedFile file;
    file.name = "file";
    const auto add = [&](const char* name, const Tensor& tensor) {
      file.Append(PlannedTensor{name, tensor, {}});
      const std::string bytes = ReadAll(tensor).value();
      checksums_.push_back(ExtendCrc32(0, bytes));
      given_ += bytes;
    };
    const auto late = [&] { file.Append(AllChecksums(6)); };
    late();
    file.Append(std::string("header"));
    given_ += "header";
    add("large", large);
    add("first", first);
    add("second", second);
    late();
    add("cast", cast);
    add("empty", empty);
    add("", first);
    late();
    plan_.files.push_back(std::move(file));
    // One that nobody watches.
    PlannedFile plain;
    plain.name = "plain";
    plain.Append(PlannedTensor{"large", large, {}});
    plan_.files.push_back(std::move(plain));
    folder_ = ResolveLocation(
                  absl::StrCat("mem://", ::testing::UnitTest::GetInstance()
                                             ->current_test_info()
                                             ->name()))
                  .value();
    EXPECT_OK(folder_.storage->MakeDirectory(folder_.path));
  }

  std::string Expected() const {
    const std::string late = AllChecksums(6).make(checksums_);
    std::string text;
    size_t at = 0;
    for (const Piece& piece : plan_.files[0].pieces) {
      if (piece.late() != nullptr) {
        text += late;
      } else {
        text += given_.substr(at, piece.size());
        at += piece.size();
      }
    }
    return text;
  }

  std::string Temporary() const { return TemporaryPath(folder_, "file"); }

  TransferPlan plan_;
  Location folder_;
  std::string given_;  // all but the late bytes
  std::vector<uint32_t> checksums_;
};

TEST_F(TransferTest, LateBytesHoldTheChecksumsOfAllTensors) {
  for (const int threads : {1, 3}) {
    for (const DigestKind digest : {DigestKind::kNone, DigestKind::kXxh3}) {
      std::atomic<int64_t> done{0};
      TransferOptions options;
      options.threads = threads;
      options.digest = digest;
      options.bytes_done = &done;
      WholeFiles whole;
      ASSERT_OK(WriteTemporaries(plan_, folder_, options, &whole));
      EXPECT_EQ(done, plan_.bytes());
      EXPECT_EQ(whole.at("file").digests.size(),
                digest == DigestKind::kNone ? 0u : 5u);
      ASSERT_OK_AND_ASSIGN(
          const std::string found,
          ReadFile(*folder_.storage, Temporary(), int64_t{1} << 30));
      EXPECT_TRUE(found == Expected());
      for (const PlannedFile& file : plan_.files) {
        ASSERT_OK(folder_.storage->Remove(TemporaryPath(folder_, file.name)));
      }
    }
  }
}

TEST_F(TransferTest, WhatIsWholeIsKnownByItsLateBytesToo) {
  WholeFiles whole;
  ASSERT_OK(WriteTemporaries(plan_, folder_, {}, &whole));
  const auto find = [&] {
    return FindWholeFiles(plan_, folder_, {WholeFile::kTemporary}, {})
        .value()
        .count("file");
  };
  EXPECT_EQ(find(), 1u);
  const std::string good = Expected();
  for (const size_t at : {size_t{0}, size_t{47}, size_t{48}, size_t{60},
                          good.size() / 2, good.size() - 1}) {
    std::string bad = good;
    bad[at] ^= 1;
    ASSERT_OK(WriteFile(*folder_.storage, Temporary(), bad));
    EXPECT_EQ(find(), 0u) << at;
  }
  ASSERT_OK(WriteFile(*folder_.storage, Temporary(), good));
  EXPECT_EQ(find(), 1u);
  ASSERT_OK(WriteFile(*folder_.storage, Temporary(), good.substr(1)));
  EXPECT_EQ(find(), 0u);
}

TEST_F(TransferTest, LateBytesOfAnotherSizeAreAnError) {
  plan_.files[0].Append(
      LateBytes{3, [](absl::Span<const uint32_t>) { return "four"; }});
  WholeFiles whole;
  EXPECT_THAT(WriteTemporaries(plan_, folder_, {}, &whole),
              StatusIs(absl::StatusCode::kInternal,
                       testing::HasSubstr("found 4 late bytes, expected 3")));
  EXPECT_EQ(folder_.storage->GetKind(Temporary()).value(),
            Storage::Kind::kMissing);
}

}  // namespace
}  // namespace windlass
