#include "windlass/adapters/common/text_only.h"

#include <string>
#include <vector>

#include "windlass/core/status_macros.h"

namespace windlass {

AdapterOption TextOnlyOption() {
  return {"text_only", "by the architecture",
          "the native model has no vision: the language model's "
          "names are read without that prefix"};
}

absl::StatusOr<bool> ReadTextOnlyOption(const ModelConfig& config,
                                        const JsonFields& options,
                                        absl::string_view architecture,
                                        absl::string_view model_type) {
  WINDLASS_ASSIGN_OR_RETURN(const std::vector<std::string> architectures,
                            config.Architectures());
  WINDLASS_ASSIGN_OR_RETURN(const std::string type, config.ModelType());
  const bool is_text = architectures.empty()
                           ? type == model_type
                           : architectures.front() == architecture;
  return options.GetBoolOr("text_only", is_text);
}

}  // namespace windlass
