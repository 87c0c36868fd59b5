#include "windlass/io/copied_tensors.h"

#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "windlass/core/assemble.h"
#include "windlass/core/byte_source.h"
#include "windlass/core/tensor_ops.h"
#include "windlass/io/checkpoint.h"
#include "windlass/testing/status_matchers.h"
#include "windlass/testing/tensors.h"

namespace windlass {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class CopiedTensorsTest : public ::testing::Test {
 protected:
  Tensor At(int64_t offset, Shape shape) const {
    return Tensor::FromExtent(DType::kU8, shape,
                              Extent{storage_, offset, *ElementCount(shape)})
        .value();
  }
  void Add(const std::string& name, Tensor tensor) {
    ASSERT_OK(tensors_.Insert(name, std::move(tensor)));
  }
  std::vector<std::string> Find(const std::string& format) const {
    const auto found = FindFormat(format);
    return FindCopied(tensors_,
                      (*found)->Plan(tensors_, Checkpoint(), {}).value());
  }

  const std::shared_ptr<const ByteSource> storage_ =
      std::make_shared<MemorySource>(std::string(64, 'x'));
  StateDict tensors_;
};

TEST_F(CopiedTensorsTest, TiedTensorsAreCopiesWhereTheFormatKnowsNone) {
  Add("head", At(0, {4, 4}));
  Add("other", At(16, {4, 4}));
  Add("embeddings", At(0, {4, 4}));
  Add("again", At(0, {4, 4}));
  EXPECT_THAT(Find("safetensors"), ElementsAre("embeddings", "again"));
  EXPECT_THAT(Find("dcp"), ElementsAre("embeddings", "again"));
  EXPECT_THAT(Find("torch"), IsEmpty());
}

TEST_F(CopiedTensorsTest, SoAreViewsOfAStorageThatIsThereToo) {
  Add("rows", At(4, {2, 4}));
  Add("whole", At(0, {4, 4}));
  Add("turned", Transpose(At(0, {4, 4})).value());
  EXPECT_THAT(Find("safetensors"), ElementsAre("whole", "turned"));
  EXPECT_THAT(Find("torch"), ElementsAre("whole", "turned"));
}

TEST_F(CopiedTensorsTest, NothingElseIs) {
  Add("first", At(16, {2, 4}));
  Add("next", At(24, {2, 4}));
  Add("empty", At(8, {0}));
  // Columns lie between those of the other, and share no byte.
  Add("left", Slice(At(32, {4, 8}), 1, 0, 4).value());
  Add("right", Slice(At(32, {4, 8}), 1, 4, 8).value());
  // Chunks of two tensors in one file, in turn.
  Add("odd", Concat({At(0, {4}), At(8, {4})}, 0).value());
  Add("even", Concat({At(4, {4}), At(12, {4})}, 0).value());
  Add("constant", Fill(DType::kU8, {4}, 1).value());
  EXPECT_THAT(Find("safetensors"), IsEmpty());
}

}  // namespace
}  // namespace windlass
