#include "windlass/tests/io/torch/torch_bytes.h"

#include "absl/strings/str_cat.h"

namespace windlass {

std::string Number(uint64_t value, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) {
    text.push_back(i < 8 ? static_cast<char>(value >> (8 * i)) : '\0');
  }
  return text;
}

std::string ZipBytes(const std::vector<ZipItem>& items, bool zip64,
                     const std::string& comment) {
  std::string file, directory;
  for (const ZipItem& item : items) {
    const uint64_t size = item.contents.size();
    const uint64_t place = file.size();
    const uint64_t small = zip64 ? 0xFFFFFFFF : size;
    const std::string extra =
        zip64 ? absl::StrCat(Number(1, 2), Number(24, 2), Number(size, 8),
                             Number(size, 8), Number(place, 8))
              : "";
    // The local header has no sizes, and an extra field of its own.
    absl::StrAppend(&file, "PK\x03\x04", Number(20, 2), Number(item.flags, 2),
                    Number(item.method, 2), Number(0, 16),
                    Number(item.name.size(), 2), Number(6, 2), item.name, "FB",
                    Number(2, 2), "ZZ", item.contents);
    absl::StrAppend(&directory, "PK\x01\x02", Number(20, 2), Number(20, 2),
                    Number(item.flags, 2), Number(item.method, 2), Number(0, 8),
                    Number(small, 4), Number(small, 4));
    absl::StrAppend(&directory, Number(item.name.size(), 2),
                    Number(extra.size(), 2), Number(0, 10),
                    Number(zip64 ? 0xFFFFFFFF : place, 4), item.name, extra);
  }
  const uint64_t begin = file.size();
  const uint64_t count = items.size();
  file += directory;
  if (zip64) {
    const uint64_t end64 = file.size();
    absl::StrAppend(&file, "PK\x06\x06", Number(44, 8), Number(0, 12),
                    Number(count, 8), Number(count, 8),
                    Number(directory.size(), 8), Number(begin, 8));
    absl::StrAppend(&file, "PK\x06\x07", Number(0, 4), Number(end64, 8),
                    Number(1, 4));
  }
  absl::StrAppend(&file, "PK\x05\x06", Number(0, 4),
                  Number(zip64 ? 0xFFFF : count, 2),
                  Number(zip64 ? 0xFFFF : count, 2));
  absl::StrAppend(&file, Number(zip64 ? 0xFFFFFFFF : directory.size(), 4),
                  Number(zip64 ? 0xFFFFFFFF : begin, 4),
                  Number(comment.size(), 2), comment);
  return file;
}

std::string PickleText(const std::string& text) {
  return absl::StrCat("X", Number(text.size(), 4), text);
}

std::string PickleInt(int64_t value) {
  return absl::StrCat("\x8a", Number(8, 1),
                      Number(static_cast<uint64_t>(value), 8));
}

std::string PickleInts(const std::vector<int64_t>& values) {
  std::string text = "(";
  for (const int64_t value : values) text += PickleInt(value);
  return text + "t";
}

std::string PickleStorage(const std::string& storage_class,
                          const std::string& key, int64_t size) {
  return absl::StrCat("(", PickleText("storage"), "ctorch\n", storage_class,
                      "\n", PickleText(key), PickleText("cpu"), PickleInt(size),
                      "tQ");
}

std::string PickleTensor(const std::string& storage, int64_t offset,
                         const std::vector<int64_t>& shape,
                         const std::vector<int64_t>& strides) {
  return absl::StrCat("ctorch._utils\n_rebuild_tensor_v2\n(", storage,
                      PickleInt(offset), PickleInts(shape), PickleInts(strides),
                      "\x89}tR");
}

}  // namespace windlass
