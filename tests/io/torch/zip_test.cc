#include "windlass/io/torch/zip.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/core/byte_source.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/tests/io/torch/torch_bytes.h"

namespace windlass {
namespace {

using ::testing::HasSubstr;

absl::StatusOr<ZipArchive> Open(const std::string& bytes) {
  const int64_t size = static_cast<int64_t>(bytes.size());
  return ZipArchive::Open({std::make_shared<MemorySource>(bytes), 0, size});
}

std::string Contents(const ZipArchive& archive, const std::string& name) {
  const Extent extent = archive.Find(name).value();
  return ReadRange(*extent.source, extent.offset, extent.size).value();
}

TEST(ZipTest, FindsEntriesWhereTheyLie) {
  for (const bool zip64 : {false, true}) {
    for (const std::string& comment :
         {std::string(), std::string("a comment"), std::string(60000, 'c')}) {
      const std::string bytes =
          ZipBytes({{"a/data.pkl", "pickle"}, {"a/data/0", ""}, {"b", "bb"}},
                   zip64, comment);
      ASSERT_OK_AND_ASSIGN(const ZipArchive archive, Open(bytes));
      EXPECT_EQ(archive.entries().size(), 3u);
      EXPECT_EQ(Contents(archive, "a/data.pkl"), "pickle");
      EXPECT_EQ(Contents(archive, "a/data/0"), "");
      EXPECT_EQ(Contents(archive, "b"), "bb");
      EXPECT_THAT(archive.Find("c"), StatusIs(absl::StatusCode::kNotFound,
                                              HasSubstr("found no c")));
    }
  }
}

TEST(ZipTest, AnArchiveMayBePartOfAFile) {
  const std::string archive = ZipBytes({{"b", "bb"}});
  const auto file =
      std::make_shared<MemorySource>(absl::StrCat("before", archive, "behind"));
  ASSERT_OK_AND_ASSIGN(
      const ZipArchive found,
      ZipArchive::Open({file, 6, static_cast<int64_t>(archive.size())}));
  EXPECT_EQ(Contents(found, "b"), "bb");
}

TEST(ZipTest, RefusesWhatIsNotStored) {
  ASSERT_OK_AND_ASSIGN(
      const ZipArchive archive,
      Open(ZipBytes({{"deflated", "x", 8}, {"secret", "x", 0, 1}})));
  EXPECT_THAT(archive.Find("deflated"),
              StatusIs(absl::StatusCode::kUnimplemented,
                       HasSubstr("compressed (method 8)")));
  EXPECT_THAT(archive.Find("secret"), StatusIs(absl::StatusCode::kUnimplemented,
                                               HasSubstr("encrypted")));
}

TEST(ZipTest, RefusesWhatDoesNotFit) {
  EXPECT_THAT(Open(""), StatusIs(absl::StatusCode::kDataLoss,
                                 HasSubstr("the file was truncated")));
  EXPECT_THAT(Open(ZipBytes({{"a", "1"}, {"a", "2"}})),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("the zip entry a twice")));
  const std::string good = ZipBytes({{"name", "contents"}}, true);
  // The records of the end, in which places and counts stand.
  for (size_t at = good.find("PK\x01\x02"); at < good.size(); ++at) {
    for (const char value : {'\x00', '\x7f', '\xff'}) {
      std::string bad = good;
      bad[at] = value;
      const absl::StatusOr<ZipArchive> archive = Open(bad);
      if (!archive.ok()) continue;
      for (const auto& [name, entry] : archive->entries()) {
        const absl::StatusOr<Extent> extent = archive->Find(name);
        if (!extent.ok()) continue;
        EXPECT_LE(extent->offset + extent->size,
                  static_cast<int64_t>(good.find("PK\x01\x02")));
      }
    }
  }
}

}  // namespace
}  // namespace windlass
