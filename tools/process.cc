#include "windlass/tools/process.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "absl/algorithm/container.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "windlass/core/without_exceptions.h"

namespace windlass {
namespace {

// The length of the UTF-8 character that `text` starts with, and its code; 0
// for what is none.
int ReadCharacter(absl::string_view text, uint32_t* code) {
  const auto byte = [&text](int i) {
    return static_cast<unsigned char>(text[i]);
  };
  const unsigned char first = byte(0);
  const int size = first < 0x80         ? 1
                   : first >> 5 == 0x6  ? 2
                   : first >> 4 == 0xE  ? 3
                   : first >> 3 == 0x1E ? 4
                                        : 0;
  if (size == 0 || text.size() < static_cast<size_t>(size)) return 0;
  *code = size == 1 ? first : first & (0x7F >> size);
  for (int i = 1; i < size; ++i) {
    if (byte(i) >> 6 != 0x2) return 0;
    *code = *code << 6 | (byte(i) & 0x3F);
  }
  // Longer than need be, half of a pair, or beyond Unicode.
  constexpr uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool valid = *code >= kLeast[size] && *code <= 0x10FFFF &&
                     !(*code >= 0xD800 && *code <= 0xDFFF);
  return valid ? size : 0;
}

// Controls, separators of lines and paragraphs, and what turns the direction of
// writing.
bool IsUnseen(uint32_t code) {
  return code < 0x20 || (code >= 0x7F && code < 0xA0) || code == 0x61C ||
         (code >= 0x200B && code <= 0x200F) ||
         (code >= 0x2028 && code <= 0x202E) ||
         (code >= 0x2060 && code <= 0x2069) || code == 0xFEFF;
}

std::string SpellOut(absl::string_view text) {
  // Nearly all that is printed, and there may be a great deal of it.
  if (absl::c_all_of(text, [](char c) { return c >= 0x20 && c < 0x7F; })) {
    return std::string(text);
  }
  std::string out;
  while (!text.empty()) {
    uint32_t code = 0;
    int size = ReadCharacter(text, &code);
    if (size == 0) {
      absl::StrAppendFormat(&out, "\\x%02x",
                            static_cast<unsigned char>(text[0]));
      size = 1;
    } else if (IsUnseen(code)) {
      absl::StrAppend(&out, code == '\n'   ? "\\n"
                            : code == '\t' ? "\\t"
                            : code == '\r' ? "\\r"
                            : code < 0x80  ? absl::StrFormat("\\x%02x", code)
                                           : absl::StrFormat("\\u{%x}", code));
    } else {
      absl::StrAppend(&out, text.substr(0, size));
    }
    text.remove_prefix(size);
  }
  return out;
}

void PrepareProcess() {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
    if (::fcntl(fd, F_GETFD) == -1 && errno == EBADF) {
      // The lowest free number is this one.
      ::open("/dev/null", O_RDWR);
    }
  }
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGXFSZ, SIG_IGN);
  const char* directory = std::getenv("BUILD_WORKING_DIRECTORY");
  if (directory != nullptr && ::chdir(directory) != 0) std::perror(directory);
}

int FinishOutput(const char* tool, int code, ExitCode failed) {
  const bool is_written = std::fflush(stdout) == 0 && std::ferror(stdout) == 0;
  if (is_written || code >= failed) return code;
  std::fprintf(stderr, "%s: stdout could not take the report: %s\n", tool,
               std::strerror(errno));
  return failed;
}

}  // namespace

int RunTool(const char* tool, int (*main)(int argc, char** argv), int argc,
            char** argv, ExitCode failed) {
  PrepareProcess();
  const absl::StatusOr<int> code = WithoutExceptions(
      [&]() -> absl::StatusOr<int> { return main(argc, argv); });
  const Failure fail{tool, AsksForJson(argc, argv)};
  return FinishOutput(tool, code.ok() ? *code : fail(code.status(), failed),
                      failed);
}

std::string OneLine(absl::string_view text) {
  constexpr size_t kMost = 2000;
  if (text.size() <= kMost) return SpellOut(text);
  return absl::StrCat(SpellOut(text.substr(0, kMost / 2)), "[",
                      text.size() - kMost, " bytes]",
                      SpellOut(text.substr(text.size() - kMost / 2)));
}

void PrintJson(const Json& json) {
  std::printf(
      "%s\n",
      json.dump(-1, ' ', false, Json::error_handler_t::replace).c_str());
}

int Failure::operator()(const absl::Status& status, ExitCode code) const {
  const std::string message = OneLine(
      absl::string_view(status.message().data(), status.message().size()));
  std::fprintf(stderr, "%s: %s\n", tool, message.c_str());
  if (json) {
    Json object;
    object["error"] = {{"code", absl::StatusCodeToString(status.code())},
                       {"message", message}};
    object["exit_code"] = static_cast<int>(code);
    PrintJson(object);
  }
  return code;
}

bool AsksForJson(int argc, const char* const* argv) {
  for (int i = 1; i < argc && std::strcmp(argv[i], "--") != 0; ++i) {
    const absl::string_view word = argv[i];
    if (word == "--json" || word == "--json=true") return true;
  }
  return false;
}

}  // namespace windlass
