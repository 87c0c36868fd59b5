// The limit to measure against: copies the files of a folder with nothing but
// threads, preallocation, pread and pwrite. Knows no tensor and no safety.
//
//   bare_copy THREADS BUFFER_KIB pread|copy_file_range FROM TO

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr off_t kItemBytes = 8 << 20;

struct File {
  int from;
  int to;
  off_t size;
};

[[noreturn]] void Die(const char* what) {
  std::perror(what);
  std::exit(1);
}

std::vector<File> OpenAll(const std::string& from, const std::string& to) {
  std::vector<File> files;
  ::mkdir(to.c_str(), 0777);
  DIR* const dir = ::opendir(from.c_str());
  if (dir == nullptr) Die(from.c_str());
  while (const dirent* entry = ::readdir(dir)) {
    const std::string name = entry->d_name;
    const int in = ::open((from + "/" + name).c_str(), O_RDONLY);
    struct stat info;
    if (in < 0 || ::fstat(in, &info) != 0 || !S_ISREG(info.st_mode)) continue;
    const int out =
        ::open((to + "/" + name).c_str(), O_RDWR | O_CREAT | O_TRUNC, 0666);
    if (out < 0) Die(to.c_str());
    if (info.st_size > 0 && ::posix_fallocate(out, 0, info.st_size) != 0) {
      Die("posix_fallocate");
    }
    files.push_back({in, out, info.st_size});
  }
  ::closedir(dir);
  return files;
}

void CopyItem(const File& file, off_t at, off_t size, bool in_kernel,
              std::vector<char>* buffer) {
  while (size > 0) {
    const size_t want = std::min<size_t>(size, buffer->size());
    ssize_t done;
    if (in_kernel) {
      off_t from = at, to = at;
      done = ::copy_file_range(file.from, &from, file.to, &to, size, 0);
    } else {
      done = ::pread(file.from, buffer->data(), want, at);
      if (done > 0) done = ::pwrite(file.to, buffer->data(), done, at);
    }
    if (done <= 0) Die("copying");
    at += done;
    size -= done;
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 6) {
    std::fprintf(
        stderr, "bare_copy THREADS BUFFER_KIB pread|copy_file_range FROM TO\n");
    return 2;
  }
  const int threads = std::atoi(argv[1]);
  const size_t buffer_bytes = static_cast<size_t>(std::atoi(argv[2])) << 10;
  const bool in_kernel = std::string(argv[3]) == "copy_file_range";
  const std::vector<File> files = OpenAll(argv[4], argv[5]);
  struct Item {
    const File* file;
    off_t at;
  };
  std::vector<Item> items;
  for (const File& file : files) {
    for (off_t at = 0; at < file.size; at += kItemBytes) {
      items.push_back({&file, at});
    }
  }
  std::atomic<size_t> next{0};
  std::vector<std::thread> running;
  for (int i = 0; i < threads; ++i) {
    running.emplace_back([&] {
      std::vector<char> buffer(buffer_bytes);
      for (size_t item; (item = next.fetch_add(1)) < items.size();) {
        const File& file = *items[item].file;
        CopyItem(file, items[item].at,
                 std::min(kItemBytes, file.size - items[item].at), in_kernel,
                 &buffer);
      }
    });
  }
  for (std::thread& thread : running) thread.join();
  return 0;
}
