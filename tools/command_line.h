// The command lines of the tools: a table of flags, parsed by CLI11.
//
// Flags are exact, stand anywhere, and are given once unless the table says
// otherwise; "--" ends them. A flag with a value takes "--flag=value" or
// "--flag value", one without "--flag", "--flag=true" or "--flag=false". Every
// tool has -h, --help and --version.

#ifndef WINDLASS_TOOLS_COMMAND_LINE_H_
#define WINDLASS_TOOLS_COMMAND_LINE_H_

#include <cstdint>
#include <map>
#include <string>
#include <utility>
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
  bool repeatable = false;
};

// Two flags that mean nothing together.
using Conflict = std::pair<const char*, const char*>;

// A parsed command line. Errors are InvalidArgument, meant for the user.
class CommandLine {
 public:
  static absl::StatusOr<CommandLine> Parse(
      int argc, const char* const* argv, absl::Span<const Flag> flags,
      absl::Span<const Conflict> conflicts = {});

  bool Has(const std::string& flag) const { return values_.count(flag) > 0; }
  std::string Get(const std::string& flag, std::string fallback = "") const;

  // Of a repeatable flag, as often as it was given.
  std::vector<std::string> GetAll(const std::string& flag) const;

  // false when not given.
  absl::StatusOr<bool> GetBool(const std::string& flag) const;

  // A whole number within [low, high].
  absl::StatusOr<int64_t> GetInt(const std::string& flag, int64_t fallback,
                                 int64_t low, int64_t high) const;

  // --threads: the machine's cores, eight at most, when not given.
  absl::StatusOr<int64_t> GetThreads() const;

  // A value out of a list; the first when not given.
  absl::StatusOr<std::string> GetChoice(
      const std::string& flag, absl::Span<const char* const> choices) const;

  // Bytes: "5GB", "500MB", "1GiB", "1048576"; `fallback` when not given.
  absl::StatusOr<int64_t> GetSize(const std::string& flag,
                                  int64_t fallback) const;

  const std::vector<std::string>& arguments() const { return arguments_; }

 private:
  std::map<std::string, std::vector<std::string>> values_;
  std::vector<std::string> arguments_;
};

// The flags, a line each.
std::string FlagsHelp(absl::Span<const Flag> flags);

// Prints what --help and --version ask for, `usage` before the flags. False
// where neither was given.
bool PrintHelpOrVersion(const CommandLine& line, absl::string_view usage,
                        absl::Span<const Flag> flags);

}  // namespace windlass

#endif  // WINDLASS_TOOLS_COMMAND_LINE_H_
