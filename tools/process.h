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

// To be called first. Descriptors 0 to 2 that the caller closed lead nowhere
// from now on, so that no file gets their numbers and messages with them;
// writing to a closed pipe and beyond a limit of file size are errors, not the
// end. Under `bazel run` the process enters the user's folder.
void PrepareProcess();

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

// To be called last: `code`, or a failure where stdout could not take what was
// printed.
int FinishOutput(const char* tool, int code);

}  // namespace windlass

#endif  // WINDLASS_TOOLS_PROCESS_H_
