// runner DIR: runs every golden case below a folder.

#include <cstdio>
#include <string>
#include <vector>

#include "windlass/testing/golden_case.h"
#include "windlass/tools/process.h"

namespace {

int Main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "runner: expected a folder of golden cases\n");
    return windlass::kExitUsage;
  }
  int passed = 0;
  int failed = 0;
  for (const std::string& folder : windlass::FindGoldenCases(argv[1])) {
    const absl::Status status = windlass::RunGoldenCase(folder);
    status.ok() ? ++passed : ++failed;
    std::printf("%s %s%s\n", status.ok() ? "ok    " : "FAILED", folder.c_str(),
                status.ok() ? "" : (": " + status.ToString()).c_str());
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 && passed > 0 ? windlass::kExitDone
                                   : windlass::kExitFailed;
}

}  // namespace

int main(int argc, char** argv) {
  return windlass::RunTool("runner", &Main, argc, argv);
}
