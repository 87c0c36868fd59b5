// What a conversion is going to write, to the byte, before anything is read.
//
// A format turns a StateDict into a plan; the engine (transfer.h) carries plans
// out and knows no format.

#ifndef WINDLASS_IO_TRANSFER_PLAN_H_
#define WINDLASS_IO_TRANSFER_PLAN_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "windlass/core/tensor.h"

namespace windlass {

// A tensor's bytes at their place in a file.
struct PlannedTensor {
  std::string name;
  int64_t offset = 0;  // from the start of the file
  Tensor tensor;
};

struct PlannedFile {
  std::string name;    // relative to the output folder
  std::string header;  // what the file starts with
  // In order of offset; together with the header they cover the file.
  std::vector<PlannedTensor> tensors;
  int64_t size = 0;
  // Permission bits, where they shall not be those of any new file.
  std::optional<int> mode;
};

// A small file that makes the others a whole (an index); written last.
struct ClosingFile {
  std::string name;
  std::string contents;
};

struct TransferPlan {
  std::vector<PlannedFile> files;
  std::vector<ClosingFile> closing;

  // Bytes of all files.
  int64_t bytes() const;
};

// A file that goes along as it is.
PlannedFile VerbatimFile(std::string name, Extent whole);

}  // namespace windlass

#endif  // WINDLASS_IO_TRANSFER_PLAN_H_
