#include "windlass/core/leading_bytes.h"

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace windlass {
namespace {

constexpr absl::string_view kUnpack = " (unpack it first)";
constexpr absl::string_view kPickle =
    " (save the model again with safe serialization)";

template <size_t size>
constexpr absl::string_view Bytes(const char (&literal)[size]) {
  return absl::string_view(literal, size - 1);
}

// What follows the name says what to do.
struct Known {
  absl::string_view magic;
  absl::string_view what;
  absl::string_view advice;
};

constexpr Known kKnown[] = {
    {Bytes("\x1F\x8B"), "data compressed with gzip", kUnpack},
    {Bytes("\x28\xB5\x2F\xFD"), "data compressed with zstd", kUnpack},
    {Bytes("\xFD"
           "7zXZ\0"),
     "data compressed with xz", kUnpack},
    {Bytes("BZh"), "data compressed with bzip2", kUnpack},
    {Bytes("\x04\x22\x4D\x18"), "data compressed with lz4", kUnpack},
    {Bytes("7z\xBC\xAF\x27\x1C"), "a 7-Zip archive", kUnpack},
    {Bytes("PK\x03\x04"), "a zip archive, as torch.save and zip write them",
     " (unpack it first; a model of PyTorch's own format has to be saved again "
     "with safe serialization)"},
    {Bytes("\x80\x02"), "pickled data", kPickle},
    {Bytes("\x80\x03"), "pickled data", kPickle},
    {Bytes("\x80\x04"), "pickled data", kPickle},
    {Bytes("\x80\x05"), "pickled data", kPickle},
    {Bytes("\x89HDF\r\n\x1A\n"), "an HDF5 file", kPickle},
    {Bytes("GGUF"), "a GGUF file", " (take the model that it was made from)"},
    {Bytes("\x93NUMPY"), "a NumPy array", kPickle},
    {Bytes("\xFF\xFE"), "text in UTF-16", " (save it as UTF-8)"},
    {Bytes("\xFE\xFF"), "text in UTF-16", " (save it as UTF-8)"},
};

constexpr absl::string_view kFetchAgain =
    " (the download failed: fetch the file again)";

absl::string_view SkipSpace(absl::string_view text) {
  if (absl::StartsWith(text, "\xEF\xBB\xBF")) text.remove_prefix(3);
  return absl::StripLeadingAsciiWhitespace(text);
}

bool IsText(absl::string_view bytes) {
  return !bytes.empty() && absl::c_all_of(bytes, [](unsigned char c) {
    return c >= 0x20 ? c != 0x7F : absl::ascii_isspace(c);
  });
}

// The first line, shortened.
std::string FirstWords(absl::string_view text) {
  constexpr size_t kShown = 40;
  const absl::string_view line = text.substr(0, text.find_first_of("\r\n"));
  if (line.size() <= kShown) return std::string(line);
  return absl::StrCat(line.substr(0, kShown), "...");
}

}  // namespace

bool IsGitLfsPointer(absl::string_view leading) {
  const absl::string_view text = SkipSpace(leading);
  return absl::StartsWith(text, "version https://git-lfs.github.com/") ||
         absl::StartsWith(text, "version https://hawser.github.com/");
}

bool IsWebPage(absl::string_view leading) {
  const absl::string_view text = SkipSpace(leading);
  for (absl::string_view start :
       {"<!doctype html", "<html", "<head", "<body", "<?xml", "<error>"}) {
    if (absl::StartsWithIgnoreCase(text, start)) return true;
  }
  return false;
}

std::string DescribeLeadingBytes(absl::string_view leading) {
  leading = leading.substr(0, kLeadingBytes);
  if (leading.empty()) return absl::StrCat("an empty file", kFetchAgain);
  if (IsGitLfsPointer(leading)) {
    return "a Git LFS pointer (fetch the file itself: git lfs pull)";
  }
  if (IsWebPage(leading)) return absl::StrCat("a web page", kFetchAgain);
  for (const Known& known : kKnown) {
    if (absl::StartsWith(leading, known.magic)) {
      return absl::StrCat(known.what, known.advice);
    }
  }
  constexpr size_t kTarMagic = 257;
  if (leading.size() > kTarMagic &&
      absl::StartsWith(leading.substr(kTarMagic), "ustar")) {
    return absl::StrCat("a tar archive", kUnpack);
  }
  if (absl::c_all_of(leading, [](char c) { return c == '\0'; })) {
    return absl::StrCat("zeros", kFetchAgain);
  }
  const absl::string_view text = SkipSpace(leading);
  if (!IsText(text)) return "";
  return absl::StrCat("text that starts \"", FirstWords(text),
                      "\" (fetch the file again)");
}

}  // namespace windlass
