// Makes a synthetic checkpoint of any size, with the key layout of a real
// model.
//
//   make_checkpoint MODEL SIZE SHARDS FOLDER
//   make_checkpoint --headers ...    sparse files: no data, real headers
//
// MODEL is qwen3_5, qwen3_5_bf16, qwen3_moe, deepseek_v3, kimi_k25_vl or small,
// whose tensors are many and hold nearly nothing.
// SIZE is in MB of tensor data, or in tensors with a trailing "t" ("150000t").

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "windlass/core/dtype.h"
#include "windlass/io/safetensors/header.h"

namespace windlass {
namespace {

struct Spec {
  std::string name;
  DType dtype;
  Shape shape;
  int64_t bytes() const { return ByteSize(dtype, shape).value(); }
};

using Layer = std::function<std::vector<Spec>(int layer)>;

struct Model {
  const char* config;
  Layer layer;
};

// `gates` is the dtype of what the native layout keeps in F32: with F32, only
// names differ between the layouts.
std::vector<Spec> QwenLayer(int n, DType gates) {
  const std::string p = absl::StrCat("model.language_model.layers.", n, ".");
  std::vector<Spec> specs;
  auto add = [&](const char* name, DType dtype, Shape shape) {
    specs.push_back({p + name, dtype, std::move(shape)});
  };
  if (n % 4 != 3) {
    add("linear_attn.A_log", gates, {32});
    add("linear_attn.dt_bias", gates, {32});
    add("linear_attn.conv1d.weight", DType::kBF16, {8192, 1, 4});
    add("linear_attn.in_proj_qkv.weight", DType::kBF16, {8192, 2560});
    add("linear_attn.in_proj_z.weight", DType::kBF16, {4096, 2560});
    add("linear_attn.in_proj_a.weight", DType::kBF16, {32, 2560});
    add("linear_attn.in_proj_b.weight", DType::kBF16, {32, 2560});
    add("linear_attn.norm.weight", DType::kBF16, {128});
    add("linear_attn.out_proj.weight", DType::kBF16, {2560, 4096});
  } else {
    add("self_attn.q_proj.weight", DType::kBF16, {8192, 2560});
    add("self_attn.k_proj.weight", DType::kBF16, {1024, 2560});
    add("self_attn.v_proj.weight", DType::kBF16, {1024, 2560});
    add("self_attn.o_proj.weight", DType::kBF16, {2560, 4096});
  }
  add("mlp.gate_proj.weight", DType::kBF16, {9216, 2560});
  add("mlp.up_proj.weight", DType::kBF16, {9216, 2560});
  add("mlp.down_proj.weight", DType::kBF16, {2560, 9216});
  add("input_layernorm.weight", DType::kBF16, {2560});
  add("post_attention_layernorm.weight", DType::kBF16, {2560});
  return specs;
}

enum class Packing { kNone, kFp8, kInt4 };

// What a weight [rows, cols] is stored as.
void AddWeight(const std::string& name, int64_t rows, int64_t cols,
               Packing packing, std::vector<Spec>* specs) {
  switch (packing) {
    case Packing::kNone:
      specs->push_back({name, DType::kBF16, {rows, cols}});
      break;
    case Packing::kFp8:
      specs->push_back({name, DType::kF8E4M3, {rows, cols}});
      specs->push_back({name + "_scale_inv",
                        DType::kF32,
                        {(rows + 127) / 128, (cols + 127) / 128}});
      break;
    case Packing::kInt4:
      specs->push_back({name + "_packed", DType::kI32, {rows, cols / 8}});
      specs->push_back({name + "_scale", DType::kBF16, {rows, cols / 32}});
      specs->push_back({name + "_shape", DType::kI32, {2}});
      break;
  }
}

std::vector<Spec> ExpertLayer(const std::string& p, int experts,
                              int64_t intermediate, int64_t hidden,
                              Packing packing) {
  std::vector<Spec> specs = {
      {p + "input_layernorm.weight", DType::kBF16, {hidden}},
      {p + "mlp.gate.weight", DType::kBF16, {experts, hidden}}};
  for (int e = 0; e < experts; ++e) {
    for (const char* projection : {"gate_proj", "up_proj", "down_proj"}) {
      const bool down = projection[0] == 'd';
      AddWeight(absl::StrCat(p, "mlp.experts.", e, ".", projection, ".weight"),
                down ? hidden : intermediate, down ? intermediate : hidden,
                packing, &specs);
    }
  }
  return specs;
}

std::string LayerPrefix(int n) { return absl::StrCat("model.layers.", n, "."); }

bool FindModel(const std::string& name, Model* model) {
  if (name == "qwen3_5" || name == "qwen3_5_bf16") {
    const DType gates = name == "qwen3_5" ? DType::kF32 : DType::kBF16;
    *model = {R"({"architectures": ["Qwen3_5ForConditionalGeneration"]})",
              [gates](int n) { return QwenLayer(n, gates); }};
  } else if (name == "qwen3_moe") {
    *model = {R"({"architectures": ["Qwen3MoeForCausalLM"],
 "num_experts": 128, "moe_intermediate_size": 768, "dtype": "bfloat16"})",
              [](int n) {
                return ExpertLayer(LayerPrefix(n), 128, 768, 2048,
                                   Packing::kNone);
              }};
  } else if (name == "deepseek_v3") {
    *model = {R"({"architectures": ["DeepseekV3ForCausalLM"],
 "n_routed_experts": 256, "moe_intermediate_size": 2048, "dtype": "bfloat16"})",
              [](int n) {
                return ExpertLayer(LayerPrefix(n), 256, 2048, 7168,
                                   Packing::kFp8);
              }};
  } else if (name == "kimi_k25_vl") {
    *model = {R"({"architectures": ["KimiK25ForConditionalGeneration"],
 "dtype": "bfloat16", "text_config": {
  "n_routed_experts": 384, "moe_intermediate_size": 2048}})",
              [](int n) {
                return ExpertLayer("language_model." + LayerPrefix(n), 384,
                                   2048, 7168, Packing::kInt4);
              }};
  } else if (name == "small") {
    *model = {
        "{}", [](int n) {
          std::vector<Spec> specs;
          for (int i = 0; i < 100; ++i) {
            specs.push_back({absl::StrCat(LayerPrefix(n), "mlp.", i, ".weight"),
                             DType::kBF16,
                             {8, 16}});
          }
          return specs;
        }};
  } else {
    return false;
  }
  return true;
}

// Layers until `bytes` or `tensors` are reached. The last is whole, so that no
// expert is missing.
std::vector<Spec> Specs(const Model& model, int64_t bytes, size_t tensors) {
  std::vector<Spec> specs;
  int64_t total = 0;
  for (int n = 0; total < bytes && specs.size() < tensors; ++n) {
    for (Spec& spec : model.layer(n)) {
      total += spec.bytes();
      specs.push_back(std::move(spec));
    }
  }
  return specs;
}

bool WriteAll(int fd, const char* data, int64_t size) {
  while (size > 0) {
    const ssize_t put = ::write(fd, data, size);
    if (put <= 0) return false;
    data += put;
    size -= put;
  }
  return true;
}

bool WriteShard(const std::string& path, const std::vector<Spec>& specs,
                bool headers_only) {
  std::vector<SafetensorsEntry> entries;
  int64_t offset = 0;
  for (const Spec& spec : specs) {
    entries.push_back(
        {spec.name, spec.dtype, spec.shape, offset, offset + spec.bytes()});
    offset += spec.bytes();
  }
  const std::string header =
      SerializeSafetensorsHeader({{"format", "pt"}}, entries);
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666);
  bool good = fd >= 0 && WriteAll(fd, header.data(), header.size());
  if (headers_only) {
    good = good && ::ftruncate(fd, header.size() + offset) == 0;
  } else {
    // Bytes that no file system can compress or share.
    std::vector<uint64_t> block(1 << 17);
    uint64_t state = 88172645463325252u;
    for (int64_t left = offset; left > 0 && good;) {
      for (uint64_t& word : block) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        word = state & 0x3FFF3FFF3FFF3FFFu;  // finite in every dtype
      }
      const int64_t part = std::min<int64_t>(left, block.size() * 8);
      good = WriteAll(fd, reinterpret_cast<const char*>(block.data()), part);
      left -= part;
    }
  }
  return ::close(fd) == 0 && good;
}

int Main(int argc, char** argv) {
  const bool headers_only = argc > 1 && std::string(argv[1]) == "--headers";
  if (headers_only) ++argv, --argc;
  Model model;
  if (argc != 5 || !FindModel(argv[1], &model)) {
    std::fprintf(stderr,
                 "make_checkpoint [--headers] "
                 "qwen3_5|qwen3_5_bf16|qwen3_moe|deepseek_v3|kimi_k25_vl|small "
                 "MB|TENSORSt SHARDS FOLDER\n");
    return 2;
  }
  const std::string size = argv[2];
  const bool by_tensors = size.back() == 't';
  const int64_t count = std::atoll(argv[2]);
  const std::vector<Spec> specs =
      Specs(model, by_tensors ? INT64_MAX : count * 1'000'000,
            by_tensors ? count : SIZE_MAX);
  const int shards = std::atoi(argv[3]);
  const std::string folder = argv[4];
  ::mkdir(folder.c_str(), 0777);

  std::string index = "{\"metadata\": {}, \"weight_map\": {";
  const char* comma = "";
  for (int shard = 0; shard < shards; ++shard) {
    const size_t begin = specs.size() * shard / shards;
    const size_t end = specs.size() * (shard + 1) / shards;
    const std::string name =
        absl::StrFormat("model-%05d-of-%05d.safetensors", shard + 1, shards);
    std::vector<Spec> part(specs.begin() + begin, specs.begin() + end);
    // As the safetensors library writes them: larger elements first.
    std::stable_sort(part.begin(), part.end(),
                     [](const Spec& a, const Spec& b) {
                       return DTypeBits(a.dtype) > DTypeBits(b.dtype);
                     });
    if (!WriteShard(folder + "/" + name, part, headers_only)) {
      std::perror(name.c_str());
      return 1;
    }
    for (const Spec& spec : part) {
      absl::StrAppend(&index, comma, "\n\"", spec.name, "\": \"", name, "\"");
      comma = ",";
    }
  }
  index += "}}\n";
  auto write = [&](const char* name, const std::string& text) {
    const int fd = ::open((folder + "/" + name).c_str(),
                          O_WRONLY | O_CREAT | O_TRUNC, 0666);
    return WriteAll(fd, text.data(), text.size()) && ::close(fd) == 0;
  };
  return write("model.safetensors.index.json", index) &&
                 write("config.json", model.config)
             ? 0
             : 1;
}

}  // namespace
}  // namespace windlass

int main(int argc, char** argv) { return windlass::Main(argc, argv); }
