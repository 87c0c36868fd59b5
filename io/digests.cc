#include "windlass/io/digests.h"

#include <cstdint>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "windlass/core/json.h"
#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

constexpr int64_t kVersion = 1;

absl::Status Unexpected(absl::string_view field, absl::string_view expected) {
  return absl::InvalidArgumentError(
      absl::StrCat("field \"", field, "\": expected ", expected));
}

// A string member, or nullopt.
std::optional<std::string> FindString(const Json& object, const char* field) {
  const auto it = object.find(field);
  if (it == object.end() || !it->is_string()) return std::nullopt;
  return it->get<std::string>();
}

absl::StatusOr<TensorDigest> ParseTensor(const Json& item) {
  if (!item.is_object()) {
    return absl::InvalidArgumentError("expected dtype, shape and digest");
  }
  TensorDigest tensor;
  const std::optional<DType> dtype =
      ParseDType(FindString(item, "dtype").value_or(""));
  if (!dtype.has_value()) return Unexpected("dtype", "a dtype such as BF16");
  tensor.dtype = *dtype;
  const auto shape = item.find("shape");
  if (shape == item.end() || !shape->is_array()) {
    return Unexpected("shape", "a list of sizes");
  }
  for (const Json& size : *shape) {
    if (!size.is_number_unsigned()) {
      return Unexpected("shape", "a list of sizes");
    }
    tensor.shape.push_back(size.get<int64_t>());
  }
  // Sizes beyond 63 bits are negative by now.
  if (!ByteSize(tensor.dtype, tensor.shape).ok()) {
    return Unexpected("shape", "that of a tensor");
  }
  std::optional<std::string> digest = FindString(item, "digest");
  if (!digest.has_value()) return Unexpected("digest", "a digest");
  tensor.digest = *std::move(digest);
  return tensor;
}

}  // namespace

std::string SerializeDigests(const Digests& digests) {
  Json tensors = Json::object();
  for (const auto& [name, tensor] : digests.tensors) {
    Json shape = Json::array();
    for (const int64_t size : tensor.shape) shape.push_back(size);
    tensors[name] = {{"dtype", std::string(DTypeName(tensor.dtype))},
                     {"shape", std::move(shape)},
                     {"digest", tensor.digest}};
  }
  Json json;
  json["version"] = kVersion;
  json["digest"] = std::string(DigestKindName(digests.kind));
  json["tensors"] = std::move(tensors);
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

absl::StatusOr<Digests> ParseDigests(absl::string_view text) {
  WINDLASS_ASSIGN_OR_RETURN(const Json json, ParseJson(text));
  const auto version = json.is_object() ? json.find("version") : json.end();
  if (version == json.end() || *version != kVersion) {
    return absl::InvalidArgumentError(absl::StrCat(
        "found ",
        version == json.end() ? "no version"
                              : absl::StrCat("version ", version->dump()),
        ", expected version ", kVersion));
  }
  Digests digests;
  const std::optional<DigestKind> kind =
      ParseDigestKind(FindString(json, "digest").value_or(""));
  if (!kind.has_value() || *kind == DigestKind::kNone) {
    return Unexpected("digest", "xxh3 or sha256");
  }
  digests.kind = *kind;
  const auto tensors = json.find("tensors");
  if (tensors == json.end() || !tensors->is_object()) {
    return Unexpected("tensors", "an object");
  }
  for (const auto& [name, item] : tensors->items()) {
    absl::StatusOr<TensorDigest> tensor = ParseTensor(item);
    if (!tensor.ok()) {
      return Annotate(tensor.status(), "tensor \"", name, "\"");
    }
    digests.tensors.emplace(name, *std::move(tensor));
  }
  return digests;
}

}  // namespace windlass
