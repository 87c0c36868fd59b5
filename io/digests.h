// windlass_digests.json: what a checkpoint's tensors were when they were
// written, so that damage is noticed later. docs/formats.md describes the file.

#ifndef WINDLASS_IO_DIGESTS_H_
#define WINDLASS_IO_DIGESTS_H_

#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "windlass/core/dtype.h"
#include "windlass/io/transfer/digest.h"

namespace windlass {

// What the file is called in a checkpoint's folder.
inline constexpr char kDigestsName[] = "windlass_digests.json";

struct TensorDigest {
  DType dtype = DType::kU8;
  Shape shape;
  std::string digest;  // of the bytes, in hexadecimal
};

struct Digests {
  DigestKind kind = DigestKind::kNone;
  std::map<std::string, TensorDigest> tensors;
};

std::string SerializeDigests(const Digests& digests);

// InvalidArgument for what is no such file, or one of a version that is not
// known.
absl::StatusOr<Digests> ParseDigests(absl::string_view text);

}  // namespace windlass

#endif  // WINDLASS_IO_DIGESTS_H_
