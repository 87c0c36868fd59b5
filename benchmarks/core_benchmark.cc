// How fast are the parts: key rewriting, header parsing, casting,
// checksums?
//
//   tools/bazel run -c opt //benchmarks:core_benchmark

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "benchmark/benchmark.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/byte_source.h"
#include "windlass/core/kernels/float_convert.h"
#include "windlass/core/key_rewriter.h"
#include "windlass/core/state_dict.h"
#include "windlass/core/tensor.h"
#include "windlass/io/safetensors/header.h"
#include "windlass/io/transfer/crc32.h"

namespace windlass {
namespace {

// The names of a model with 384 experts: about 150,000.
const std::vector<std::string>& ManyKeys() {
  static const auto* const keys = [] {
    auto* out = new std::vector<std::string>;
    for (int layer = 0; out->size() < 150000; ++layer) {
      const std::string prefix = absl::StrCat("model.layers.", layer, ".");
      out->push_back(prefix + "linear_attn._fp32_params.A_log");
      out->push_back(prefix + "self_attn.q_proj.weight");
      for (int expert = 0; expert < 384; ++expert) {
        for (const char* name : {"gate_proj", "up_proj", "down_proj"}) {
          out->push_back(absl::StrCat(prefix, "mlp.experts.", expert, ".", name,
                                      ".weight"));
        }
      }
    }
    return out;
  }();
  return *keys;
}

void BM_RewriteKeys(benchmark::State& state) {
  const KeyRewriter rewriter =
      KeyRewriter::Create(
          {KeyRewriter::Regex(R"((\.linear_attn)\._fp32_params\.)", R"(\1.)"),
           KeyRewriter::Exact({{"mtp.norm.weight", "x"}})})
          .value();
  for (auto _ : state) {
    for (const std::string& key : ManyKeys()) {
      benchmark::DoNotOptimize(rewriter.Rewrite(key));
    }
  }
  state.SetItemsProcessed(state.iterations() * ManyKeys().size());
}
BENCHMARK(BM_RewriteKeys)->Unit(benchmark::kMillisecond);

// The whole adapter: a state dict in, a state dict out.
void BM_AdaptStateDict(benchmark::State& state) {
  StateDict dict;
  const Tensor tensor =
      Tensor::FromBytes(DType::kBF16, {1}, std::string(2, 'x')).value();
  for (const std::string& key : ManyKeys()) {
    dict.Insert(key, tensor).IgnoreError();
  }
  const auto adapter =
      AdapterRegistry::Create(**AdapterRegistry::FindByName("qwen3_5"), {}, {})
          .value();
  for (auto _ : state) {
    benchmark::DoNotOptimize(adapter->ToHf(dict, {}));
  }
  state.SetItemsProcessed(state.iterations() * dict.size());
}
BENCHMARK(BM_AdaptStateDict)->Unit(benchmark::kMillisecond);

void BM_ParseHeader(benchmark::State& state) {
  std::vector<SafetensorsEntry> entries;
  int64_t offset = 0;
  for (const std::string& key : ManyKeys()) {
    entries.push_back({key, DType::kBF16, {7, 4096}, offset, offset + 57344});
    offset += 57344;
  }
  const std::string header =
      SerializeSafetensorsHeader({{"format", "pt"}}, entries);
  const absl::string_view json = absl::string_view(header).substr(8);
  for (auto _ : state) {
    benchmark::DoNotOptimize(ParseSafetensorsHeader(json, offset));
  }
  state.SetBytesProcessed(state.iterations() * json.size());
}
BENCHMARK(BM_ParseHeader)->Unit(benchmark::kMillisecond);

// As much as the engine reads at a time.
void BM_Crc32(benchmark::State& state) {
  const std::string bytes(256 << 10, '\x3A');
  for (auto _ : state) benchmark::DoNotOptimize(ExtendCrc32(0, bytes));
  state.SetBytesProcessed(state.iterations() * bytes.size());
}
BENCHMARK(BM_Crc32);

// Bytes written a second.
void BM_Cast(benchmark::State& state) {
  const DType from = static_cast<DType>(state.range(0));
  const DType to = static_cast<DType>(state.range(1));
  constexpr int64_t kCount = 64 << 10;
  const std::string in(kCount * DTypeBytes(from), '\x3A');
  std::string out(kCount * DTypeBytes(to), '\0');
  for (auto _ : state) {
    ConvertFloats(from, in.data(), kCount, to, &out[0]);
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * out.size());
  state.SetLabel(absl::StrCat(DTypeName(from), " to ", DTypeName(to)));
}
BENCHMARK(BM_Cast)
    ->Args({static_cast<int>(DType::kBF16), static_cast<int>(DType::kF32)})
    ->Args({static_cast<int>(DType::kF32), static_cast<int>(DType::kBF16)})
    ->Args({static_cast<int>(DType::kF16), static_cast<int>(DType::kF32)})
    ->Args({static_cast<int>(DType::kF32), static_cast<int>(DType::kF16)})
    ->Args({static_cast<int>(DType::kF8E4M3), static_cast<int>(DType::kBF16)})
    ->Args({static_cast<int>(DType::kBF16), static_cast<int>(DType::kF8E4M3)});

}  // namespace
}  // namespace windlass
