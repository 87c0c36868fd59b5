#include "windlass/tools/command_line.h"

#include <algorithm>
#include <thread>

#include "CLI/App.hpp"
#include "CLI/Config.hpp"
#include "CLI/Formatter.hpp"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "windlass/core/near_match.h"
#include "windlass/core/status_macros.h"
#include "windlass/core/version.h"

namespace windlass {
namespace {

constexpr Flag kCommonFlags[] = {{"help", nullptr, "this text"},
                                 {"version", nullptr, "the version"}};

absl::Status BadValue(const std::string& flag, absl::string_view found,
                      absl::string_view expected) {
  return absl::InvalidArgumentError(
      absl::StrCat("--", flag, ": found \"", found, "\", expected ", expected));
}

absl::Status UnknownFlag(absl::string_view argument,
                         absl::Span<const Flag> flags) {
  std::vector<std::string> known = {"--help", "--version"};
  for (const Flag& flag : flags) known.push_back(absl::StrCat("--", flag.name));
  const absl::string_view name = argument.substr(0, argument.find('='));
  return absl::InvalidArgumentError(
      absl::StrCat("unknown flag ", name, DidYouMean(name, known)));
}

// Adds the flag to the parser as it is: once each, with one value or none.
CLI::Option* AddFlag(const Flag& flag, CLI::App* app) {
  const std::string name = absl::StrCat(
      "--", flag.name, flag.name == std::string("help") ? ",-h" : "");
  CLI::Option* const option =
      flag.value == nullptr ? app->add_flag(name) : app->add_option(name);
  // Every value is taken as it is, and counted below.
  option->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  option->expected(flag.value == nullptr ? 0 : 1);
  option->allow_extra_args(false);
  return option;
}

// What CLI11 says about a flag that lacks its value, or has one too many.
absl::Status ParseFailure(const CLI::ParseError& error) {
  return absl::InvalidArgumentError(error.what());
}

}  // namespace

absl::StatusOr<CommandLine> CommandLine::Parse(
    int argc, const char* const* argv, absl::Span<const Flag> flags,
    absl::Span<const Conflict> conflicts) {
  // CLI11 must not see what follows "--", nor take its words in turn: it reads
  // the last one first.
  const char* const* const end = argv + argc;
  const char* const* const stop = std::find_if(
      argv + std::min(argc, 1), end,
      [](const char* word) { return word == absl::string_view("--"); });
  std::vector<std::string> words(argv + std::min(argc, 1), stop);
  for (const std::string& word : words) {
    // CLI11 would take the next word.
    if (absl::StartsWith(word, "--") && word.find('=') == word.size() - 1) {
      return absl::InvalidArgumentError(
          absl::StrCat(word, ": expected a value, found none"));
    }
  }
  std::reverse(words.begin(), words.end());

  CLI::App app;
  app.set_help_flag();
  app.set_config();
  app.allow_extras();
  std::vector<std::pair<const Flag*, CLI::Option*>> options;
  for (const Flag& flag : kCommonFlags) {
    options.emplace_back(&flag, AddFlag(flag, &app));
  }
  for (const Flag& flag : flags) {
    options.emplace_back(&flag, AddFlag(flag, &app));
  }
  try {
    app.parse(words);
  } catch (const CLI::ParseError& error) {
    return ParseFailure(error);
  }

  CommandLine line;
  for (const std::string& word : app.remaining()) {
    if (word.size() > 1 && word[0] == '-') return UnknownFlag(word, flags);
    line.arguments_.push_back(word);
  }
  if (stop != end) line.arguments_.insert(line.arguments_.end(), stop + 1, end);
  for (const auto& [flag, option] : options) {
    if (option->count() == 0) continue;
    const std::string name = absl::StrCat("--", flag->name);
    if (option->count() > 1 && !flag->repeatable) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, ": found ", option->count(), " times"));
    }
    for (const std::string& value : option->results()) {
      if (value.empty()) {
        return absl::InvalidArgumentError(
            absl::StrCat(name, ": expected a value, found none"));
      }
    }
    line.values_[flag->name] = option->results();
  }
  for (const auto& [one, other] : conflicts) {
    const auto is_on = [&line](const char* flag) {
      return line.Has(flag) && line.Get(flag) != "false";
    };
    if (!is_on(one) || !is_on(other)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("--", one, " and --", other, " mean nothing together"));
  }
  return line;
}

std::string CommandLine::Get(const std::string& flag,
                             std::string fallback) const {
  const auto it = values_.find(flag);
  return it == values_.end() ? fallback : it->second.back();
}

std::vector<std::string> CommandLine::GetAll(const std::string& flag) const {
  const auto it = values_.find(flag);
  return it == values_.end() ? std::vector<std::string>() : it->second;
}

absl::StatusOr<bool> CommandLine::GetBool(const std::string& flag) const {
  const std::string value = Get(flag, "false");
  if (value == "true" || value == "false") return value == "true";
  return BadValue(flag, value, "true or false");
}

absl::StatusOr<int64_t> CommandLine::GetInt(const std::string& flag,
                                            int64_t fallback, int64_t low,
                                            int64_t high) const {
  if (!Has(flag)) return fallback;
  int64_t value = 0;
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

absl::StatusOr<int64_t> CommandLine::GetThreads() const {
  const int cores = std::thread::hardware_concurrency();
  return GetInt("threads", std::clamp(cores, 1, 8), 1, 1024);
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
  auto add = [&help](const Flag& flag) {
    const std::string left =
        flag.value == nullptr ? absl::StrCat("--", flag.name)
                              : absl::StrCat("--", flag.name, "=", flag.value);
    absl::StrAppendFormat(&help, "  %-29s %s\n", left, flag.help);
  };
  for (const Flag& flag : flags) add(flag);
  for (const Flag& flag : kCommonFlags) add(flag);
  return help;
}

bool PrintHelpOrVersion(const CommandLine& line, absl::string_view usage,
                        absl::Span<const Flag> flags) {
  if (line.Has("help")) {
    absl::PrintF("%s%s", usage, FlagsHelp(flags));
    return true;
  }
  if (line.Has("version")) {
    absl::PrintF("windlass %s\n", kVersion);
    return true;
  }
  return false;
}

}  // namespace windlass
