// The parameters of a file of rules: names for what config.json or an option
// says, used in extents and dtypes.

#ifndef WINDLASS_ADAPTERS_RULES_PARAMETERS_H_
#define WINDLASS_ADAPTERS_RULES_PARAMETERS_H_

#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "windlass/core/dtype.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/layout_op.h"
#include "windlass/core/located_json.h"
#include "windlass/core/model_config.h"

namespace windlass {

class RulesParameters {
 public:
  // `declared` is the file's "parameters", or null for none. An option of a
  // parameter's name comes first, then the config's field, then the default.
  // InvalidArgument or NotFound names the field that is missing.
  static absl::StatusOr<RulesParameters> Read(const LocatedJson* declared,
                                              const ModelConfig& config,
                                              const JsonFields& options);

  // A number, or names and numbers with "*" between: 128, "I", "2*I". A name
  // that is no parameter is an extent that only the tensors know; with `known`
  // it is InvalidArgument. "_" may be anything.
  absl::StatusOr<LayoutDim> Extent(const LocatedJson& value, bool known) const;

  // Extent of a number that has to be known.
  absl::StatusOr<int64_t> Number(const LocatedJson& value) const;

  // A dtype's name, or that of a parameter whose value is one.
  absl::StatusOr<DType> GetDType(const LocatedJson& value) const;

 private:
  struct Value {
    std::string text;
    std::string origin;
  };

  std::map<std::string, Value> values_;
};

}  // namespace windlass

#endif  // WINDLASS_ADAPTERS_RULES_PARAMETERS_H_
