// The suite that every registered format runs: what it takes it gives back,
// what it cannot hold it refuses by name, and what is damaged is never taken
// for something else. Formats are found in the registry; a test that links this
// and a format runs it. All happens in memory.

#include <atomic>
#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/core/dtype.h"
#include "windlass/core/state_dict.h"
#include "windlass/core/status_macros.h"
#include "windlass/core/tensor.h"
#include "windlass/core/tensor_ops.h"
#include "windlass/io/checkpoint.h"
#include "windlass/io/save.h"
#include "windlass/io/storage/storage.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/testing/tensors.h"

namespace windlass {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// A folder's files by name.
using Files = std::map<std::string, std::string>;

class FormatSuite : public ::testing::TestWithParam<std::string> {
 protected:
  FormatSuite() {
    static std::atomic<int> count{0};
    root_ = absl::StrCat("mem://format_suite/", ++count);
  }

  void Add(const std::string& name, DType dtype, Shape shape) {
    ASSERT_OK(tensors_.Insert(name, Random(dtype, std::move(shape))));
  }

  // Bytes of BOOL are 0 or 1.
  Tensor Random(DType dtype, Shape shape) {
    if (dtype != DType::kBool) {
      return RandomTensor(dtype, std::move(shape), &random_);
    }
    const int64_t size = ElementCount(shape).value();
    std::vector<uint8_t> values;
    for (int64_t i = 0; i < size; ++i) values.push_back(random_() % 2);
    return MakeTensor<uint8_t>(dtype, std::move(shape), values);
  }

  std::string Path(absl::string_view name) const {
    return absl::StrCat(root_, "/", name);
  }

  // Saves tensors that no file holds, in the format.
  absl::Status Save(const StateDict& tensors, const std::string& output,
                    SaveOptions options = {}) const {
    Checkpoint input;
    WINDLASS_ASSIGN_OR_RETURN(input.folder, ResolveLocation(Path("nowhere")));
    options.format = GetParam();
    return Save(tensors, input, output, options);
  }

  static absl::Status Save(const StateDict& tensors, const Checkpoint& input,
                           const std::string& output,
                           const SaveOptions& options) {
    WINDLASS_ASSIGN_OR_RETURN(const SavePlan plan,
                              PlanSave(tensors, input, output, options));
    return SaveCheckpoint(plan, {});
  }

  // What is found there, by detection and by name, differs from `expected` in
  // this.
  std::string Found(const std::string& place, const StateDict& expected) const {
    OpenOptions named;
    named.format = GetParam();
    for (const OpenOptions& options : {OpenOptions(), named}) {
      const absl::StatusOr<Checkpoint> found = OpenCheckpoint(place, options);
      if (!found.ok()) return std::string(found.status().message());
      if (found->format->name() != GetParam()) return "another format";
      const std::string difference =
          Difference(Sorted(found->tensors), Sorted(expected));
      if (!difference.empty()) return difference;
    }
    return "";
  }

  // Saved and found again, or refused with the tensor's name and what is wrong.
  void ExpectHeldOrRefused(const StateDict& tensors, const std::string& output,
                           const std::string& why, int* held) const {
    const absl::Status saved = Save(tensors, output);
    if (saved.ok()) {
      EXPECT_EQ(Found(output, tensors), "");
      ++*held;
      return;
    }
    const std::string name =
        absl::StrCat("tensor \"", absl::CHexEscape(tensors.begin()->name));
    EXPECT_THAT(saved, StatusIs(absl::StatusCode::kInvalidArgument,
                                AllOf(HasSubstr(name), HasSubstr(why))));
    // Nothing was written.
    EXPECT_EQ(OpenCheckpoint(output).status().code(),
              absl::StatusCode::kNotFound);
  }

  static Files ReadFiles(const std::string& folder) {
    const Location at = ResolveLocation(folder).value();
    Files files;
    const std::vector<std::string> names = ListNames(at).value();
    for (const std::string& name : names) {
      files[name] =
          ReadFile(*at.storage, JoinPath(at.path, name), 1 << 26).value();
    }
    return files;
  }

  static void Write(const std::string& folder, const std::string& name,
                    absl::string_view contents) {
    const Location at = ResolveLocation(folder).value();
    ASSERT_OK(WriteFile(*at.storage, JoinPath(at.path, name), contents, false));
  }

  static void Remove(const std::string& folder, const std::string& name) {
    const Location at = ResolveLocation(folder).value();
    ASSERT_OK(at.storage->Remove(JoinPath(at.path, name)));
  }

  // A small checkpoint of several files, if the format can have several, to be
  // damaged.
  std::string SaveSmall() {
    Add("a.weight", DType::kBF16, {4, 3});
    Add("b.bias", DType::kF32, {3});
    Add("scalar", DType::kI64, {});
    Add("empty", DType::kU8, {0, 2});
    const std::string folder = Path("small");
    SaveOptions shards;
    shards.num_shards = 2;
    SaveOptions small;
    small.max_shard_bytes = 24;
    for (const SaveOptions& options : {shards, small, SaveOptions()}) {
      if (Save(tensors_, folder, options).ok()) return folder;
    }
    ADD_FAILURE() << "nothing can be saved";
    return folder;
  }

  // What came of one byte that was changed: each tensor can be read, none is
  // lost, and one at most is another one.
  void ExpectOneChanged(const Checkpoint& found) const {
    size_t same = 0;
    for (const auto& [name, tensor] : found.tensors) {
      ASSERT_OK_AND_ASSIGN(const std::string bytes, ReadAll(tensor));
      ASSERT_OK_AND_ASSIGN(const int64_t size,
                           ByteSize(tensor.dtype(), tensor.shape()));
      ASSERT_EQ(static_cast<int64_t>(bytes.size()), size);
      const Tensor* const expected = tensors_.Find(name);
      if (expected != nullptr && tensor.dtype() == expected->dtype() &&
          tensor.shape() == expected->shape() &&
          bytes == ReadAll(*expected).value()) {
        ++same;
      }
    }
    EXPECT_EQ(found.tensors.size() + found.objects.size(), tensors_.size());
    EXPECT_GE(same + 1, tensors_.size());
  }

  std::mt19937 random_{11};
  StateDict tensors_;
  std::string root_;
};

TEST_P(FormatSuite, HoldsADTypeOrRefusesItByName) {
  int held = 0;
  for (int i = 0; i < kDTypeCount; ++i) {
    const DType dtype = static_cast<DType>(i);
    const std::string name(DTypeName(dtype));
    SCOPED_TRACE(name);
    StateDict tensors;
    ASSERT_OK(tensors.Insert("the." + name, Random(dtype, {6, 4})));
    ExpectHeldOrRefused(tensors, Path(name), name, &held);
  }
  EXPECT_GT(held, 0);
}

TEST_P(FormatSuite, HoldsANameOrRefusesIt) {
  const std::string names[] = {
      "", ".", "..", "a..b.", " spaces ", "a/b", "/etc/passwd", "../up",
      "back\\slash\\", "\"double\"", "'single'", "line\nbreak\r\n", "tab\t",
      std::string("n\0l", 3), "\x01\x7f", "%s{}$(x)",
      "é 日本 \U0001F600 e\u0301", "\u202eright\u2028\ufeff", "metadata",
      "weight_map", "__metadata__", "DCP_SHARDING_INFO", "state_dict", "0",
      std::string(70'000, 'n'),
      // No text in UTF-8.
      "\xff", "\xed\xa0\x80", "cut \xe6\x97"};
  int held = 0;
  int count = 0;
  for (const std::string& name : names) {
    SCOPED_TRACE(absl::CHexEscape(name.substr(0, 20)));
    StateDict tensors;
    ASSERT_OK(tensors.Insert(name, Random(DType::kU8, {3})));
    const int before = held;
    ExpectHeldOrRefused(tensors, Path(absl::StrCat("name", ++count)), "name",
                        &held);
    if (held > before) Add(name, DType::kU8, {count});
  }
  EXPECT_GE(held, 20);
  ASSERT_OK(Save(tensors_, Path("together")));
  EXPECT_EQ(Found(Path("together"), tensors_), "");
}

TEST_P(FormatSuite, HoldsScalarsEmptyAndDeepTensors) {
  Add("scalar", DType::kF32, {});
  Add("empty", DType::kBF16, {0, 3});
  Add("no columns", DType::kI64, {3, 0});
  Add("none", DType::kU8, {0});
  Add("deep", DType::kF16, {1, 2, 1, 3, 1, 1, 2, 1, 1, 1});
  Add("odd", DType::kU8, {5});
  Add("wide", DType::kF64, {3});
  ASSERT_OK(Save(tensors_, Path("out")));
  EXPECT_EQ(Found(Path("out"), tensors_), "");
}

TEST_P(FormatSuite, HoldsNoTensorOrSaysSo) {
  const absl::Status saved = Save(tensors_, Path("out"));
  const std::string found =
      saved.ok() ? Found(Path("out"), tensors_) : std::string(saved.message());
  if (found.empty()) return;
  EXPECT_THAT(found, HasSubstr("expected a"));
}

TEST_P(FormatSuite, HoldsManyTensors) {
  for (int i = 0; i < 2500; ++i) {
    Add(absl::StrCat("layers.", i, ".weight"), DType::kU8, {i % 7});
  }
  ASSERT_OK(Save(tensors_, Path("out")));
  EXPECT_EQ(Found(Path("out"), tensors_), "");
}

// By their number or by their size, as the format has it.
TEST_P(FormatSuite, WritesManyShards) {
  for (int i = 0; i < 300; ++i) {
    Add(absl::StrCat("layers.", i, ".weight"), DType::kF32, {i < 2 ? 300 : 3});
  }
  Add("scalar", DType::kI64, {});
  SaveOptions sized;
  sized.max_shard_bytes = 15;
  SaveOptions counted;
  counted.num_shards = 300;
  int saved = 0;
  for (const SaveOptions& options : {sized, counted}) {
    const std::string output = Path(absl::StrCat(options.num_shards));
    const absl::Status status = Save(tensors_, output, options);
    if (!status.ok()) {
      EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument,
                                   HasSubstr("shards")));
      continue;
    }
    EXPECT_EQ(Found(output, tensors_), "");
    EXPECT_GE(ReadFiles(output).size(), 300u);
    ++saved;
  }
  EXPECT_GT(saved, 0);
}

TEST_P(FormatSuite, CutsTensorsIntoAnyNumberOfShards) {
  Add("rows", DType::kBF16, {7, 3});
  Add("few", DType::kF32, {2, 2});
  Add("one", DType::kI64, {1});
  Add("scalar", DType::kI64, {});
  Add("empty", DType::kI64, {0});
  for (const int shards : {1, 2, 3, 7, 1000}) {
    SCOPED_TRACE(shards);
    const std::string output = Path(absl::StrCat(shards));
    SaveOptions options;
    options.num_shards = shards;
    const absl::Status saved = Save(tensors_, output, options);
    if (!saved.ok()) {
      EXPECT_THAT(saved, StatusIs(absl::StatusCode::kInvalidArgument,
                                  HasSubstr("keeps tensors whole")));
      continue;
    }
    EXPECT_EQ(Found(output, tensors_), "");
  }
}

// What was cut is put together again without being computed.
TEST_P(FormatSuite, GoesIntoEveryOtherFormat) {
  Add("large", DType::kF32, {300, 50});
  Add("small", DType::kBF16, {7});
  Add("odd", DType::kU8, {33'333});
  SaveOptions options;
  options.num_shards = 3;
  if (!Save(tensors_, Path("in"), options).ok()) {
    ASSERT_OK(Save(tensors_, Path("in")));
  }
  ASSERT_OK_AND_ASSIGN(const Checkpoint in, OpenCheckpoint(Path("in")));
  for (const CheckpointFormat* format : KnownFormats()) {
    SaveOptions to;
    to.format = std::string(format->name());
    SCOPED_TRACE(to.format);
    const std::string output = Path("to_" + to.format);
    ASSERT_OK(Save(in.tensors, in, output, to));
    ASSERT_OK_AND_ASSIGN(const Checkpoint found, OpenCheckpoint(output));
    EXPECT_EQ(found.format, format);
    EXPECT_EQ(Difference(Sorted(found.tensors), Sorted(tensors_)), "");
  }
}

TEST_P(FormatSuite, HoldsWhatIsComputed) {
  const Tensor wide = Random(DType::kBF16, {3000, 1100});
  ASSERT_OK_AND_ASSIGN(Tensor computed, Cast(wide, DType::kF32));
  ASSERT_OK_AND_ASSIGN(computed, Transpose(computed));
  ASSERT_OK(tensors_.Insert("computed", computed));
  ASSERT_OK(Save(tensors_, Path("out")));
  EXPECT_EQ(Found(Path("out"), tensors_), "");
}

TEST_P(FormatSuite, ReplacesACheckpointOnlyWhenTold) {
  Add("a", DType::kF32, {1000, 3});
  Add("b", DType::kBF16, {5});
  ASSERT_OK(Save(tensors_, Path("out")));
  EXPECT_THAT(Save(tensors_, Path("out")),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("expected an empty folder")));
  SaveOptions resume;
  resume.resume = true;
  EXPECT_OK(Save(tensors_, Path("out"), resume));
  // The old files go, and nobody else's.
  Write(Path("out"), "precious", "mine");
  StateDict other;
  ASSERT_OK(other.Insert("c", Random(DType::kF32, {4})));
  SaveOptions overwrite;
  overwrite.overwrite = true;
  ASSERT_OK(Save(other, Path("out"), overwrite));
  EXPECT_EQ(Found(Path("out"), other), "");
  EXPECT_EQ(ReadFiles(Path("out"))["precious"], "mine");
}

TEST_P(FormatSuite, IsOneFileWhereItsNameSaysSo) {
  Add("a", DType::kF32, {4, 3});
  Add("b", DType::kBF16, {5});
  ASSERT_OK(Save(tensors_, Path("out")));
  ASSERT_OK_AND_ASSIGN(const CheckpointFormat* const format,
                       FindFormat(GetParam()));
  for (const auto& [name, contents] : ReadFiles(Path("out"))) {
    if (!format->IsFileName(name)) continue;
    const std::string file = Path(absl::StrCat("one/", name));
    ASSERT_OK(Save(tensors_, file));
    EXPECT_EQ(Found(file, tensors_), "");
    EXPECT_EQ(ReadFiles(Path("one")).size(), 1u);
  }
}

TEST_P(FormatSuite, IsNotWrittenIntoItsInput) {
  Add("a", DType::kF32, {4, 3});
  ASSERT_OK(Save(tensors_, Path("x/in")));
  ASSERT_OK_AND_ASSIGN(const Checkpoint in, OpenCheckpoint(Path("x/in")));
  const Files before = ReadFiles(Path("x/in"));
  SaveOptions options;
  options.format = GetParam();
  options.overwrite = true;
  std::vector<std::string> outputs = {Path("x/in"), Path("x/in/below"),
                                      Path("x")};
  for (const auto& [name, contents] : before) {
    if (in.format->IsFileName(name)) {
      outputs.push_back(Path(absl::StrCat("x/in/", name)));
      outputs.push_back(Path(absl::StrCat("x/in/other_", name)));
    }
  }
  for (const std::string& output : outputs) {
    EXPECT_THAT(PlanSave(in.tensors, in, output, options).status(),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("apart from the input")))
        << output;
  }
  EXPECT_EQ(ReadFiles(Path("x/in")), before);
}

// A flipped byte of the data is another number, and one of a name another name:
// without a checksum nobody can tell. All else has to show.
TEST_P(FormatSuite, AByteThatIsChangedIsRefusedOrChangesOneTensor) {
  constexpr int kFlips[] = {0x01, 0x20, 0xff};
  const std::string folder = SaveSmall();
  int refused = 0;
  for (const auto& [name, contents] : ReadFiles(folder)) {
    for (size_t i = 0; i < contents.size(); ++i) {
      const int flip = kFlips[random_() % 3];
      SCOPED_TRACE(absl::StrCat(name, ": byte ", i, " ^ ", flip));
      std::string damaged = contents;
      damaged[i] = static_cast<char>(damaged[i] ^ flip);
      Write(folder, name, damaged);
      const absl::StatusOr<Checkpoint> found = OpenCheckpoint(folder);
      if (found.ok()) {
        ExpectOneChanged(*found);
      } else {
        ++refused;
        EXPECT_THAT(std::string(found.status().message()),
                    HasSubstr("format_suite/"));
      }
      if (HasFailure()) return;
    }
    Write(folder, name, contents);
  }
  EXPECT_GT(refused, 0);
  EXPECT_EQ(Found(folder, tensors_), "");
}

TEST_P(FormatSuite, AFileThatIsCutIsRefusedOrNotMissed) {
  const std::string folder = SaveSmall();
  for (const auto& [name, contents] : ReadFiles(folder)) {
    for (size_t size = 0; size < contents.size(); ++size) {
      SCOPED_TRACE(absl::StrCat(name, ": ", size, " bytes"));
      Write(folder, name, contents.substr(0, size));
      const absl::StatusOr<Checkpoint> found = OpenCheckpoint(folder);
      if (found.ok()) {
        ASSERT_EQ(Difference(Sorted(found->tensors), Sorted(tensors_)), "");
      }
    }
    Write(folder, name, contents);
  }
}

TEST_P(FormatSuite, AFileThatIsMissingIsRefusedOrNotMissed) {
  const std::string folder = SaveSmall();
  for (const auto& [name, contents] : ReadFiles(folder)) {
    SCOPED_TRACE(name);
    Remove(folder, name);
    const absl::StatusOr<Checkpoint> found = OpenCheckpoint(folder);
    if (found.ok()) {
      EXPECT_EQ(Difference(Sorted(found->tensors), Sorted(tensors_)), "");
    }
    Write(folder, name, contents);
  }
}

std::vector<std::string> AllNames() {
  std::vector<std::string> names;
  for (const CheckpointFormat* format : KnownFormats()) {
    names.emplace_back(format->name());
  }
  return names;
}

INSTANTIATE_TEST_SUITE_P(All, FormatSuite, ::testing::ValuesIn(AllNames()),
                         [](const ::testing::TestParamInfo<std::string>& info) {
                           return info.param;
                         });

}  // namespace
}  // namespace windlass
