// config.json's word on the dtype of the weights.

#ifndef WINDLASS_CONVERT_CONFIG_DTYPE_H_
#define WINDLASS_CONVERT_CONFIG_DTYPE_H_

#include <string>

#include "absl/strings/string_view.h"
#include "windlass/core/dtype.h"

namespace windlass {

// The text with this dtype wherever it has one: "dtype" or "torch_dtype", of
// the model or of a part of it ("text_config"). Where neither the model nor its
// text has any, "torch_dtype" comes first, which transformers 4 and 5 read. All
// else stays as it is, byte for byte. ModelConfig has taken the text.
std::string WithConfigDType(absl::string_view config, DType dtype);

}  // namespace windlass

#endif  // WINDLASS_CONVERT_CONFIG_DTYPE_H_
