// What a file is by its first bytes, for messages about files that are not what
// their name says: half of a download, an error page, a wrapper.

#ifndef WINDLASS_CORE_LEADING_BYTES_H_
#define WINDLASS_CORE_LEADING_BYTES_H_

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace windlass {

// As many bytes of a file's beginning as DescribeLeadingBytes needs.
inline constexpr size_t kLeadingBytes = 512;

// Whether a text is a Git LFS pointer: it stands where a file was not fetched.
bool IsGitLfsPointer(absl::string_view leading);

// Whether a text is a web page, as a server sends it in place of a file.
bool IsWebPage(absl::string_view leading);

// "a Git LFS pointer (fetch the file itself: git lfs pull)": what a file that
// starts so is, and what to do about it. Empty where it might be anything. Ask
// only about files that could not be read: a safetensors file may start with
// the very bytes that mark another format, and JSON is text too.
std::string DescribeLeadingBytes(absl::string_view leading);

}  // namespace windlass

#endif  // WINDLASS_CORE_LEADING_BYTES_H_
