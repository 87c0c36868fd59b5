// Language models that are trained without the towers that their files have.

#ifndef WINDLASS_ADAPTERS_COMMON_TEXT_ONLY_H_
#define WINDLASS_ADAPTERS_COMMON_TEXT_ONLY_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/model_config.h"

namespace windlass {

AdapterOption TextOnlyOption();

// What the option says, or else whether config.json is of text alone: by its
// first architecture, or where it has none by its model_type.
absl::StatusOr<bool> ReadTextOnlyOption(const ModelConfig& config,
                                        const JsonFields& options,
                                        absl::string_view architecture,
                                        absl::string_view model_type);

}  // namespace windlass

#endif  // WINDLASS_ADAPTERS_COMMON_TEXT_ONLY_H_
