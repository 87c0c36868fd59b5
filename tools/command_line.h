// Flags of the command line tools, as a table over getopt_long.

#ifndef WINDLASS_TOOLS_COMMAND_LINE_H_
#define WINDLASS_TOOLS_COMMAND_LINE_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace windlass {

struct Flag {
  const char* name;
  // What stands after "=" in the help; null for a flag that is given or not.
  const char* value;
  const char* help;
};

// A parsed command line. Errors are InvalidArgument, meant for the user.
class CommandLine {
 public:
  // Flags may stand anywhere; "--" ends them. Every tool has --help.
  static absl::StatusOr<CommandLine> Parse(int argc, char** argv,
                                           absl::Span<const Flag> flags);

  bool Has(const std::string& flag) const { return values_.count(flag) > 0; }
  std::string Get(const std::string& flag, std::string fallback = "") const;

  // "--flag", "--flag=true", "--flag=false"; false when not given.
  absl::StatusOr<bool> GetBool(const std::string& flag) const;

  // A whole number within [low, high].
  absl::StatusOr<int64_t> GetInt(const std::string& flag, int64_t fallback,
                                 int64_t low, int64_t high) const;

  // A value out of a list; the first when not given.
  absl::StatusOr<std::string> GetChoice(
      const std::string& flag, absl::Span<const char* const> choices) const;

  // Bytes: "5GB", "500MB", "1GiB", "1048576"; `fallback` when not given.
  absl::StatusOr<int64_t> GetSize(const std::string& flag,
                                  int64_t fallback) const;

  const std::vector<std::string>& arguments() const { return arguments_; }

 private:
  std::map<std::string, std::string> values_;
  std::vector<std::string> arguments_;
};

// The flags, a line each.
std::string FlagsHelp(absl::Span<const Flag> flags);

// Under `bazel run` a tool starts in a folder of Bazel's; relative paths are
// meant from the user's.
void EnterCallersDirectory();

// Prints "tool: message" on stderr, on one line.
void PrintError(absl::string_view tool, const absl::Status& status);

// The exit codes of every tool.
enum ExitCode { kExitDone = 0, kExitFailed = 1, kExitUsage = 2 };

}  // namespace windlass

#endif  // WINDLASS_TOOLS_COMMAND_LINE_H_
