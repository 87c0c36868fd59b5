#include "windlass/core/assemble.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "windlass/core/rectangle.h"
#include "windlass/core/status_macros.h"
#include "windlass/core/tensor_ops.h"

namespace windlass {
namespace {

// Shardings are cut once or twice a dimension of the mesh.
constexpr int kMaxDepth = 64;

// "[0, 4) x [2, 5)"
std::string RangesString(const Shape& begin, const Shape& end) {
  std::string text;
  for (size_t i = 0; i < begin.size(); ++i) {
    absl::StrAppend(&text, i == 0 ? "" : " x ", "[", begin[i], ", ", end[i],
                    ")");
  }
  return text.empty() ? "the scalar" : text;
}

// Elements [begin, end) of the whole, and in a part the box that has them.
struct Range {
  Shape begin;
  Shape end;
  const Box* box = nullptr;
};

std::string BoxString(const Box& box) {
  Shape end = box.offsets;
  for (size_t i = 0; i < end.size(); ++i) end[i] += box.tensor.shape()[i];
  return RangesString(box.offsets, end);
}

// Cuts the whole where no box is cut, slab by slab, until one box is left in
// each. Where boxes lie like the stones of a floor, some have to be cut.
class Assembler {
 public:
  explicit Assembler(size_t boxes) : parts_left_(16 * boxes + 1024) {}

  absl::StatusOr<Tensor> Build(const Range& all, std::vector<Range> parts,
                               int depth) {
    parts_left_ -= static_cast<int64_t>(parts.size());
    if (depth > kMaxDepth || parts_left_ < 0) {
      return absl::UnimplementedError(
          "the boxes would have to be cut into too many parts");
    }
    if (parts.size() == 1) return Only(all, parts[0]);
    for (size_t dim = 0; dim < all.begin.size(); ++dim) {
      absl::c_stable_sort(parts, [dim](const Range& a, const Range& b) {
        return a.begin[dim] < b.begin[dim];
      });
      WINDLASS_ASSIGN_OR_RETURN(const std::vector<size_t> slabs,
                                Slabs(all, parts, dim));
      if (slabs.size() > 1) return Join(all, parts, dim, slabs, depth);
    }
    return Cut(all, parts, depth);
  }

 private:
  static absl::Status Gap(Range all, size_t dim, int64_t begin, int64_t end) {
    all.begin[dim] = begin;
    all.end[dim] = end;
    return absl::InvalidArgumentError(absl::StrCat(
        "no box has the elements ", RangesString(all.begin, all.end)));
  }

  // The box that is alone must have all.
  static absl::StatusOr<Tensor> Only(const Range& all, const Range& part) {
    Tensor tensor = part.box->tensor;
    for (size_t dim = 0; dim < all.begin.size(); ++dim) {
      if (part.begin[dim] > all.begin[dim]) {
        return Gap(all, dim, all.begin[dim], part.begin[dim]);
      }
      if (part.end[dim] < all.end[dim]) {
        return Gap(all, dim, part.end[dim], all.end[dim]);
      }
      const int64_t offset = part.box->offsets[dim];
      WINDLASS_ASSIGN_OR_RETURN(
          tensor, Slice(tensor, static_cast<int>(dim), all.begin[dim] - offset,
                        all.end[dim] - offset));
    }
    return tensor;
  }

  // The first part of each slab along `dim`; parts are sorted along it.
  static absl::StatusOr<std::vector<size_t>> Slabs(
      const Range& all, const std::vector<Range>& parts, size_t dim) {
    std::vector<size_t> slabs;
    int64_t end = all.begin[dim];
    for (size_t i = 0; i < parts.size(); ++i) {
      if (parts[i].begin[dim] > end) {
        return Gap(all, dim, end, parts[i].begin[dim]);
      }
      if (parts[i].begin[dim] == end) slabs.push_back(i);
      end = std::max(end, parts[i].end[dim]);
    }
    if (end < all.end[dim]) return Gap(all, dim, end, all.end[dim]);
    return slabs;
  }

  absl::StatusOr<Tensor> Join(const Range& all, const std::vector<Range>& parts,
                              size_t dim, const std::vector<size_t>& slabs,
                              int depth) {
    std::vector<Tensor> tensors;
    tensors.reserve(slabs.size());
    for (size_t i = 0; i < slabs.size(); ++i) {
      const bool last = i + 1 == slabs.size();
      Range slab = all;
      slab.begin[dim] = parts[slabs[i]].begin[dim];
      if (!last) slab.end[dim] = parts[slabs[i + 1]].begin[dim];
      std::vector<Range> in_slab(
          parts.begin() + slabs[i],
          last ? parts.end() : parts.begin() + slabs[i + 1]);
      WINDLASS_ASSIGN_OR_RETURN(tensors.emplace_back(),
                                Build(slab, std::move(in_slab), depth + 1));
    }
    return Concat(tensors, static_cast<int>(dim));
  }

  // No slab is free of what lies beside it: cuts where the fewest boxes are
  // cut. Boxes that all have all overlap.
  absl::StatusOr<Tensor> Cut(const Range& all, const std::vector<Range>& parts,
                             int depth) {
    size_t best = parts.size() + 1;
    size_t best_dim = 0;
    int64_t best_at = 0;
    for (size_t dim = 0; dim < all.begin.size(); ++dim) {
      std::vector<int64_t> begins, ends;
      for (const Range& part : parts) {
        begins.push_back(part.begin[dim]);
        ends.push_back(part.end[dim]);
      }
      absl::c_sort(begins);
      absl::c_sort(ends);
      for (const std::vector<int64_t>* edges : {&begins, &ends}) {
        for (const int64_t at : *edges) {
          if (at <= all.begin[dim] || at >= all.end[dim]) continue;
          const size_t cut =
              (absl::c_lower_bound(begins, at) - begins.begin()) -
              (absl::c_upper_bound(ends, at) - ends.begin());
          if (cut >= best) continue;
          best = cut;
          best_dim = dim;
          best_at = at;
        }
      }
    }
    if (best > parts.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat("the boxes ", BoxString(*parts[0].box), " and ",
                       BoxString(*parts[1].box), " overlap"));
    }
    std::vector<Tensor> sides;
    for (const bool second : {false, true}) {
      Range side = all;
      (second ? side.begin : side.end)[best_dim] = best_at;
      std::vector<Range> on_side;
      for (Range part : parts) {
        int64_t& begin = part.begin[best_dim];
        int64_t& end = part.end[best_dim];
        begin = std::max(begin, side.begin[best_dim]);
        end = std::min(end, side.end[best_dim]);
        if (begin < end) on_side.push_back(std::move(part));
      }
      WINDLASS_ASSIGN_OR_RETURN(sides.emplace_back(),
                                Build(side, std::move(on_side), depth + 1));
    }
    return Concat(sides, static_cast<int>(best_dim));
  }

  int64_t parts_left_;
};

absl::Status CheckBox(const Box& box, DType dtype, const Shape& shape) {
  const Shape& size = box.tensor.shape();
  if (box.tensor.dtype() != dtype || size.size() != shape.size() ||
      box.offsets.size() != shape.size()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "found a box ", box.tensor.ToString(), " at ", ShapeString(box.offsets),
        ", expected parts of ", DTypeName(dtype), " ", ShapeString(shape)));
  }
  for (size_t i = 0; i < shape.size(); ++i) {
    if (box.offsets[i] < 0 || size[i] > shape[i] ||
        box.offsets[i] > shape[i] - size[i]) {
      return absl::InvalidArgumentError(absl::StrCat(
          "the box of ", ShapeString(size), " at ", ShapeString(box.offsets),
          " reaches outside of ", ShapeString(shape)));
    }
  }
  return absl::OkStatus();
}

// Runs of `run_bytes`, at the places that an index over `sizes` gives.
class StridedSource : public TensorSource {
 public:
  struct Dim {
    int64_t size;
    int64_t stride;  // in elements; in the source in bytes
  };

  StridedSource(std::shared_ptr<const TensorSource> inner, int64_t run_bytes,
                std::vector<Dim> dims)
      : inner_(std::move(inner)),
        run_bytes_(run_bytes),
        dims_(std::move(dims)) {}

  absl::Status Read(const Region& region, char* to,
                    int64_t to_stride) const override {
    return ForEachRectangle(
        region, run_bytes_, to, to_stride,
        [this](const Rectangle& all) { return ReadRuns(all); });
  }

  bool VisitInputs(Visitor visit) const override {
    return inner_->VisitInputs(visit);
  }

 private:
  // Runs along the last dimension are read together, where they do not overlap.
  absl::Status ReadRuns(const Rectangle& all) const {
    const Dim& last = dims_.back();
    const bool together = last.stride >= all.col_bytes;
    for (int64_t done = 0; done < all.rows;) {
      int64_t index = all.row + done;
      const int64_t in_last = index % last.size;
      int64_t offset = 0;
      for (auto dim = dims_.rbegin(); dim != dims_.rend(); ++dim) {
        offset += index % dim->size * dim->stride;
        index /= dim->size;
      }
      const int64_t rows =
          together ? std::min(last.size - in_last, all.rows - done) : 1;
      WINDLASS_RETURN_IF_ERROR(inner_->Read(
          Region{offset + all.col, all.col_bytes, rows, last.stride},
          all.to + done * all.to_stride, all.to_stride));
      done += rows;
    }
    return absl::OkStatus();
  }

  const std::shared_ptr<const TensorSource> inner_;
  const int64_t run_bytes_;
  const std::vector<Dim> dims_;
};

using Dims = std::vector<StridedSource::Dim>;

// Dimensions of one element go, and neighbours that one stride walks over are
// one.
Dims Merge(const Shape& shape, absl::Span<const int64_t> strides) {
  Dims dims;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == 1) continue;
    int64_t whole;
    if (!dims.empty() &&
        !__builtin_mul_overflow(shape[i], strides[i], &whole) &&
        dims.back().stride == whole) {
      dims.back() = {dims.back().size * shape[i], strides[i]};
    } else {
      dims.push_back({shape[i], strides[i]});
    }
  }
  return dims;
}

// The elements of a view whose last dimension lies in runs, if any does.
absl::StatusOr<Tensor> Runs(const Tensor& storage, Dims dims, Shape shape) {
  const int64_t element = DTypeBytes(storage.dtype());
  int64_t run_bytes = element;
  if (dims.back().stride == 1) {
    run_bytes *= dims.back().size;
    dims.pop_back();
  }
  for (StridedSource::Dim& dim : dims) dim.stride *= element;
  return Tensor(storage.dtype(), std::move(shape),
                std::make_shared<StridedSource>(storage.source(), run_bytes,
                                                std::move(dims)));
}

int64_t Product(Dims::const_iterator begin, Dims::const_iterator end) {
  int64_t product = 1;
  for (; begin != end; ++begin) product *= begin->size;
  return product;
}

// One past the last element that a view of at least one has.
absl::StatusOr<int64_t> EndOfView(const Shape& shape,
                                  absl::Span<const int64_t> strides,
                                  int64_t offset) {
  int64_t end = offset;
  bool overflow = __builtin_add_overflow(end, 1, &end);
  for (size_t i = 0; i < shape.size(); ++i) {
    int64_t step = 0;
    overflow = overflow ||
               __builtin_mul_overflow(shape[i] - 1, strides[i], &step) ||
               __builtin_add_overflow(end, step, &end);
  }
  if (overflow) {
    return absl::OutOfRangeError(absl::StrCat(
        "the view ", ShapeString(shape), " with strides ", ShapeString(strides),
        " at ", offset, " reaches beyond any storage"));
  }
  return end;
}

}  // namespace

absl::StatusOr<Tensor> Assemble(DType dtype, const Shape& shape,
                                const std::vector<Box>& boxes) {
  WINDLASS_ASSIGN_OR_RETURN(const int64_t elements, ElementCount(shape));
  Range all{Shape(shape.size(), 0), shape, nullptr};
  std::vector<Range> parts;
  for (const Box& box : boxes) {
    WINDLASS_RETURN_IF_ERROR(CheckBox(box, dtype, shape));
    if (box.tensor.bytes() == 0) continue;
    Range part{box.offsets, box.offsets, &box};
    for (size_t i = 0; i < shape.size(); ++i) {
      part.end[i] += box.tensor.shape()[i];
    }
    parts.push_back(std::move(part));
  }
  if (elements == 0) return Tensor::FromBytes(dtype, shape, "");
  if (parts.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "no box has the elements ", RangesString(all.begin, all.end)));
  }
  return Assembler(parts.size()).Build(all, std::move(parts), 0);
}

absl::StatusOr<Tensor> Strided(const Tensor& storage, Shape shape,
                               absl::Span<const int64_t> strides,
                               int64_t offset) {
  WINDLASS_ASSIGN_OR_RETURN(const int64_t elements, ElementCount(shape));
  WINDLASS_RETURN_IF_ERROR(ByteSize(storage.dtype(), shape).status());
  if (storage.rank() != 1 || strides.size() != shape.size() || offset < 0 ||
      absl::c_any_of(strides, [](int64_t stride) { return stride < 0; })) {
    return absl::InvalidArgumentError(absl::StrCat(
        "found a view ", ShapeString(shape), " with strides ",
        ShapeString(strides), " at ", offset, " of ", storage.ToString(),
        ", expected as many strides as dimensions, none negative"));
  }
  if (elements == 0) {
    return Tensor::FromBytes(storage.dtype(), std::move(shape), "");
  }
  WINDLASS_ASSIGN_OR_RETURN(const int64_t end,
                            EndOfView(shape, strides, offset));
  if (end > storage.shape()[0]) {
    return absl::OutOfRangeError(
        absl::StrCat("the view ", ShapeString(shape), " with strides ",
                     ShapeString(strides), " at ", offset, " needs ", end,
                     " elements, the storage has ", storage.shape()[0]));
  }
  WINDLASS_ASSIGN_OR_RETURN(const Tensor used, Slice(storage, 0, offset, end));
  const Dims dims = Merge(shape, strides);
  if (dims.empty() || (dims.size() == 1 && dims[0].stride == 1)) {
    return Reshape(used, std::move(shape));
  }
  // Where another dimension than the last one lies in runs, the view that has
  // it last is read, and transposed.
  const auto run = absl::c_find_if(
      dims, [](const StridedSource::Dim& dim) { return dim.stride == 1; });
  if (run == dims.end() || run + 1 == dims.end()) {
    return Runs(used, dims, std::move(shape));
  }
  const Shape matrices = {Product(dims.begin(), run),
                          Product(run + 1, dims.end()), run->size};
  Dims turned(dims);
  std::rotate(turned.begin() + (run - dims.begin()),
              turned.begin() + (run - dims.begin()) + 1, turned.end());
  WINDLASS_ASSIGN_OR_RETURN(const Tensor rows,
                            Runs(used, std::move(turned), matrices));
  WINDLASS_ASSIGN_OR_RETURN(const Tensor transposed, Transpose(rows));
  return Reshape(transposed, std::move(shape));
}

}  // namespace windlass
