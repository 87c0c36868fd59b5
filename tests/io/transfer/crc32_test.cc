#include "windlass/io/transfer/crc32.h"

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "gtest/gtest.h"

namespace windlass {
namespace {

// Bit by bit, as the polynomial has it.
uint32_t Step(uint32_t crc, char byte) {
  crc ^= static_cast<uint8_t>(byte);
  for (int i = 0; i < 8; ++i) crc = (crc >> 1) ^ (crc & 1 ? 0xEDB88320 : 0);
  return crc;
}

uint32_t Reference(absl::string_view bytes) {
  uint32_t crc = 0xFFFFFFFF;
  for (const char c : bytes) crc = Step(crc, c);
  return ~crc;
}

std::string SomeBytes(int size) {
  std::string bytes(size, '\0');
  uint32_t state = 1;
  for (char& c : bytes) c = (state = state * 1664525 + 1013904223) >> 24;
  return bytes;
}

TEST(Crc32Test, IsTheOneOfZipArchives) {
  EXPECT_EQ(ExtendCrc32(0, ""), 0u);
  EXPECT_EQ(ExtendCrc32(0, "123456789"), 0xCBF43926u);
  for (const int size : {1, 7, 8, 63, 64, 65, 1000, 4097}) {
    EXPECT_EQ(ExtendCrc32(0, SomeBytes(size)), Reference(SomeBytes(size)));
  }
}

// Wherever bytes begin and however many there are: large runs are not taken
// byte by byte.
TEST(Crc32Test, IsTheSameForEverySizeAndPlace) {
  const std::string bytes = SomeBytes(700);
  for (int begin = 0; begin < 20; ++begin) {
    uint32_t crc = 0xFFFFFFFF;
    for (int size = 0; begin + size < 700; ++size) {
      ASSERT_EQ(ExtendCrc32(0, absl::string_view(bytes).substr(begin, size)),
                ~crc)
          << size << " bytes from " << begin;
      crc = Step(crc, bytes[begin + size]);
    }
  }
  for (const int cut : {1, 63, 64, 100, 129, 500}) {
    EXPECT_EQ(
        ExtendCrc32(ExtendCrc32(0, bytes.substr(0, cut)), bytes.substr(cut)),
        Reference(bytes));
  }
}

TEST(Crc32Test, PartsJoinToTheWhole) {
  const std::string whole = SomeBytes(1000);
  for (const int cut : {0, 1, 64, 999, 1000}) {
    const std::string first = whole.substr(0, cut);
    const std::string second = whole.substr(cut);
    EXPECT_EQ(ExtendCrc32(ExtendCrc32(0, first), second), Reference(whole));
    EXPECT_EQ(
        JoinCrc32(ExtendCrc32(0, first), ExtendCrc32(0, second), second.size()),
        Reference(whole));
  }
}

TEST(Crc32Test, RunsOfManyGigabytesJoin) {
  // Five GiB of zeros behind one byte, joined at once and in ten steps.
  const uint32_t byte = ExtendCrc32(0, "x");
  const int64_t half = int64_t{1} << 29;
  const uint32_t zeros = [&] {
    // The CRC of zeros, by doubling.
    uint32_t crc = ExtendCrc32(0, absl::string_view("\0", 1));
    for (int64_t size = 1; size < half; size *= 2) {
      crc = JoinCrc32(crc, crc, size);
    }
    return crc;
  }();
  uint32_t all = 0;
  uint32_t stepwise = byte;
  for (int i = 0; i < 10; ++i) {
    all = i == 0 ? zeros : JoinCrc32(all, zeros, half);
    stepwise = JoinCrc32(stepwise, zeros, half);
  }
  EXPECT_EQ(JoinCrc32(byte, all, 10 * half), stepwise);
}

}  // namespace
}  // namespace windlass
