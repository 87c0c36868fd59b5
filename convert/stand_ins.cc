#include "windlass/convert/stand_ins.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/types/span.h"
#include "windlass/core/byte_source.h"
#include "windlass/core/status_macros.h"

namespace windlass {

// Nobody reads it: where a tensor's bytes would lie says which one it is.
class StandIns::Places : public ByteSource {
 public:
  const std::string& name() const override { return name_; }
  int64_t size() const override { return size_; }
  absl::Status ReadAt(int64_t, absl::Span<char>) const override {
    return absl::InternalError("a stand-in was read");
  }

  // A place for the next tensor; empty ones have one of their own, too.
  int64_t Add(int64_t bytes) {
    begins_.push_back(size_);
    size_ += std::max<int64_t>(bytes, 1);
    return begins_.back();
  }
  size_t NumberOf(int64_t offset) const {
    return std::upper_bound(begins_.begin(), begins_.end(), offset) -
           begins_.begin() - 1;
  }

 private:
  const std::string name_ = "stand-ins";
  int64_t size_ = 0;
  std::vector<int64_t> begins_;
};

StandIns::StandIns() : places_(std::make_shared<Places>()) {}

absl::Status StandIns::Add(std::string name, const Tensor& like) {
  const Extent extent{places_, places_->Add(like.bytes()), like.bytes()};
  WINDLASS_ASSIGN_OR_RETURN(
      Tensor tensor, Tensor::FromExtent(like.dtype(), like.shape(), extent));
  return tensors_.Insert(std::move(name), std::move(tensor));
}

void StandIns::VisitUsed(const Tensor& made,
                         absl::FunctionRef<void(size_t number)> visit) const {
  made.source()->VisitInputs([&](const Extent& extent) {
    // Not what an adapter has made of nothing.
    if (extent.source == places_) visit(places_->NumberOf(extent.offset));
    return true;
  });
}

}  // namespace windlass
