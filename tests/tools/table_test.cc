#include "windlass/tools/table.h"

#include <cstdint>
#include <limits>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace windlass {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

Table Example() {
  Table table({{"name"}, {"size", /*right=*/true}, {"file"}});
  table.AddRow({"a", "1 B", "x"});
  table.AddRow({"long.name.of.a.tensor", "1.23 MB", "file.safetensors"},
               Style::kRed);
  return table;
}

TEST(TableTest, AlignsColumns) {
  EXPECT_EQ(Example().Render({}),
            "name                      size  file\n"
            "a                          1 B  x\n"
            "long.name.of.a.tensor  1.23 MB  file.safetensors\n");
}

TEST(TableTest, ShortensTheWidestColumnsToTheTerminal) {
  EXPECT_EQ(Example().Render({/*width=*/44}),
            "name                  size  file\n"
            "a                      1 B  x\n"
            "long.…of.a.tensor  1.23 MB  file.safetensors\n");
}

TEST(TableTest, WhatCannotFitIsStillReadable) {
  const std::string text = Example().Render({/*width=*/10});
  EXPECT_THAT(text, HasSubstr("1.23 MB"));
  EXPECT_THAT(text, HasSubstr("f"));
}

TEST(TableTest, CountsCharactersAndNotBytes) {
  Table table({{"ä"}, {"b"}});
  table.AddRow({"äöü", "1"});
  table.AddRow({"xyz!", "2"});
  EXPECT_EQ(table.Render({}), "ä     b\näöü   1\nxyz!  2\n");
}

TEST(TableTest, HasColoursOnlyWhereTheyAreSeen) {
  EXPECT_THAT(Example().Render({}), Not(HasSubstr("\033")));
  const std::string text = Example().Render({0, /*colour=*/true});
  EXPECT_THAT(text, HasSubstr("\033[31mlong.name"));
  EXPECT_THAT(text, HasSubstr("file.safetensors\033[0m\n"));
}

TEST(TableTest, ShortensInTheMiddle) {
  EXPECT_EQ(Shorten("abcdefghij", 10), "abcdefghij");
  EXPECT_EQ(Shorten("abcdefghij", 7), "ab…ghij");
  EXPECT_EQ(Shorten("äöüäöüäöüä", 4), "ä…üä");
  EXPECT_EQ(Shorten("ab", 1), "…");
}

TEST(TableTest, NumbersAreInHumanUnits) {
  EXPECT_EQ(FormatCount(0), "0");
  EXPECT_EQ(FormatCount(999), "999");
  EXPECT_EQ(FormatCount(1000), "1,000");
  EXPECT_EQ(FormatCount(-123456), "-123,456");
  EXPECT_EQ(FormatCount(std::numeric_limits<int64_t>::max()),
            "9,223,372,036,854,775,807");
  EXPECT_EQ(FormatQuantity(999), "999");
  EXPECT_EQ(FormatQuantity(1500), "1.50 k");
  EXPECT_EQ(FormatQuantity(999'999), "1.00 M");
  EXPECT_EQ(FormatQuantity(8'030'261'248), "8.03 B");
  EXPECT_EQ(FormatQuantity(1'042'000'000'000), "1.04 T");
  EXPECT_EQ(FormatNumber(0.0213412), "0.02134");
  EXPECT_EQ(FormatNumber(-1.2e-7), "-1.2e-07");
  EXPECT_EQ(FormatNumber(0), "0");
  EXPECT_EQ(FormatNumber(-std::numeric_limits<double>::infinity()), "-inf");
}

}  // namespace
}  // namespace windlass
