#include "windlass/tools/command_line.h"

#include <getopt.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <limits>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "windlass/core/near_match.h"
#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

absl::Status BadValue(const std::string& flag, absl::string_view found,
                      absl::string_view expected) {
  return absl::InvalidArgumentError(
      absl::StrCat("--", flag, ": found \"", found, "\", expected ", expected));
}

absl::Status UnknownFlag(absl::string_view argument,
                         absl::Span<const Flag> flags) {
  std::vector<std::string> known = {"--help"};
  for (const Flag& flag : flags) known.push_back(absl::StrCat("--", flag.name));
  const absl::string_view name = argument.substr(0, argument.find('='));
  return absl::InvalidArgumentError(
      absl::StrCat("unknown flag ", name, DidYouMean(name, known)));
}

}  // namespace

absl::StatusOr<CommandLine> CommandLine::Parse(int argc, char** argv,
                                               absl::Span<const Flag> flags) {
  std::vector<option> options;
  for (const Flag& flag : flags) {
    options.push_back(
        {flag.name,
         flag.value == nullptr ? optional_argument : required_argument, nullptr,
         0});
  }
  options.push_back({"help", no_argument, nullptr, 0});
  options.push_back({nullptr, 0, nullptr, 0});

  CommandLine line;
  opterr = 0;
  optind = 0;
  while (true) {
    int index = -1;
    // The leading ':' tells a missing value from an unknown flag.
    const int found = getopt_long(argc, argv, ":", options.data(), &index);
    if (found == -1) break;
    const std::string argument = argv[optind - 1];
    if (found == ':') {
      return absl::InvalidArgumentError(
          absl::StrCat(argument, ": expected a value"));
    }
    if (found == '?') return UnknownFlag(argument, flags);
    line.values_[options[index].name] = optarg == nullptr ? "true" : optarg;
  }
  line.arguments_.assign(argv + optind, argv + argc);
  return line;
}

std::string CommandLine::Get(const std::string& flag,
                             std::string fallback) const {
  auto it = values_.find(flag);
  return it == values_.end() ? std::move(fallback) : it->second;
}

absl::StatusOr<bool> CommandLine::GetBool(const std::string& flag) const {
  const std::string value = Get(flag, "false");
  if (value == "true" || value == "1") return true;
  if (value == "false" || value == "0") return false;
  return BadValue(flag, value, "true or false");
}

absl::StatusOr<int64_t> CommandLine::GetInt(const std::string& flag,
                                            int64_t fallback, int64_t low,
                                            int64_t high) const {
  if (!Has(flag)) return fallback;
  int64_t value;
  if (absl::SimpleAtoi(Get(flag), &value) && value >= low && value <= high) {
    return value;
  }
  return BadValue(flag, Get(flag),
                  absl::StrCat("a number from ", low, " to ", high));
}

absl::StatusOr<std::string> CommandLine::GetChoice(
    const std::string& flag, absl::Span<const char* const> choices) const {
  const std::string value = Get(flag, choices[0]);
  for (const char* choice : choices) {
    if (value == choice) return value;
  }
  return BadValue(flag, value, absl::StrJoin(choices, ", "));
}

absl::StatusOr<int64_t> CommandLine::GetSize(const std::string& flag,
                                             int64_t fallback) const {
  if (!Has(flag)) return fallback;
  static constexpr std::pair<const char*, int64_t> kUnits[] = {
      {"KIB", int64_t{1} << 10},
      {"MIB", int64_t{1} << 20},
      {"GIB", int64_t{1} << 30},
      {"TIB", int64_t{1} << 40},
      {"KB", 1'000},
      {"MB", 1'000'000},
      {"GB", 1'000'000'000},
      {"TB", 1'000'000'000'000},
      {"B", 1}};
  const std::string text = absl::AsciiStrToUpper(Get(flag));
  absl::string_view number = text;
  int64_t unit = 1;
  for (const auto& [suffix, bytes] : kUnits) {
    if (absl::EndsWith(text, suffix)) {
      number.remove_suffix(absl::string_view(suffix).size());
      unit = bytes;
      break;
    }
  }
  int64_t count, size;
  if (absl::SimpleAtoi(number, &count) && count > 0 &&
      !__builtin_mul_overflow(count, unit, &size)) {
    return size;
  }
  return BadValue(flag, Get(flag), "a size such as 5GB or 500MiB");
}

std::string FlagsHelp(absl::Span<const Flag> flags) {
  std::string help;
  for (const Flag& flag : flags) {
    const std::string left =
        flag.value == nullptr ? absl::StrCat("--", flag.name)
                              : absl::StrCat("--", flag.name, "=", flag.value);
    absl::StrAppendFormat(&help, "  %-29s %s\n", left, flag.help);
  }
  return help;
}

void EnterCallersDirectory() {
  const char* directory = std::getenv("BUILD_WORKING_DIRECTORY");
  if (directory != nullptr && ::chdir(directory) != 0) std::perror(directory);
}

void PrintError(absl::string_view tool, const absl::Status& status) {
  const std::string message = absl::StrReplaceAll(
      std::string(status.message()), {{"\n", "\\n"}, {"\r", "\\r"}});
  std::fprintf(stderr, "%s: %s\n", std::string(tool).c_str(), message.c_str());
}

}  // namespace windlass
