// What the names of a folder's safetensors files say: which belong together,
// and which are missing. Pure functions.

#ifndef WINDLASS_IO_SAFETENSORS_SHARD_NAMES_H_
#define WINDLASS_IO_SAFETENSORS_SHARD_NAMES_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace windlass {

// "model-00002-of-00003.safetensors" is file 2 of a family of 3.
struct ShardNumber {
  std::string family;  // the name without the number
  int64_t number = 0;
  int64_t total = 0;
};

// nullopt for a name that has no such number.
std::optional<ShardNumber> ParseShardNumber(absl::string_view name);

// "a, b and 3 more"
std::string JoinNames(const std::vector<std::string>& names);

// FailedPrecondition where a numbered family among `names` is not whole,
// naming what is missing. Numbers run from 1, or from 0.
absl::Status CheckFamiliesWhole(const std::vector<std::string>& names);

// Of a folder's safetensors files, those of the model, where no index says it:
// model.safetensors, or the one numbered family ("model" before others), or the
// one file. FailedPrecondition where the family is not whole, InvalidArgument
// where several unrelated files might be meant.
absl::StatusOr<std::vector<std::string>> ChooseShards(
    const std::vector<std::string>& names);

// The shards of the checkpoint that stands among `names` without an index, for
// whoever replaces it: model.safetensors, or as much as there is of the one
// numbered family ("model" before others). None where that is not clear.
std::vector<std::string> FindLooseShards(const std::vector<std::string>& names);

// New names for files that are all that is left of their families, in order.
void RenumberFamilies(const std::vector<std::string*>& names);

}  // namespace windlass

#endif  // WINDLASS_IO_SAFETENSORS_SHARD_NAMES_H_
