// What does merging experts cost, beside a memcpy of as many bytes?
//
//   tools/bazel run -c opt //benchmarks:experts_benchmark
//
// Everything goes the way that a conversion goes: the tensors of an adapter
// are read piece by piece. Figures are bytes of output a second.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "benchmark/benchmark.h"
#include "windlass/adapters/common/expert_tables.h"
#include "windlass/adapters/common/moe_options.h"
#include "windlass/core/dequantize.h"
#include "windlass/core/layout_table.h"
#include "windlass/core/state_dict.h"
#include "windlass/core/tensor.h"

namespace windlass {
namespace {

constexpr int64_t kExperts = 128;
constexpr int64_t kIntermediate = 768;
constexpr int64_t kHidden = 2048;

MoeOptions Moe() {
  MoeOptions moe;
  moe.experts = {"E", kExperts, "benchmark"};
  moe.intermediate = {"I", kIntermediate, "benchmark"};
  moe.hidden = {"H", -1, ""};
  moe.dtype = DType::kBF16;
  return moe;
}

std::unique_ptr<StateDictAdapter> Adapter() {
  return MakeLayoutAdapter(ExpertStages(Moe(), /*param_wrapper=*/false))
      .value();
}

void Insert(StateDict* dict, std::string name, DType dtype, Shape shape) {
  const int64_t bytes = ByteSize(dtype, shape).value();
  dict->Insert(std::move(name), Tensor::FromBytes(dtype, std::move(shape),
                                                  std::string(bytes, '\x3A'))
                                    .value())
      .IgnoreError();
}

StateDict Layer(DType dtype) {
  StateDict dict;
  for (int64_t e = 0; e < kExperts; ++e) {
    for (const char* projection : {"gate_proj", "up_proj", "down_proj"}) {
      const bool down = projection[0] == 'd';
      const int64_t m = down ? kHidden : kIntermediate;
      const int64_t n = down ? kIntermediate : kHidden;
      const std::string name =
          absl::StrCat("layers.0.mlp.experts.", e, ".", projection, ".weight");
      Insert(&dict, name, dtype, {m, n});
      if (dtype == DType::kF8E4M3) {
        Insert(&dict, name + "_scale_inv", DType::kF32, {m / 128, n / 128});
      }
    }
  }
  return dict;
}

// Reads tensors piece by piece on a number of threads, which take turns.
void ReadPieces(const StateDict& dict, int threads) {
  std::vector<std::thread> running;
  for (int t = 0; t < threads; ++t) {
    running.emplace_back([&dict, t, threads] {
      std::vector<char> buffer;
      int64_t turn = 0;
      for (const auto& [name, tensor] : dict) {
        for (int64_t begin = 0; begin < tensor.bytes();) {
          const int64_t end =
              std::min(tensor.bytes(), tensor.source()->PieceEnd(begin));
          if (turn++ % threads == t) {
            buffer.resize(end - begin);
            benchmark::DoNotOptimize(tensor.source()->Read(
                Region{begin, end - begin}, buffer.data(), end - begin));
          }
          begin = end;
        }
      }
    });
  }
  for (std::thread& thread : running) thread.join();
}

int64_t Bytes(const StateDict& dict) {
  int64_t bytes = 0;
  for (const auto& [name, tensor] : dict) bytes += tensor.bytes();
  return bytes;
}

void BM_MergeExperts(benchmark::State& state) {
  const StateDict hf = Layer(DType::kBF16);
  const StateDict native = Adapter()->FromHf(hf, {}).value();
  for (auto _ : state) ReadPieces(native, state.range(0));
  state.SetBytesProcessed(state.iterations() * Bytes(native));
}
BENCHMARK(BM_MergeExperts)
    ->Arg(1)
    ->Arg(2)
    ->MeasureProcessCPUTime()
    ->UseRealTime();

void BM_SplitExperts(benchmark::State& state) {
  const StateDict hf = Layer(DType::kBF16);
  const auto adapter = Adapter();
  StateDict native;
  const StateDict merged = adapter->FromHf(hf, {}).value();
  for (const auto& [name, tensor] : merged) {
    Insert(&native, name, tensor.dtype(), tensor.shape());
  }
  const StateDict back = adapter->ToHf(native, {}).value();
  for (auto _ : state) ReadPieces(back, state.range(0));
  state.SetBytesProcessed(state.iterations() * Bytes(back));
}
BENCHMARK(BM_SplitExperts)
    ->Arg(1)
    ->Arg(2)
    ->MeasureProcessCPUTime()
    ->UseRealTime();

void BM_DequantizeAndMerge(benchmark::State& state) {
  const StateDict hf = Layer(DType::kF8E4M3);
  const StateDict native = Adapter()->FromHf(hf, {}).value();
  for (auto _ : state) ReadPieces(native, state.range(0));
  state.SetBytesProcessed(state.iterations() * Bytes(native));
}
BENCHMARK(BM_DequantizeAndMerge)
    ->Arg(1)
    ->Arg(2)
    ->MeasureProcessCPUTime()
    ->UseRealTime();

// A tensor of all codes alike often, in no order.
Tensor Codes(DType dtype, Shape shape) {
  std::string bytes(ByteSize(dtype, shape).value(), '\0');
  uint32_t state = 1;
  for (char& byte : bytes) {
    state = state * 1664525 + 1013904223;
    byte = static_cast<char>(state >> 24);
  }
  return Tensor::FromBytes(dtype, std::move(shape), std::move(bytes)).value();
}

Tensor Scales(DType dtype, Shape shape) {
  const int64_t bytes = ByteSize(dtype, shape).value();
  return Tensor::FromBytes(dtype, std::move(shape), std::string(bytes, '\x3A'))
      .value();
}

// A matrix [m, n] as a format has it, unpacked.
using Unpack = Tensor (*)(int64_t m, int64_t n);

Tensor Fp8(int64_t m, int64_t n) {
  return Dequantize(Codes(DType::kF8E4M3, {m, n}),
                    Scales(DType::kF32, {m / 128, n / 128}), BlockFormat(),
                    DType::kBF16)
      .value();
}

Tensor MxFp8(int64_t m, int64_t n) {
  return Dequantize(Codes(DType::kF8E4M3, {m, n}),
                    Scales(DType::kU8, {m, n / 32}), MxFp8Format(),
                    DType::kBF16)
      .value();
}

Tensor MxFp4(int64_t m, int64_t n) {
  return Dequantize(Codes(DType::kU8, {m, n / 2}),
                    Scales(DType::kU8, {m, n / 32}), MxFp4Format(),
                    DType::kBF16)
      .value();
}

Tensor DeepSeekFp4(int64_t m, int64_t n) {
  return Dequantize(Codes(DType::kI8, {m, n / 2}),
                    Scales(DType::kF8E8M0, {m, n / 32}), DeepSeekFp4Format(),
                    DType::kBF16)
      .value();
}

Tensor Int4(int64_t m, int64_t n) {
  return Dequantize(Codes(DType::kI32, {m, n / 8}),
                    Scales(DType::kF16, {m, n / 32}), Int4Format(32),
                    DType::kBF16)
      .value();
}

void BM_UnpackAndMerge(benchmark::State& state, Unpack unpack) {
  StateDict values;
  for (int64_t e = 0; e < kExperts; ++e) {
    for (const char* projection : {"gate_proj", "up_proj", "down_proj"}) {
      const bool down = projection[0] == 'd';
      values
          .Insert(absl::StrCat("layers.0.mlp.experts.", e, ".", projection,
                               ".weight"),
                  unpack(down ? kHidden : kIntermediate,
                         down ? kIntermediate : kHidden))
          .IgnoreError();
    }
  }
  const StateDict native = Adapter()->FromHf(values, {}).value();
  for (auto _ : state) ReadPieces(native, state.range(0));
  state.SetBytesProcessed(state.iterations() * Bytes(native));
}
BENCHMARK_CAPTURE(BM_UnpackAndMerge, fp8, Fp8)
    ->Arg(1)
    ->Arg(2)
    ->MeasureProcessCPUTime()
    ->UseRealTime();
BENCHMARK_CAPTURE(BM_UnpackAndMerge, mxfp8, MxFp8)
    ->Arg(1)
    ->Arg(2)
    ->MeasureProcessCPUTime()
    ->UseRealTime();
BENCHMARK_CAPTURE(BM_UnpackAndMerge, mxfp4, MxFp4)
    ->Arg(1)
    ->Arg(2)
    ->MeasureProcessCPUTime()
    ->UseRealTime();
BENCHMARK_CAPTURE(BM_UnpackAndMerge, deepseek_fp4, DeepSeekFp4)
    ->Arg(1)
    ->Arg(2)
    ->MeasureProcessCPUTime()
    ->UseRealTime();
BENCHMARK_CAPTURE(BM_UnpackAndMerge, int4, Int4)
    ->Arg(1)
    ->Arg(2)
    ->MeasureProcessCPUTime()
    ->UseRealTime();

void BM_Memcpy(benchmark::State& state) {
  const int64_t bytes = kExperts * 3 * kIntermediate * kHidden * 2;
  const int64_t threads = state.range(0);
  const std::string from(bytes, 'x');
  std::string to(bytes, '\0');
  for (auto _ : state) {
    std::vector<std::thread> running;
    for (int64_t t = 0; t < threads; ++t) {
      running.emplace_back([&, t] {
        std::memcpy(&to[t * bytes / threads], &from[t * bytes / threads],
                    bytes / threads);
      });
    }
    for (std::thread& thread : running) thread.join();
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * bytes);
}
BENCHMARK(BM_Memcpy)->Arg(1)->Arg(2)->MeasureProcessCPUTime()->UseRealTime();

}  // namespace
}  // namespace windlass
