#include "windlass/tests/testing/files.h"

#include <stdlib.h>
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "gtest/gtest.h"
#include "windlass/core/json.h"
#include "windlass/core/tensor.h"
#include "windlass/io/safetensors/header.h"

namespace windlass {

std::string MakeTestFolder() {
  std::string folder = absl::StrCat(::testing::TempDir(), "/windlass-XXXXXX");
  EXPECT_NE(::mkdtemp(&folder[0]), nullptr) << folder;
  return folder;
}

void WriteTestFile(const std::string& path, absl::string_view contents) {
  std::ofstream file(path, std::ios::binary);
  file.write(contents.data(), contents.size());
  ASSERT_TRUE(file.good()) << path;
}

std::string ReadTestFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  EXPECT_TRUE(file.good()) << path;
  std::string contents(file.good() ? static_cast<size_t>(file.tellg()) : 0,
                       '\0');
  file.seekg(0);
  file.read(&contents[0], contents.size());
  return contents;
}

std::map<std::string, std::string> ReadTestFolder(const std::string& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    files[entry.path().filename()] = ReadTestFile(entry.path());
  }
  return files;
}

std::string SafetensorsBytes(const StateDict& tensors) {
  std::vector<SafetensorsEntry> entries;
  std::string data;
  for (const auto& [name, tensor] : tensors) {
    const int64_t begin = data.size();
    data += ReadAll(tensor).value();
    entries.push_back({name, tensor.dtype(), tensor.shape(), begin,
                       static_cast<int64_t>(data.size())});
  }
  return SerializeSafetensorsHeader({{"format", "pt"}}, entries) + data;
}

void WriteTestCheckpoint(const std::string& folder,
                         const std::vector<StateDict>& shards,
                         absl::string_view config) {
  std::filesystem::create_directories(folder);
  Json index;
  for (size_t i = 0; i < shards.size(); ++i) {
    const std::string name =
        absl::StrFormat("model-%05d-of-%05d.safetensors", i + 1, shards.size());
    WriteTestFile(absl::StrCat(folder, "/", name), SafetensorsBytes(shards[i]));
    for (const auto& [key, tensor] : shards[i]) index["weight_map"][key] = name;
  }
  if (shards.size() > 1) {
    WriteTestFile(absl::StrCat(folder, "/model.safetensors.index.json"),
                  index.dump());
  }
  if (!config.empty()) {
    WriteTestFile(absl::StrCat(folder, "/config.json"), config);
  }
}

CommandResult RunCommand(const std::vector<std::string>& arguments) {
  const std::string folder = MakeTestFolder();
  std::string command;
  for (const std::string& argument : arguments) {
    absl::StrAppend(&command, "'", argument, "' ");
  }
  absl::StrAppend(&command, ">", folder, "/out 2>", folder, "/err </dev/null");
  CommandResult result;
  const int status = std::system(command.c_str());
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  result.out = ReadTestFile(absl::StrCat(folder, "/out"));
  result.err = ReadTestFile(absl::StrCat(folder, "/err"));
  std::filesystem::remove_all(folder);
  return result;
}

}  // namespace windlass
