// verify: checks a checkpoint against the digests that convert --checksum
// wrote.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "windlass/core/json.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/status_macros.h"
#include "windlass/core/tensor.h"
#include "windlass/io/checkpoint.h"
#include "windlass/io/storage/storage.h"
#include "windlass/io/transfer/digest.h"
#include "windlass/tools/command_line.h"

namespace windlass {
namespace {

absl::StatusOr<std::string> DigestOf(const Tensor& tensor, DigestKind kind) {
  const auto digest = Digest::Create(kind);
  std::string buffer;
  for (int64_t begin = 0; begin < tensor.bytes();) {
    const int64_t end =
        std::min(tensor.bytes(), tensor.source()->PieceEnd(begin));
    buffer.resize(end - begin);
    WINDLASS_RETURN_IF_ERROR(tensor.source()->Read(Region{begin, end - begin},
                                                   &buffer[0], end - begin));
    digest->Update(absl::MakeConstSpan(buffer.data(), buffer.size()));
    begin = end;
  }
  return digest->Finish();
}

// Prints each tensor that is not as it was; returns how many there are.
absl::StatusOr<int> CountBad(const std::string& uri) {
  WINDLASS_ASSIGN_OR_RETURN(const Checkpoint checkpoint, OpenCheckpoint(uri));
  const std::string path = JoinPath(checkpoint.folder.path, kDigestsName);
  WINDLASS_ASSIGN_OR_RETURN(
      const std::string text,
      ReadFile(*checkpoint.folder.storage, path, int64_t{1} << 30));
  WINDLASS_ASSIGN_OR_RETURN(const JsonFields fields,
                            JsonFields::Parse(text, path));
  WINDLASS_ASSIGN_OR_RETURN(const std::string name, fields.GetString("digest"));
  const std::optional<DigestKind> kind = ParseDigestKind(name);
  if (!kind.has_value() || *kind == DigestKind::kNone) {
    return fields.WrongValue("digest", "xxh3 or sha256");
  }
  const JsonFields digests = fields.GetObject("tensors");
  int bad = 0;
  auto complain = [&bad](const std::string& tensor, const char* what) {
    std::printf("%s: %s\n", tensor.c_str(), what);
    ++bad;
  };
  for (const auto& [tensor_name, tensor] : checkpoint.tensors) {
    if (!digests.Has(tensor_name)) {
      complain(tensor_name, "no digest");
      continue;
    }
    WINDLASS_ASSIGN_OR_RETURN(const std::string expected,
                              digests.GetString(tensor_name));
    WINDLASS_ASSIGN_OR_RETURN(const std::string found, DigestOf(tensor, *kind));
    if (found != expected) complain(tensor_name, "other bytes");
  }
  for (const std::string& tensor_name : digests.Names()) {
    if (!checkpoint.tensors.Contains(tensor_name)) {
      complain(tensor_name, "missing");
    }
  }
  if (bad == 0) {
    std::printf("%d tensors are as they were written\n",
                static_cast<int>(checkpoint.tensors.size()));
  }
  return bad;
}

int Main(int argc, char** argv) {
  EnterCallersDirectory();
  const absl::StatusOr<CommandLine> line = CommandLine::Parse(argc, argv, {});
  if (!line.ok()) {
    PrintError("verify", line.status());
    return kExitUsage;
  }
  if (line->Has("help")) {
    std::printf(
        "Checks a checkpoint against the digests that convert --checksum "
        "wrote.\n\n  verify FOLDER\n");
    return kExitDone;
  }
  if (line->arguments().size() != 1) {
    PrintError("verify", absl::InvalidArgumentError("expected one folder"));
    return kExitUsage;
  }
  const absl::StatusOr<int> bad = CountBad(line->arguments()[0]);
  if (!bad.ok()) {
    PrintError("verify", bad.status());
    return kExitFailed;
  }
  return *bad == 0 ? kExitDone : kExitFailed;
}

}  // namespace
}  // namespace windlass

int main(int argc, char** argv) { return windlass::Main(argc, argv); }
