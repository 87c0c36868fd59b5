// Numbers in JSON, which has none for NaN and the infinities.

#ifndef WINDLASS_TOOLS_NUMBERS_JSON_H_
#define WINDLASS_TOOLS_NUMBERS_JSON_H_

#include <cmath>

#include "windlass/core/json.h"

namespace windlass {

// The number; "Infinity", "-Infinity" or "NaN" for what JSON has no number for,
// spelled as Python does.
inline Json NumberToJson(double number) {
  if (std::isnan(number)) return "NaN";
  if (std::isinf(number)) return number > 0 ? "Infinity" : "-Infinity";
  return number;
}

}  // namespace windlass

#endif  // WINDLASS_TOOLS_NUMBERS_JSON_H_
