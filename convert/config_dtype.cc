#include "windlass/convert/config_dtype.h"

#include <cstddef>
#include <optional>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "windlass/core/json.h"
#include "windlass/core/model_config.h"

namespace windlass {
namespace {

// The text with a first member more.
std::string WithFirstMember(absl::string_view object,
                            absl::string_view member) {
  const std::size_t begin = object.find('{') + 1;
  const std::size_t next = object.find_first_not_of(" \t\r\n", begin);
  const bool is_only = next == object.npos || object[next] == '}';
  const absl::string_view space =
      is_only ? "" : object.substr(begin, next - begin);
  return absl::StrCat(object.substr(0, begin), space, member,
                      is_only ? "" : ",", object.substr(begin));
}

}  // namespace

std::string WithConfigDType(absl::string_view config, DType dtype) {
  const std::string value = absl::StrCat("\"", TorchDTypeName(dtype), "\"");
  std::string text(config);
  for (const char* name : {"dtype", "torch_dtype"}) {
    text = ReplaceMembers(text, name, [&value](absl::string_view old) {
      // What else is called so is none of a model's.
      const bool is_dtype = old == "null" || absl::StartsWith(old, "\"");
      return is_dtype ? value : std::string(old);
    });
  }
  const absl::StatusOr<ModelConfig> parsed = ModelConfig::Parse(text);
  if (!parsed.ok()) return text;
  const absl::StatusOr<std::optional<DType>> found = parsed->FindDType();
  if (found.ok() && found->has_value()) return text;
  return WithFirstMember(text, absl::StrCat("\"torch_dtype\": ", value));
}

}  // namespace windlass
