// config.json on a storage.

#ifndef WINDLASS_IO_MODEL_CONFIG_FILE_H_
#define WINDLASS_IO_MODEL_CONFIG_FILE_H_

#include <string>

#include "absl/status/statusor.h"
#include "windlass/core/model_config.h"
#include "windlass/io/storage/storage.h"

namespace windlass {

inline constexpr char kConfigName[] = "config.json";

// The file's text. ResourceExhausted for more than 64 MiB.
absl::StatusOr<std::string> ReadConfigText(const Location& location);

// The same, parsed; messages name the path.
absl::StatusOr<ModelConfig> ReadModelConfig(const Location& location);

}  // namespace windlass

#endif  // WINDLASS_IO_MODEL_CONFIG_FILE_H_
