// What a conversion is going to write, to the byte, before anything is read.
//
// A format turns a StateDict into a plan; the engine (transfer.h) carries plans
// out and knows no format.

#ifndef WINDLASS_IO_TRANSFER_PLAN_H_
#define WINDLASS_IO_TRANSFER_PLAN_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/types/span.h"
#include "windlass/core/tensor.h"

namespace windlass {

// A tensor's bytes, or those of a part of one.
struct PlannedTensor {
  std::string name;  // empty for bytes that are no tensor's
  Tensor tensor;
  // Others that are the same tensor, and whose bytes are therefore these.
  std::vector<std::string> aliases;
};

// Bytes that can be known only when the file's tensors have been read, as their
// checksums stand in them; how many they are is known before.
struct LateBytes {
  int64_t size = 0;
  // Makes them of the CRC-32 of each PlannedTensor of the file, in the order of
  // the pieces. A pure function.
  std::function<std::string(absl::Span<const uint32_t> checksums)> make;
};

struct Piece {
  int64_t offset = 0;  // from the start of the file
  std::variant<std::string, PlannedTensor, LateBytes> content;

  const PlannedTensor* tensor() const {
    return std::get_if<PlannedTensor>(&content);
  }
  const LateBytes* late() const { return std::get_if<LateBytes>(&content); }
  int64_t size() const;
};

struct PlannedFile {
  std::string name;  // relative to the output folder
  // One after the other they are the file.
  std::vector<Piece> pieces;
  int64_t size = 0;
  int tensors = 0;  // how many of the pieces are PlannedTensors
  // Permission bits, where they shall not be those of any new file.
  std::optional<int> mode;

  // Puts something at the end.
  void Append(std::string bytes);
  void Append(PlannedTensor tensor);
  void Append(LateBytes late);

  // Tensors that have a name, or parts of them.
  int64_t CountTensors() const;
};

// A small file that makes the others a whole (an index); written last.
struct ClosingFile {
  std::string name;
  std::string contents;
};

struct TransferPlan {
  std::vector<PlannedFile> files;
  std::vector<ClosingFile> closing;
  // Tensors lie in parts, of which no digest of a tensor can be taken.
  bool cuts_tensors = false;

  // Bytes of all files.
  int64_t bytes() const;
};

// A file that goes along as it is.
PlannedFile VerbatimFile(std::string name, Extent whole);

}  // namespace windlass

#endif  // WINDLASS_IO_TRANSFER_PLAN_H_
