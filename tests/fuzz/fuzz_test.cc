// What the fuzzers run on, run by every compiler: all that they have found, the
// golden cases cut short at every byte, and seeds and golden cases with bytes
// changed.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "windlass/core/byte_source.h"
#include "windlass/io/dcp/metadata.h"
#include "windlass/io/storage/storage.h"
#include "windlass/io/torch/archive.h"
#include "windlass/tests/fuzz/targets.h"
#include "windlass/tests/testing/files.h"
#include "windlass/tests/testing/work.h"

namespace windlass {
namespace {

struct Seed {
  std::string path;
  std::string bytes;
  bool is_metadata = false;
};

void Collect(const std::string& folder, std::vector<Seed>* seeds) {
  const auto location = ResolveLocation(folder);
  const std::vector<Storage::Entry> entries =
      location->storage->List(location->path).value();
  for (const Storage::Entry& entry : entries) {
    const std::string path = absl::StrCat(folder, "/", entry.name);
    if (entry.kind == Storage::Kind::kDirectory) {
      Collect(path, seeds);
    } else if (entry.size < (64 << 10) &&
               !absl::EndsWith(path, ".safetensors") &&
               !absl::EndsWith(path, ".json") && !absl::EndsWith(path, ".md")) {
      seeds->push_back(
          {path, ReadTestFile(path), absl::EndsWith(path, ".metadata")});
    }
  }
}

std::vector<Seed> Seeds(const std::string& folder) {
  std::vector<Seed> seeds;
  Collect(folder, &seeds);
  return seeds;
}

// All targets: what is one format may be tried as another.
void RunAll(const std::string& bytes) {
  for (const FuzzTarget& target : FuzzTargets()) {
    WorkCounter counter;
    target.run(bytes);
    EXPECT_LE(counter.work().peak, MostFuzzMemory(bytes.size())) << target.name;
  }
}

bool IsRead(const Seed& seed, const std::string& bytes) {
  if (seed.is_metadata) return ParseDcpMetadata(bytes).ok();
  const int64_t size = static_cast<int64_t>(bytes.size());
  return TorchArchive::Open({std::make_shared<MemorySource>(bytes), 0, size})
      .ok();
}

TEST(FuzzTest, WhatWasFoundIsNotFoundAgain) {
  for (const char* folder : {"tests/fuzz/found", "tests/fuzz/seeds"}) {
    for (const Seed& seed : Seeds(folder)) {
      SCOPED_TRACE(seed.path);
      RunAll(seed.bytes);
    }
  }
}

TEST(FuzzTest, WhatIsCutIsRefused) {
  int whole = 0;
  for (const Seed& seed : Seeds("tests/formats/data")) {
    SCOPED_TRACE(seed.path);
    // Files of DCP hold several archives; the end of the last is an archive.
    if (absl::EndsWith(seed.path, ".distcp") || !IsRead(seed, seed.bytes)) {
      continue;
    }
    ++whole;
    const size_t step = std::max<size_t>(1, seed.bytes.size() / 500);
    for (size_t size = 0; size < seed.bytes.size(); size += step) {
      ASSERT_FALSE(IsRead(seed, seed.bytes.substr(0, size))) << size;
    }
  }
  EXPECT_GE(whole, 25);
}

TEST(FuzzTest, WhatIsChangedStaysWithinBounds) {
  std::mt19937 random(5);
  std::vector<Seed> seeds = Seeds("tests/formats/data");
  for (Seed& seed : Seeds("tests/fuzz/seeds")) seeds.push_back(std::move(seed));
  for (const Seed& seed : seeds) {
    SCOPED_TRACE(seed.path);
    for (int i = 0; i < 20; ++i) {
      std::string bytes = seed.bytes;
      for (size_t changes = 1 + random() % 3; changes > 0; --changes) {
        bytes[random() % bytes.size()] = static_cast<char>(random());
      }
      RunAll(bytes);
    }
  }
}

}  // namespace
}  // namespace windlass
