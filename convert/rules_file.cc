#include "windlass/convert/rules_file.h"

#include "windlass/adapters/rules/rules.h"
#include "windlass/core/status_macros.h"
#include "windlass/io/model_config_file.h"
#include "windlass/io/storage/storage.h"

namespace windlass {

absl::StatusOr<AdapterInfo> ReadRulesFile(const std::string& path) {
  WINDLASS_ASSIGN_OR_RETURN(const Location location, ResolveLocation(path));
  WINDLASS_ASSIGN_OR_RETURN(const std::string text, ReadConfigText(location));
  return ParseRules(text, path);
}

}  // namespace windlass
