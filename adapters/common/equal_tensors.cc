#include "windlass/adapters/common/equal_tensors.h"

#include <cstring>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

class EqualSource : public TensorSource {
 public:
  EqualSource(std::shared_ptr<const TensorSource> a,
              std::shared_ptr<const TensorSource> b, std::string differ)
      : a_(std::move(a)), b_(std::move(b)), differ_(std::move(differ)) {}

  absl::Status Read(const Region& region, char* to,
                    int64_t to_stride) const override {
    // Row by row: the second tensor's bytes need a place of their own.
    std::string other;
    other.resize(region.row_bytes);
    WINDLASS_RETURN_IF_ERROR(a_->Read(region, to, to_stride));
    for (int64_t row = 0; row < region.rows; ++row) {
      const Region one{region.offset + row * region.stride, region.row_bytes};
      WINDLASS_RETURN_IF_ERROR(b_->Read(one, &other[0], region.row_bytes));
      if (std::memcmp(other.data(), to + row * to_stride, region.row_bytes) !=
          0) {
        return absl::InvalidArgumentError(differ_);
      }
    }
    return absl::OkStatus();
  }

  int64_t PieceEnd(int64_t offset) const override {
    return a_->PieceEnd(offset);
  }

  bool VisitInputs(Visitor visit) const override {
    return a_->VisitInputs(visit) && b_->VisitInputs(visit);
  }

 private:
  const std::shared_ptr<const TensorSource> a_;
  const std::shared_ptr<const TensorSource> b_;
  const std::string differ_;
};

}  // namespace

absl::StatusOr<Tensor> Equal(const Tensor& a, std::string a_name,
                             const Tensor& b, std::string b_name) {
  std::string differ =
      absl::StrCat("tensors \"", a_name, "\" and \"", b_name,
                   "\": found different values, expected the same");
  if (a.dtype() != b.dtype() || a.shape() != b.shape()) {
    return absl::InvalidArgumentError(
        absl::StrCat(differ, ": ", a.ToString(), " and ", b.ToString()));
  }
  if (a.source() == b.source()) return a;
  return Tensor(
      a.dtype(), a.shape(),
      std::make_shared<EqualSource>(a.source(), b.source(), std::move(differ)));
}

}  // namespace windlass
