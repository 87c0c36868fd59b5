// Another repository that uses Windlass as a library: converts a state dict
// that lies in memory, without touching a file.

#include <cstdio>
#include <string>

#include "absl/status/statusor.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/state_dict.h"
#include "windlass/core/tensor.h"

int main() {
  using windlass::DType;
  using windlass::Tensor;

  // A gate in BF16 and a norm of the MTP module, as Hugging Face names them.
  windlass::StateDict hf;
  const std::string gate = "model.layers.0.linear_attn.A_log";
  const Tensor one =
      Tensor::FromBytes(DType::kBF16, {1}, std::string("\x80\x3F", 2)).value();
  if (!hf.Insert(gate, one).ok() || !hf.Insert("mtp.norm.weight", one).ok()) {
    return 1;
  }

  const auto info = windlass::AdapterRegistry::FindByName("qwen3_5");
  if (!info.ok()) return 1;
  const auto adapter = windlass::AdapterRegistry::Create(**info, {}, {});
  if (!adapter.ok()) return 1;
  const absl::StatusOr<windlass::StateDict> native = (*adapter)->FromHf(hf, {});
  if (!native.ok()) {
    std::fprintf(stderr, "%s\n", native.status().ToString().c_str());
    return 1;
  }
  for (const auto& [name, tensor] : *native) {
    const absl::StatusOr<std::string> bytes = windlass::ReadAll(tensor);
    if (!bytes.ok()) return 1;
    std::printf("%s %s", name.c_str(), tensor.ToString().c_str());
    for (unsigned char byte : *bytes) std::printf(" %02x", byte);
    std::printf("\n");
  }
  return 0;
}
