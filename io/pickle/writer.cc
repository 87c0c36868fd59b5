#include "windlass/io/pickle/writer.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace windlass {
namespace {

constexpr int kItemsAtOnce = 1000;

// The lowest `bytes` bytes, little endian.
std::string LittleEndian(uint64_t value, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text += static_cast<char>(value >> (8 * i));
  return text;
}

}  // namespace

PickleWriter::PickleWriter() : pickle_("\x80\x02") {}

void PickleWriter::Int(int64_t value) {
  if (value >= 0 && value < 1 << 8) {
    pickle_ += "K" + LittleEndian(value, 1);
  } else if (value >= 0 && value < 1 << 16) {
    pickle_ += "M" + LittleEndian(value, 2);
  } else if (value == static_cast<int32_t>(value)) {
    pickle_ += "J" + LittleEndian(value, 4);
  } else {
    pickle_ += "\x8a\x08" + LittleEndian(value, 8);
  }
}

void PickleWriter::String(absl::string_view text) {
  Once(absl::StrCat("X", LittleEndian(text.size(), 4), text));
}

void PickleWriter::Global(absl::string_view module, absl::string_view name) {
  Once(absl::StrCat("c", module, "\n", name, "\n"));
}

void PickleWriter::Once(std::string opcodes) {
  const uint32_t next = static_cast<uint32_t>(memo_.size());
  const auto [it, is_new] = memo_.try_emplace(std::move(opcodes), next);
  if (is_new) pickle_ += it->first;
  const bool is_short = it->second < 1 << 8;
  pickle_ += is_new ? (is_short ? 'q' : 'r') : (is_short ? 'h' : 'j');
  pickle_ += LittleEndian(it->second, is_short ? 1 : 4);
}

void PickleWriter::Ints(absl::Span<const int64_t> values) {
  Mark();
  for (const int64_t value : values) Int(value);
  Tuple();
}

std::string PickleWriter::Finish() && {
  pickle_ += '.';
  return std::move(pickle_);
}

void PickleItems::Next() {
  if (count_ == kItemsAtOnce) End();
  if (count_++ == 0) pickle_->Mark();
}

void PickleItems::End() {
  if (count_ > 0) pickle_->SetItems();
  count_ = 0;
}

}  // namespace windlass
