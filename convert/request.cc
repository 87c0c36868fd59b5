#include "windlass/convert/request.h"

#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

constexpr char kBadRequest[] = "windlass/bad_request";

// What a request of an optimizer's state cannot ask for as well.
absl::Status CheckOptimizer(const ConversionRequest& request) {
  const char* what = nullptr;
  if (request.output.empty()) what = "no output";
  if (request.dtype.has_value()) what = "a dtype";
  if (!request.like.empty()) what = "a checkpoint to be like";
  if (!request.fill_from.empty()) what = "a checkpoint to fill from";
  if (what == nullptr) return absl::OkStatus();
  return BadRequest(absl::InvalidArgumentError(absl::StrCat(
      "found ", what, ", expected ", request.output.empty() ? "one" : "none",
      " for an optimizer's state")));
}

// What a request that keeps the layout cannot ask for as well.
absl::Status CheckSame(const ConversionRequest& request) {
  const ConversionRequest plain;
  const char* what = nullptr;
  if (request.adapter != plain.adapter) what = "an adapter";
  if (request.adapter_options != plain.adapter_options) what = "its options";
  if (!request.rules.empty()) what = "rules";
  if (!request.config.empty()) what = "a config";
  if (request.exclude_key_regex != plain.exclude_key_regex) {
    what = "names to exclude";
  }
  if (request.v4_compatible) what = "v4_compatible";
  if (request.device_mesh.ep_size > 1) what = "a share of the experts";
  if (request.output.empty()) what = "no output";
  if (what == nullptr) return absl::OkStatus();
  return BadRequest(absl::InvalidArgumentError(absl::StrCat(
      "found ", what, ", expected none where the layout stays the same")));
}

// What only an output of its own can have, and what belongs together.
absl::Status CheckBases(const ConversionRequest& request) {
  if (request.allow_differences && request.like.empty()) {
    return BadRequest(absl::InvalidArgumentError(
        "found differences to be allowed, expected a checkpoint to differ "
        "from"));
  }
  const char* what = nullptr;
  if (request.dtype.has_value()) what = "a dtype";
  if (!request.like.empty()) what = "a checkpoint to be like";
  if (!request.fill_from.empty()) what = "a checkpoint to fill from";
  if (what == nullptr || !request.output.empty()) return absl::OkStatus();
  return BadRequest(absl::InvalidArgumentError(
      absl::StrCat("found ", what, ", expected none in place")));
}

// The formats exist, whatever else becomes of the request.
absl::Status CheckFormats(const ConversionRequest& request) {
  WINDLASS_RETURN_IF_ERROR(BadRequest(CheckFormatName(request.open.format)));
  return BadRequest(FindFormat(request.save.format).status());
}

}  // namespace

absl::string_view LayoutName(Layout layout) {
  switch (layout) {
    case Layout::kNative:
      return "native";
    case Layout::kHf:
      return "hf";
    case Layout::kSame:
      break;
  }
  return "same";
}

bool IsBadRequest(const absl::Status& status) {
  return status.GetPayload(kBadRequest).has_value();
}

absl::Status BadRequest(absl::Status status) {
  if (!status.ok()) status.SetPayload(kBadRequest, absl::Cord());
  return status;
}

absl::Status CheckRequest(const ConversionRequest& request) {
  WINDLASS_RETURN_IF_ERROR(CheckFormats(request));
  WINDLASS_RETURN_IF_ERROR(CheckBases(request));
  if (request.optimizer) WINDLASS_RETURN_IF_ERROR(CheckOptimizer(request));
  return request.to == Layout::kSame ? CheckSame(request) : absl::OkStatus();
}

}  // namespace windlass
