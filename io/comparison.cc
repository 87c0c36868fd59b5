#include "windlass/io/comparison.h"

#include <cstddef>
#include <cstring>

#include "absl/algorithm/container.h"
#include "windlass/core/dtype.h"
#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

// Whether both hold the same number of numbers, one against one.
bool AreComparable(const Tensor& a, const Tensor& b) {
  if (a.shape() != b.shape()) return false;
  if (a.dtype() == b.dtype()) return true;
  const auto is_plain = [](const Tensor& tensor) {
    return DTypeBytes(tensor.dtype()) > 0 && tensor.dtype() != DType::kC64;
  };
  return is_plain(a) && is_plain(b);
}

std::vector<ComparedTensor> Pair(const StateDict& a, const StateDict& b) {
  std::vector<ComparedTensor> tensors;
  for (const auto& [name, tensor] : a) {
    const Tensor* other = b.Find(name);
    ComparedTensor compared{name, &tensor, other, Verdict::kSame, {}};
    if (other == nullptr) {
      compared.verdict = Verdict::kOnlyInA;
    } else if (tensor.shape() != other->shape()) {
      compared.verdict = Verdict::kShape;
    } else if (tensor.dtype() != other->dtype()) {
      compared.verdict = Verdict::kDType;
    }
    tensors.push_back(compared);
  }
  for (const auto& [name, tensor] : b) {
    if (a.Contains(name)) continue;
    tensors.push_back({name, nullptr, &tensor, Verdict::kOnlyInB, {}});
  }
  return tensors;
}

bool IsRead(const ComparedTensor& tensor) {
  return tensor.a != nullptr && tensor.b != nullptr &&
         AreComparable(*tensor.a, *tensor.b);
}

// The side whose pieces both are read by: that of the larger elements, so that
// pieces of both are bounded, else that which is computed.
const Tensor* LeadingSide(const ComparedTensor& tensor) {
  const int a_bits = DTypeBits(tensor.a->dtype());
  const int b_bits = DTypeBits(tensor.b->dtype());
  if (a_bits != b_bits) return a_bits > b_bits ? tensor.a : tensor.b;
  return tensor.a->source()->Verbatim().has_value() ? tensor.b : tensor.a;
}

// What came out of a part.
struct PartDifference {
  bool same_bytes = true;
  NumberDifference numbers;
};

absl::Status ComparePart(const ComparedTensor& tensor, const TensorPart& part,
                         const ComparisonOptions& options, ReadBuffer* a_buffer,
                         ReadBuffer* b_buffer, PartDifference* difference) {
  const Tensor& a = *tensor.a;
  const Tensor& b = *tensor.b;
  const Tensor& leading = *LeadingSide(tensor);
  const int64_t bits = DTypeBits(leading.dtype());
  const bool same_dtype = a.dtype() == b.dtype();
  for (int64_t begin = part.begin; begin < part.end;) {
    const int64_t end = PieceOfPart(leading, part, begin);
    const auto bytes_of = [&](const Tensor& side, int64_t bytes) {
      return same_dtype ? bytes : bytes * DTypeBits(side.dtype()) / bits;
    };
    const int64_t a_size = bytes_of(a, end - begin);
    const int64_t b_size = bytes_of(b, end - begin);
    WINDLASS_ASSIGN_OR_RETURN(const char* a_bytes,
                              a_buffer->Read(a, bytes_of(a, begin), a_size));
    WINDLASS_ASSIGN_OR_RETURN(const char* b_bytes,
                              b_buffer->Read(b, bytes_of(b, begin), b_size));
    if (!same_dtype || std::memcmp(a_bytes, b_bytes, a_size) != 0) {
      difference->same_bytes = false;
      if (HasNumbers(a.dtype())) {
        difference->numbers.Merge(
            CompareNumbers(a.dtype(), a_bytes, b.dtype(), b_bytes,
                           NumbersIn(a.dtype(), a_size),
                           options.tolerance.value_or(Tolerance())));
      }
    }
    options.reading.Count(a_size + b_size);
    begin = end;
  }
  return absl::OkStatus();
}

// The last word, once a tensor's bytes were compared.
Verdict Judge(const ComparedTensor& tensor, const ComparisonOptions& options) {
  if (tensor.verdict == Verdict::kDType &&
      !(options.tolerance.has_value() && options.any_dtype)) {
    return Verdict::kDType;
  }
  const bool is_close =
      options.tolerance.has_value() && HasNumbers(tensor.a->dtype()) &&
      (!tensor.numbers.has_value() || tensor.numbers->too_far == 0);
  return is_close ? Verdict::kClose : Verdict::kValues;
}

}  // namespace

absl::string_view VerdictName(Verdict verdict) {
  switch (verdict) {
    case Verdict::kSame:
      return "same";
    case Verdict::kClose:
      return "close";
    case Verdict::kOnlyInA:
      return "only in A";
    case Verdict::kOnlyInB:
      return "only in B";
    case Verdict::kShape:
      return "shape";
    case Verdict::kDType:
      return "dtype";
    case Verdict::kValues:
      return "values";
  }
  return "";
}

int64_t Comparison::Count(Verdict verdict) const {
  return absl::c_count_if(tensors, [verdict](const ComparedTensor& tensor) {
    return tensor.verdict == verdict;
  });
}

bool Comparison::same() const {
  return absl::c_all_of(tensors, [](const ComparedTensor& tensor) {
    return tensor.verdict == Verdict::kSame ||
           tensor.verdict == Verdict::kClose;
  });
}

int64_t BytesToCompare(const StateDict& a, const StateDict& b) {
  int64_t bytes = 0;
  for (const ComparedTensor& tensor : Pair(a, b)) {
    if (IsRead(tensor)) bytes += tensor.a->bytes() + tensor.b->bytes();
  }
  return bytes;
}

absl::StatusOr<Comparison> CompareTensors(const StateDict& a,
                                          const StateDict& b,
                                          const ComparisonOptions& options) {
  Comparison comparison;
  comparison.tensors = Pair(a, b);
  std::vector<ComparedTensor*> read;
  std::vector<const Tensor*> leading;
  for (ComparedTensor& tensor : comparison.tensors) {
    if (!IsRead(tensor)) continue;
    read.push_back(&tensor);
    leading.push_back(LeadingSide(tensor));
  }
  const std::vector<TensorPart> parts = CutIntoParts(leading);
  std::vector<PartDifference> differences(parts.size());
  WINDLASS_RETURN_IF_ERROR(ForEachPart(
      parts.size(), options.reading.threads,
      [&](size_t i, ReadBuffer* a_buffer, ReadBuffer* b_buffer) {
        return ComparePart(*read[parts[i].tensor], parts[i], options, a_buffer,
                           b_buffer, &differences[i]);
      }));
  for (size_t i = 0; i < parts.size(); ++i) {
    if (differences[i].same_bytes) continue;
    ComparedTensor& tensor = *read[parts[i].tensor];
    if (!tensor.numbers.has_value()) tensor.numbers.emplace();
    tensor.numbers->Merge(differences[i].numbers);
  }
  for (ComparedTensor* tensor : read) {
    const bool differs =
        tensor->numbers.has_value() || tensor->verdict == Verdict::kDType;
    if (differs) tensor->verdict = Judge(*tensor, options);
    if (!HasNumbers(tensor->a->dtype())) tensor->numbers.reset();
    if (tensor->numbers.has_value()) {
      tensor->numbers->count =
          NumbersIn(tensor->a->dtype(), tensor->a->bytes());
    }
  }
  return comparison;
}

}  // namespace windlass
