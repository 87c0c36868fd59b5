// Another repository that uses Windlass as a library: converts a checkpoint on
// disk, as the command line does.

#include <cstdio>

#include "absl/status/statusor.h"
#include "windlass/convert/conversion.h"

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  windlass::ConversionRequest request;
  request.input = argv[1];
  request.output = argv[2];
  request.to = windlass::Layout::kNative;
  const absl::StatusOr<windlass::ConversionReport> report =
      windlass::Convert(request);
  if (!report.ok()) {
    std::fprintf(stderr, "%s\n", report.status().ToString().c_str());
    return 1;
  }
  std::printf("%s: %d tensors\n", report->adapter.c_str(),
              static_cast<int>(report->summary.tensors_out));
  return 0;
}
