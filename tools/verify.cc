// verify: checks a checkpoint against the digests that convert --checksum
// wrote.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "windlass/core/dtype.h"
#include "windlass/core/json.h"
#include "windlass/core/status_macros.h"
#include "windlass/core/tensor.h"
#include "windlass/io/checkpoint.h"
#include "windlass/io/digests.h"
#include "windlass/io/storage/storage.h"
#include "windlass/io/transfer/digest.h"
#include "windlass/tools/command_line.h"
#include "windlass/tools/process.h"

namespace windlass {
namespace {

constexpr Flag kFlags[] = {{"json", nullptr, "as JSON"}};

constexpr char kUsage[] =
    "Checks a checkpoint against the digests that convert --checksum wrote.\n\n"
    "  verify FOLDER\n\n";

absl::StatusOr<std::string> DigestOf(const Tensor& tensor, DigestKind kind) {
  WINDLASS_ASSIGN_OR_RETURN(const auto digest, Digest::Create(kind));
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

struct Complaint {
  std::string tensor;
  std::string what;
};

absl::StatusOr<Digests> LoadDigests(const Location& folder) {
  const std::string path = JoinPath(folder.path, kDigestsName);
  WINDLASS_ASSIGN_OR_RETURN(const std::string text,
                            ReadFile(*folder.storage, path, int64_t{1} << 30));
  absl::StatusOr<Digests> digests = ParseDigests(text);
  if (!digests.ok()) return Annotate(digests.status(), path);
  return digests;
}

// What is not as it was written: "found F32 [2], expected BF16 [2]"; empty for
// nothing.
absl::StatusOr<std::string> Compare(const Tensor& tensor,
                                    const TensorDigest& expected,
                                    DigestKind kind) {
  if (tensor.dtype() != expected.dtype || tensor.shape() != expected.shape) {
    return absl::StrCat("found ", tensor.ToString(), ", expected ",
                        DTypeName(expected.dtype), " ",
                        ShapeString(expected.shape));
  }
  WINDLASS_ASSIGN_OR_RETURN(const std::string found, DigestOf(tensor, kind));
  return found == expected.digest ? "" : "other bytes";
}

// Every tensor that is not as it was.
absl::StatusOr<std::vector<Complaint>> FindBad(const Checkpoint& checkpoint,
                                               const Digests& digests) {
  std::vector<Complaint> bad;
  for (const auto& [name, tensor] : checkpoint.tensors) {
    const auto expected = digests.tensors.find(name);
    if (expected == digests.tensors.end()) {
      bad.push_back({name, "no digest"});
      continue;
    }
    WINDLASS_ASSIGN_OR_RETURN(std::string what,
                              Compare(tensor, expected->second, digests.kind));
    if (!what.empty()) bad.push_back({name, std::move(what)});
  }
  for (const auto& [name, expected] : digests.tensors) {
    if (!checkpoint.tensors.Contains(name)) bad.push_back({name, "missing"});
  }
  return bad;
}

void Print(const Checkpoint& checkpoint, const std::vector<Complaint>& bad,
           bool as_json) {
  const int tensors = static_cast<int>(checkpoint.tensors.size());
  if (as_json) {
    Json json;
    json["tensors"] = tensors;
    json["bad"] = Json::array();
    for (const Complaint& complaint : bad) {
      json["bad"].push_back(
          {{"tensor", complaint.tensor}, {"found", complaint.what}});
    }
    return PrintJson(json);
  }
  for (const Complaint& complaint : bad) {
    std::printf("%s: %s\n", OneLine(complaint.tensor).c_str(),
                complaint.what.c_str());
  }
  if (bad.empty())
    std::printf("%d tensors are as they were written\n", tensors);
}

int Main(int argc, char** argv) {
  const Failure fail{"verify", AsksForJson(argc, argv)};
  const absl::StatusOr<CommandLine> line =
      CommandLine::Parse(argc, argv, kFlags);
  if (!line.ok()) return fail(line.status(), kExitUsage);
  if (PrintHelpOrVersion(*line, kUsage, kFlags)) return kExitDone;
  if (line->arguments().size() != 1) {
    return fail(absl::InvalidArgumentError("expected one folder"), kExitUsage);
  }
  const absl::StatusOr<Checkpoint> checkpoint =
      OpenCheckpoint(line->arguments()[0]);
  if (!checkpoint.ok()) return fail(checkpoint.status());
  const absl::StatusOr<Digests> digests = LoadDigests(checkpoint->folder);
  if (!digests.ok()) return fail(digests.status());
  const absl::StatusOr<std::vector<Complaint>> bad =
      FindBad(*checkpoint, *digests);
  if (!bad.ok()) return fail(bad.status());
  Print(*checkpoint, *bad, line->Has("json"));
  return bad->empty() ? kExitDone : kExitFailed;
}

}  // namespace
}  // namespace windlass

int main(int argc, char** argv) {
  return windlass::RunTool("verify", &windlass::Main, argc, argv);
}
