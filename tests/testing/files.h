// Folders and checkpoints on disk, for tests.

#ifndef WINDLASS_TESTS_TESTING_FILES_H_
#define WINDLASS_TESTS_TESTING_FILES_H_

#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "windlass/core/state_dict.h"

namespace windlass {

// A new, empty folder of the running test's own.
std::string MakeTestFolder();

void WriteTestFile(const std::string& path, absl::string_view contents);
std::string ReadTestFile(const std::string& path);

// Every file of a folder with its contents, hidden ones too.
std::map<std::string, std::string> ReadTestFolder(const std::string& folder);

// The bytes of a safetensors file.
std::string SafetensorsBytes(const StateDict& tensors);

// A folder with a shard per dict, model-0000i-of-0000n.safetensors, an index
// unless there is one shard alone, and `config` as config.json unless empty.
void WriteTestCheckpoint(const std::string& folder,
                         const std::vector<StateDict>& shards,
                         absl::string_view config);

// A program's exit code and what it printed.
struct CommandResult {
  int exit_code = -1;
  std::string out;
  std::string err;
};
CommandResult RunCommand(const std::vector<std::string>& arguments);

}  // namespace windlass

#endif  // WINDLASS_TESTS_TESTING_FILES_H_
