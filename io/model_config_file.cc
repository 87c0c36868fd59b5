#include "windlass/io/model_config_file.h"

#include <cstdint>

#include "windlass/core/status_macros.h"

namespace windlass {

absl::StatusOr<std::string> ReadConfigText(const Location& location) {
  constexpr int64_t kMaxBytes = 64 << 20;
  return ReadFile(*location.storage, location.path, kMaxBytes);
}

absl::StatusOr<ModelConfig> ReadModelConfig(const Location& location) {
  WINDLASS_ASSIGN_OR_RETURN(const std::string text, ReadConfigText(location));
  return ModelConfig::Parse(text, location.path);
}

}  // namespace windlass
