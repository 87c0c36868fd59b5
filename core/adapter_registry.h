// The adapters that are linked in, by name and by config.json.
//
// An adapter registers itself with one constant at the end of its .cc, in a
// target that is `alwayslink` (adapters/qwen3_5 is the example to copy):
//
//   const AdapterRegistrar registrar({
//       /*name=*/"my_model", /*framework=*/"automodel", /*summary=*/"...",
//       /*architectures=*/{"MyModelForCausalLM"}, /*model_types=*/{"my_model"},
//       /*options=*/{}, &MyAdapter::Create});

#ifndef WINDLASS_CORE_ADAPTER_REGISTRY_H_
#define WINDLASS_CORE_ADAPTER_REGISTRY_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/model_config.h"
#include "windlass/core/state_dict_adapter.h"

namespace windlass {

// An option that an adapter takes (the reference's constructor argument).
struct AdapterOption {
  std::string name;
  std::string default_value;  // as JSON text; for documentation
  std::string summary;
};

struct AdapterInfo {
  using Factory =
      std::function<absl::StatusOr<std::unique_ptr<StateDictAdapter>>(
          const ModelConfig& config, const JsonFields& options)>;

  std::string name;
  // Whose native layout it is: "automodel".
  std::string framework;
  // One line for a table.
  std::string summary;
  // What config.json says: its first architecture, as in the reference; its
  // `model_type` where it names no architecture.
  std::vector<std::string> architectures;
  std::vector<std::string> model_types;
  std::vector<AdapterOption> options;
  // Called with options whose names were checked.
  Factory factory;
  // Whether DeviceMesh means anything to it.
  bool expert_parallel = false;
  // Decides where two adapters share an architecture; null for always.
  std::function<absl::StatusOr<bool>(const ModelConfig& config)> supports =
      nullptr;
  // A config.json of a small model, with all that the factory asks for: for
  // documentation, and for the property tests, which vary its numbers of
  // experts and their sizes.
  std::string example_config =
      R"({"dtype": "bfloat16", "num_experts": 4, "moe_intermediate_size": 8,
          "tie_word_embeddings": true})";
};

// Thread-safe once main() runs; registration happens before.
class AdapterRegistry {
 public:
  // Everything registered, by name.
  static std::vector<const AdapterInfo*> All();

  // Of any framework, or of the one that is given. NotFound lists the names
  // that are near, or all of them; AlreadyExists where several have the name.
  static absl::StatusOr<const AdapterInfo*> FindByName(
      absl::string_view name, absl::string_view framework = "");

  // The adapter for a model. NotFound says what the config has and which known
  // architectures are near; AlreadyExists names those that all claim it.
  static absl::StatusOr<const AdapterInfo*> FindByConfig(
      const ModelConfig& config);

  // InvalidArgument for an option that the adapter does not take; lists those
  // that it does.
  static absl::Status CheckOptions(const AdapterInfo& info,
                                   const JsonFields& options);

  // Builds an adapter. Errors are CheckOptions' and the factory's.
  static absl::StatusOr<std::unique_ptr<StateDictAdapter>> Create(
      const AdapterInfo& info, const ModelConfig& config,
      const JsonFields& options);
};

// Registers an adapter at start-up. What two adapters claim is kept, and said
// by whoever looks it up.
class AdapterRegistrar {
 public:
  explicit AdapterRegistrar(AdapterInfo info,
                            const char* file = __builtin_FILE());
};

}  // namespace windlass

#endif  // WINDLASS_CORE_ADAPTER_REGISTRY_H_
