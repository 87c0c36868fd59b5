#include "windlass/io/safetensors/index.h"

#include <cstddef>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "windlass/core/json.h"

namespace windlass {
namespace {

// Event by event, because an index may have a million entries, and to see a
// tensor that comes twice. The callbacks' names are nlohmann's.
class WeightMapReader : public nlohmann::json_sax<Json> {
 public:
  explicit WeightMapReader(WeightMap* map) : map_(map) {}

  const std::string& error() const { return error_; }
  bool found() const { return found_; }

  bool null() override { return Other(); }
  bool boolean(bool) override { return Other(); }
  bool number_integer(number_integer_t) override { return Other(); }
  bool number_unsigned(number_unsigned_t) override { return Other(); }
  bool number_float(number_float_t, const string_t&) override {
    return Other();
  }
  bool binary(binary_t&) override { return Other(); }

  bool string(string_t& value) override {
    if (!in_map_) return Other();
    if (value.empty() || value == "." || value == ".." ||
        absl::StrContains(value, '/') || absl::StrContains(value, '\0')) {
      return Fail(absl::StrCat("weight_map: tensor \"", key_, "\": found \"",
                               value,
                               "\", expected the name of a file in this "
                               "folder"));
    }
    if (map_->try_emplace(key_, std::move(value)).second) return true;
    return Fail(absl::StrCat("weight_map: tensor \"", key_, "\": found twice"));
  }

  bool key(string_t& value) override {
    key_ = std::move(value);
    return true;
  }

  bool start_object(std::size_t) override {
    if (in_map_) return Other();
    if (depth_ == 1 && key_ == "weight_map") in_map_ = found_ = true;
    return Enter();
  }
  bool end_object() override {
    in_map_ = false;
    --depth_;
    return true;
  }
  bool start_array(std::size_t) override {
    return in_map_ || depth_ == 0 ? Other() : Enter();
  }
  bool end_array() override {
    --depth_;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    return Fail(absl::StrCat("not JSON from byte ", position, " on"));
  }

 private:
  bool Enter() { return ++depth_ <= 128 || Fail("nests too deep"); }

  // A value that is no file's name.
  bool Other() {
    if (depth_ == 0) return Fail("expected an object");
    if (!in_map_) return true;
    return Fail(absl::StrCat("weight_map: tensor \"", key_,
                             "\": expected a file's name"));
  }

  bool Fail(std::string error) {
    error_ = std::move(error);
    return false;
  }

  WeightMap* const map_;
  std::string error_;
  std::string key_;
  bool in_map_ = false;
  bool found_ = false;
  int depth_ = 0;
};

}  // namespace

absl::StatusOr<WeightMap> ParseWeightMap(absl::string_view json) {
  WeightMap map;
  WeightMapReader reader(&map);
  if (!Json::sax_parse(json.data(), json.data() + json.size(), &reader)) {
    return absl::InvalidArgumentError(reader.error());
  }
  if (!reader.found()) {
    return absl::InvalidArgumentError("expected an object \"weight_map\"");
  }
  return map;
}

}  // namespace windlass
