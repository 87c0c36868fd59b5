#include "windlass/core/json.h"

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace windlass {
namespace {

// Reads without keeping anything, to refuse bad text before it is built. The
// callbacks' names are nlohmann's.
class Validator : public nlohmann::json_sax<Json> {
 public:
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool key(string_t&) override { return true; }
  bool start_object(std::size_t) override { return Enter(); }
  bool start_array(std::size_t) override { return Enter(); }
  bool end_object() override { return Leave(); }
  bool end_array() override { return Leave(); }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    error_ = absl::StrCat("not JSON from byte ", position, " on");
    return false;
  }
  const std::string& error() const { return error_; }

 private:
  bool Enter() {
    if (++depth_ <= 128) return true;
    error_ = "JSON nested more than 128 levels deep";
    return false;
  }
  bool Leave() {
    --depth_;
    return true;
  }

  int depth_ = 0;
  std::string error_;
};

}  // namespace

absl::StatusOr<Json> ParseJson(absl::string_view text) {
  Validator validator;
  const char* begin = text.data();
  const char* end = text.data() + text.size();
  if (!Json::sax_parse(begin, end, &validator)) {
    return absl::InvalidArgumentError(validator.error());
  }
  return Json::parse(begin, end, nullptr, /*allow_exceptions=*/false);
}

void AppendJsonString(absl::string_view text, std::string* out) {
  const bool plain = absl::c_all_of(text, [](unsigned char c) {
    return c >= 0x20 && c < 0x7F && c != '"' && c != '\\';
  });
  if (plain) {
    absl::StrAppend(out, "\"", text, "\"");
    return;
  }
  out->append(Json(std::string(text))
                  .dump(-1, ' ', false, Json::error_handler_t::replace));
}

}  // namespace windlass
