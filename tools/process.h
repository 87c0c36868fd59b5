// What every tool does at its start, and how it speaks.

#ifndef WINDLASS_TOOLS_PROCESS_H_
#define WINDLASS_TOOLS_PROCESS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "windlass/core/json.h"

namespace windlass {

// The exit codes of every tool.
enum ExitCode { kExitDone = 0, kExitFailed = 1, kExitUsage = 2 };

// Runs a tool and returns its exit code. Descriptors 0 to 2 that the caller
// closed lead nowhere meanwhile, so that no file gets their numbers and
// messages with them; writing to a closed pipe and beyond a limit of file size
// are errors, not the end; what throws, and a stdout that could not take what
// was printed, is a failure, whose exit code is `failed`. Under `bazel run` the
// process enters the user's folder.
int RunTool(const char* tool, int (*main)(int argc, char** argv), int argc,
            char** argv, ExitCode failed = kExitFailed);

// The text on one line: control characters, escape sequences, what turns the
// direction of writing and bytes that are no UTF-8 are spelled out, and the
// middle of a very long one is left out.
std::string OneLine(absl::string_view text);

// Prints one JSON object on stdout, valid whatever its strings hold.
void PrintJson(const Json& json);

// How a tool says that it failed: "tool: message" in one line on stderr, and
// with `json` an object on stdout, too. Returns `code`.
struct Failure {
  const char* tool;
  bool json = false;

  int operator()(const absl::Status& status, ExitCode code = kExitFailed) const;
};

// Whether the words ask for JSON, even where the rest cannot be parsed.
bool AsksForJson(int argc, const char* const* argv);

}  // namespace windlass

#endif  // WINDLASS_TOOLS_PROCESS_H_
