#include "windlass/io/torch/classes.h"

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace windlass {
namespace {

struct StorageClass {
  absl::string_view name;
  std::optional<DType> dtype;
};

const StorageClass kStorages[] = {
    {"torch.BFloat16Storage", DType::kBF16},
    {"torch.BoolStorage", DType::kBool},
    {"torch.ByteStorage", DType::kU8},
    {"torch.CharStorage", DType::kI8},
    {"torch.ComplexFloatStorage", DType::kC64},
    {"torch.DoubleStorage", DType::kF64},
    {"torch.FloatStorage", DType::kF32},
    {"torch.HalfStorage", DType::kF16},
    {"torch.IntStorage", DType::kI32},
    {"torch.LongStorage", DType::kI64},
    {"torch.ShortStorage", DType::kI16},
    {"torch.UntypedStorage", std::nullopt},
    {"torch.storage.UntypedStorage", std::nullopt},
    {"torch.storage._UntypedStorage", std::nullopt},
};

// What may stand beside tensors; and tensors of kinds that are refused by the
// name of the tensor rather than by that of the class.
constexpr absl::string_view kOthers[] = {
    "__builtin__.bytearray",
    "__builtin__.complex",
    "__builtin__.frozenset",
    "__builtin__.set",
    "_codecs.encode",
    "_io.BytesIO",
    "argparse.Namespace",
    "builtins.bytearray",
    "builtins.complex",
    "builtins.frozenset",
    "builtins.set",
    "collections.Counter",
    "collections.OrderedDict",
    "collections.defaultdict",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy.dtype",
    "numpy.ndarray",
    "torch.ComplexDoubleStorage",
    "torch.QInt32Storage",
    "torch.QInt8Storage",
    "torch.QUInt8Storage",
    "torch.Size",
    "torch._tensor._rebuild_from_type_v2",
    "torch._utils._rebuild_device_tensor_from_numpy",
    "torch._utils._rebuild_meta_tensor_no_storage",
    "torch._utils._rebuild_nested_tensor",
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
    "torch._utils._rebuild_qtensor",
    "torch._utils._rebuild_sparse_csr_tensor",
    "torch._utils._rebuild_sparse_tensor",
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_tensor_v3",
    "torch._utils._rebuild_wrapper_subclass",
    "torch.complex128",
    "torch.complex32",
    "torch.device",
    "torch.per_channel_affine",
    "torch.per_tensor_affine",
    "torch.qint32",
    "torch.qint8",
    "torch.quint8",
    "torch.serialization._get_layout",
    "torch.torch_version.TorchVersion",
};

constexpr absl::string_view kTensorTypes[] = {
    "torch.Tensor",
    "torch._tensor.Tensor",
    "torch.nn.parameter.Buffer",
    "torch.nn.parameter.Parameter",
};

const StorageClass* FindStorage(absl::string_view name) {
  const auto* const found = absl::c_find_if(
      kStorages,
      [name](const StorageClass& storage) { return storage.name == name; });
  return found == std::end(kStorages) ? nullptr : found;
}

}  // namespace

bool IsTensorType(absl::string_view name) {
  return absl::c_linear_search(kTensorTypes, name);
}

bool IsTorchClass(absl::string_view name) {
  absl::string_view dtype = name;
  return absl::c_linear_search(kOthers, name) || IsTensorType(name) ||
         FindStorage(name) != nullptr ||
         (absl::ConsumePrefix(&dtype, "torch.") &&
          ParseTorchDType(dtype).has_value());
}

absl::StatusOr<std::optional<DType>> StorageDType(absl::string_view name) {
  if (const StorageClass* storage = FindStorage(name)) return storage->dtype;
  return absl::InvalidArgumentError(
      absl::StrCat("found ", absl::CHexEscape(name),
                   ", expected storages of a dtype that safetensors has too"));
}

}  // namespace windlass
