// Tensors that share bytes where they were read, and do not where they are
// written: formats that know no views have each of them whole.

#ifndef WINDLASS_IO_COPIED_TENSORS_H_
#define WINDLASS_IO_COPIED_TENSORS_H_

#include <string>
#include <vector>

#include "windlass/core/state_dict.h"
#include "windlass/io/transfer/plan.h"

namespace windlass {

// The names of those of `tensors` that have bytes of another before them, but
// for those whose bytes `plan` writes once for both. In the dict's order. Reads
// no bytes.
std::vector<std::string> FindCopied(const StateDict& tensors,
                                    const TransferPlan& plan);

}  // namespace windlass

#endif  // WINDLASS_IO_COPIED_TENSORS_H_
