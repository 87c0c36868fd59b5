#include "windlass/io/safetensors/header.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <limits>
#include <optional>
#include <tuple>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "windlass/core/json.h"
#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

constexpr int kMaxDepth = 128;

// Reads the header event by event, so that a name or field that comes twice is
// seen. The callbacks' names are nlohmann's; each returns false to stop.
class HeaderReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit HeaderReader(SafetensorsHeader* header) : header_(header) {}

  const std::string& error() const { return error_; }

  bool null() override { return Scalar("null"); }
  bool boolean(bool value) override { return Scalar(value ? "true" : "false"); }
  bool number_integer(number_integer_t value) override {
    return Scalar(absl::StrCat(value));
  }
  bool number_float(number_float_t, const string_t& text) override {
    return Scalar(text);
  }
  bool binary(binary_t&) override { return Scalar("binary"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (skipping_ > 0 || state_ != State::kNumbers) {
      return Scalar(absl::StrCat(value));
    }
    if (value > std::numeric_limits<int64_t>::max()) {
      return Unexpected(absl::StrCat(value), "a number below 2^63");
    }
    numbers_.push_back(value);
    return true;
  }

  bool string(string_t& value) override {
    if (skipping_ > 0) return true;
    if (state_ == State::kMetadata) {
      header_->metadata.emplace_back(key_, std::move(value));
      return true;
    }
    if (state_ != State::kTensor || field_ != kDType) {
      return Scalar(absl::StrCat("\"", value, "\""));
    }
    const std::optional<DType> dtype = ParseDType(value);
    if (!dtype.has_value()) {
      return Unexpected(absl::StrCat("\"", value, "\""),
                        "a dtype of safetensors 0.8 such as BF16");
    }
    entry_.dtype = *dtype;
    return true;
  }

  bool key(string_t& value) override {
    if (skipping_ > 0) return true;
    key_ = std::move(value);
    if (state_ == State::kTensor) return StartField();
    // Metadata is small; the tensors' names are compared at the end.
    if (state_ == State::kRoot && key_ == "__metadata__") {
      return !std::exchange(has_metadata_, true) || FailTwice();
    }
    for (const auto& [known, value] : header_->metadata) {
      if (state_ == State::kMetadata && known == key_) return FailTwice();
    }
    return true;
  }

  bool start_object(std::size_t) override {
    if (skipping_ > 0) return Skip();
    switch (state_) {
      case State::kStart:
        state_ = State::kRoot;
        return true;
      case State::kRoot:
        if (key_ == "__metadata__") {
          state_ = State::kMetadata;
        } else {
          state_ = State::kTensor;
          entry_ = SafetensorsEntry{};
          entry_.name = key_;
          seen_ = 0;
        }
        return true;
      default:
        return Nested("an object");
    }
  }

  bool end_object() override {
    if (skipping_ > 0) return Unskip();
    if (state_ == State::kTensor) {
      for (int field : {kDType, kShape, kOffsets}) {
        if ((seen_ & field) == 0) {
          return Fail(absl::StrCat("tensor \"", entry_.name, "\": field \"",
                                   FieldName(field), "\" is missing"));
        }
      }
      header_->tensors.push_back(std::move(entry_));
    }
    state_ = state_ == State::kRoot ? State::kEnd : State::kRoot;
    return true;
  }

  bool start_array(std::size_t) override {
    if (skipping_ > 0) return Skip();
    if (state_ != State::kTensor || (field_ & (kShape | kOffsets)) == 0) {
      return Nested("a list");
    }
    state_ = State::kNumbers;
    numbers_.clear();
    return true;
  }

  bool end_array() override {
    if (skipping_ > 0) return Unskip();
    state_ = State::kTensor;
    if (field_ == kShape) {
      entry_.shape = numbers_;
      return true;
    }
    if (numbers_.size() != 2) {
      return Unexpected(ShapeString(numbers_), "a begin and an end");
    }
    entry_.begin = numbers_[0];
    entry_.end = numbers_[1];
    return true;
  }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    return Fail(
        absl::StrCat("the header is not JSON from byte ", position, " on"));
  }

 private:
  enum class State { kStart, kRoot, kMetadata, kTensor, kNumbers, kEnd };
  enum Field { kOther = 0, kDType = 1, kShape = 2, kOffsets = 4 };

  static const char* FieldName(int field) {
    return field == kDType   ? "dtype"
           : field == kShape ? "shape"
                             : "data_offsets";
  }

  bool StartField() {
    field_ = key_ == "dtype"          ? kDType
             : key_ == "shape"        ? kShape
             : key_ == "data_offsets" ? kOffsets
                                      : kOther;
    if ((seen_ & field_) != 0) {
      return Fail(absl::StrCat("tensor \"", entry_.name, "\": field \"", key_,
                               "\": found twice"));
    }
    seen_ |= field_;
    return true;
  }

  // A value that is not what its place wants, unless the place is a field that
  // the format does not know: the reference library reads over those.
  bool Scalar(absl::string_view found) {
    if (skipping_ > 0 || (state_ == State::kTensor && field_ == kOther)) {
      return true;
    }
    return Unexpected(found, Expected());
  }

  bool Nested(absl::string_view found) {
    if (state_ == State::kTensor && field_ == kOther) return Skip();
    return Unexpected(found, Expected());
  }

  const char* Expected() const {
    switch (state_) {
      case State::kMetadata:
        return "a string";
      case State::kNumbers:
        return "a whole number";
      case State::kTensor:
        return field_ == kDType ? "a dtype's name" : "a list of whole numbers";
      case State::kRoot:
        return "an object";
      default:
        return "an object of tensors";
    }
  }

  bool Unexpected(absl::string_view found, absl::string_view expected) {
    std::string where;
    if (state_ == State::kStart) {
      where = "the header";
    } else if (state_ == State::kMetadata) {
      where = absl::StrCat("__metadata__: key \"", key_, "\"");
    } else if (state_ == State::kRoot) {
      where =
          key_ == "__metadata__" ? key_ : absl::StrCat("tensor \"", key_, "\"");
    } else {
      where = absl::StrCat("tensor \"", entry_.name, "\": ", key_);
    }
    return Fail(
        absl::StrCat(where, ": found ", found, ", expected ", expected));
  }

  bool Skip() {
    if (++skipping_ <= kMaxDepth) return true;
    return Fail("the header nests too deep");
  }
  bool Unskip() {
    --skipping_;
    return true;
  }

  bool FailTwice() {
    return Fail(absl::StrCat("__metadata__: \"", key_, "\": found twice"));
  }

  bool Fail(std::string error) {
    error_ = std::move(error);
    return false;
  }

  SafetensorsHeader* const header_;
  std::string error_;
  State state_ = State::kStart;
  std::string key_;
  SafetensorsEntry entry_;
  int field_ = kOther;
  int seen_ = 0;
  int skipping_ = 0;
  Shape numbers_;
  bool has_metadata_ = false;
};

absl::Status CheckNames(const std::vector<SafetensorsEntry>& tensors) {
  absl::flat_hash_set<absl::string_view> names;
  names.reserve(tensors.size());
  for (const SafetensorsEntry& entry : tensors) {
    if (names.insert(entry.name).second) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("tensor \"", entry.name, "\": found twice"));
  }
  return absl::OkStatus();
}

// Sorts the tensors by their data, and checks that it fills the file without
// hole or overlap.
absl::Status CheckLayout(int64_t data_bytes,
                         std::vector<SafetensorsEntry>* tensors) {
  std::stable_sort(tensors->begin(), tensors->end(),
                   [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
                     return std::tie(a.begin, a.end) < std::tie(b.begin, b.end);
                   });
  int64_t expected = 0;
  for (const SafetensorsEntry& entry : *tensors) {
    const std::string where = absl::StrCat("tensor \"", entry.name, "\"");
    const std::string offsets =
        absl::StrCat("data_offsets [", entry.begin, ", ", entry.end, ")");
    if (entry.end < entry.begin) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, ": ", offsets, " end before they begin"));
    }
    const absl::StatusOr<int64_t> bytes = ByteSize(entry.dtype, entry.shape);
    if (!bytes.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, ": ", bytes.status().message()));
    }
    if (entry.end - entry.begin != *bytes) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, ": ", offsets, " hold ", entry.end - entry.begin,
                       " bytes, shape ", ShapeString(entry.shape), " of ",
                       DTypeName(entry.dtype), " needs ", *bytes));
    }
    if (entry.begin != expected) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, ": ", offsets, " leave ",
                       entry.begin < expected ? "an overlap" : "a hole",
                       ", expected them to begin at ", expected));
    }
    expected = entry.end;
  }
  if (expected != data_bytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the tensors take ", expected, " bytes, the file holds ", data_bytes,
        expected > data_bytes ? ": it is cut short" : ""));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(absl::string_view json,
                                                         int64_t data_bytes) {
  SafetensorsHeader header;
  // nlohmann takes a NUL for the end of the text; the format does not.
  if (const size_t nul = json.find('\0'); nul != json.npos) {
    return absl::InvalidArgumentError(
        absl::StrCat("the header is not JSON from byte ", nul, " on"));
  }
  HeaderReader reader(&header);
  if (!nlohmann::json::sax_parse(json.data(), json.data() + json.size(),
                                 &reader)) {
    return absl::InvalidArgumentError(reader.error());
  }
  WINDLASS_RETURN_IF_ERROR(CheckNames(header.tensors));
  WINDLASS_RETURN_IF_ERROR(CheckLayout(data_bytes, &header.tensors));
  return header;
}

absl::StatusOr<SafetensorsHeader> ReadSafetensorsHeader(
    const ByteSource& file) {
  auto refuse = [&file](const auto&... message) {
    return absl::InvalidArgumentError(
        absl::StrCat(file.name(), ": ", message...));
  };
  unsigned char length[8];
  if (file.size() < static_cast<int64_t>(sizeof(length))) {
    return refuse("found ", file.size(),
                  " bytes, expected 8 of header length at least");
  }
  WINDLASS_RETURN_IF_ERROR(file.ReadAt(
      0, absl::MakeSpan(reinterpret_cast<char*>(length), sizeof(length))));
  uint64_t header_bytes = 0;
  for (int i = 7; i >= 0; --i) header_bytes = header_bytes << 8 | length[i];
  if (header_bytes > static_cast<uint64_t>(kMaxSafetensorsHeader)) {
    return refuse("found a header of ", header_bytes, " bytes, expected ",
                  kMaxSafetensorsHeader, " at most");
  }
  const int64_t data_begin = 8 + static_cast<int64_t>(header_bytes);
  if (data_begin > file.size()) {
    return refuse("found a header of ", header_bytes, " bytes, the file has ",
                  file.size() - 8, " for it");
  }
  std::string json(header_bytes, '\0');
  WINDLASS_RETURN_IF_ERROR(
      file.ReadAt(8, absl::MakeSpan(&json[0], json.size())));
  absl::StatusOr<SafetensorsHeader> header =
      ParseSafetensorsHeader(json, file.size() - data_begin);
  if (!header.ok()) return Annotate(header.status(), file.name());
  header->data_begin = data_begin;
  return header;
}

std::string SerializeSafetensorsHeader(
    const SafetensorsMetadata& metadata,
    absl::Span<const SafetensorsEntry> tensors, int64_t alignment,
    int64_t remainder) {
  std::string out(8, '\0');
  const char* separator = "{";
  if (!metadata.empty()) {
    out.append("{\"__metadata__\":");
    for (const auto& [key, value] : metadata) {
      out.append(separator);
      AppendJsonString(key, &out);
      out.append(":");
      AppendJsonString(value, &out);
      separator = ",";
    }
    out.append("}");
    separator = ",";
  }
  for (const SafetensorsEntry& entry : tensors) {
    out.append(separator);
    AppendJsonString(entry.name, &out);
    absl::StrAppend(&out, ":{\"dtype\":\"", DTypeName(entry.dtype),
                    "\",\"shape\":[", absl::StrJoin(entry.shape, ","),
                    "],\"data_offsets\":[", entry.begin, ",", entry.end, "]}");
    separator = ",";
  }
  if (*separator == '{') out.append("{");
  out.append("}");
  const int64_t beyond = static_cast<int64_t>(out.size()) % alignment;
  out.append((alignment + remainder - beyond) % alignment, ' ');
  uint64_t length = out.size() - 8;
  for (int i = 0; i < 8; ++i, length >>= 8) {
    out[i] = static_cast<char>(length & 0xFF);
  }
  return out;
}

}  // namespace windlass
