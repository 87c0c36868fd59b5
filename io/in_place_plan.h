// What renaming tensors where they lie is going to write: only the beginning of
// each file. A format makes such a plan, in_place.h carries it out.

#ifndef WINDLASS_IO_IN_PLACE_PLAN_H_
#define WINDLASS_IO_IN_PLACE_PLAN_H_

#include <cstdint>
#include <string>
#include <vector>

namespace windlass {

// The new beginning of a file. Where it is longer than the old one, either the
// file grows in front, or what stood behind the old one goes to the file's end.
struct InPlaceEdit {
  std::string name;
  int64_t size = 0;    // of the file before
  int64_t insert = 0;  // bytes to make room for in front, a multiple of 4 KiB
  std::string moved;   // bytes that the new beginning covers; appended
  std::string old_start;  // what the file begins with before...
  std::string new_start;  // ...and after; written last

  int64_t size_after() const {
    return size + insert + static_cast<int64_t>(moved.size());
  }
};

// A small file that is replaced when the edits are done.
struct InPlaceFile {
  std::string name;
  std::string before;
  std::string after;
};

struct InPlacePlan {
  // Of all shards, also of those that stay as they are.
  std::vector<InPlaceEdit> edits;
  std::vector<InPlaceFile> closing;
};

}  // namespace windlass

#endif  // WINDLASS_IO_IN_PLACE_PLAN_H_
