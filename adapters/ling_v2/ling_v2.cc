// Ling 2 (Bailing-MoE V2): experts are merged, attention has other names, and
// queries, keys and values lie in one matrix in Hugging Face's files.
//
// The reference: models/ling_v2/state_dict_adapter.py,
// BailingMoeV2StateDictAdapter.

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "windlass/adapters/common/expert_tables.h"
#include "windlass/adapters/common/moe_options.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/layout_op.h"
#include "windlass/core/layout_table.h"
#include "windlass/core/model_config.h"
#include "windlass/core/regex.h"
#include "windlass/core/status_macros.h"

namespace windlass {
namespace {

LayoutTable Names() {
  LayoutTable table;
  table
      .Rename("{p*}mlp.gate.expert_bias",
              "{p*}mlp.gate.e_score_correction_bias")
      .Else()
      .Rename("{p*}model.word_embeddings.{r*}", "{p*}model.embed_tokens.{r*}")
      .Else()
      .Rename(
          "{p*}attention.{k:dense=o_proj|query_layernorm=q_norm|"
          "key_layernorm=k_norm}.{r*}",
          "{p*}self_attn.{k}.{r*}")
      .Else();
  // One of them alone; the three are joined below.
  const char* hf = "{p*}layers.{l}.attention.{k:q_proj|k_proj|v_proj}.weight";
  const char* native = "{p*}layers.{l}.self_attn.{k}.weight";
  table.Rename(hf, native).OnlyToNative().Rename(hf, native).OnlyToHf();
  return table;
}

absl::StatusOr<LayoutTable> QueryKeyValueTable(const ModelConfig& config,
                                               const LayoutDim& hidden) {
  WINDLASS_ASSIGN_OR_RETURN(const int64_t heads,
                            config.GetPositiveInt("num_attention_heads"));
  WINDLASS_ASSIGN_OR_RETURN(const int64_t kv_heads,
                            config.GetPositiveInt("num_key_value_heads"));
  int64_t size;
  if (config.Has("head_dim")) {
    WINDLASS_ASSIGN_OR_RETURN(size, config.GetPositiveInt("head_dim"));
  } else {
    WINDLASS_ASSIGN_OR_RETURN(size, config.GetPositiveInt("hidden_size"));
    size = std::max<int64_t>(size / heads, 1);
  }
  // A config may say anything.
  const int64_t most = INT64_MAX / 4;
  const int64_t q = heads > most / size ? most : heads * size;
  const int64_t kv = kv_heads > most / size ? most : kv_heads * size;
  const LayoutDim rows = {
      "QKV", q + 2 * kv,
      absl::StrCat(config.origin(),
                   ": fields \"num_attention_heads\", "
                   "\"num_key_value_heads\" and \"head_dim\"")};
  LayoutTable table;
  table
      .Map({"{p*}layers.{l}.attention.query_key_value.weight"},
           {"{p*}layers.{l}.self_attn.q_proj.weight",
            "{p*}layers.{l}.self_attn.k_proj.weight",
            "{p*}layers.{l}.self_attn.v_proj.weight"},
           {layout::Shapes({{rows, hidden}}), layout::Split(0, {q, kv, kv})})
      .AtEndInHf();
  return table;
}

absl::StatusOr<std::unique_ptr<StateDictAdapter>> Create(
    const ModelConfig& config, const JsonFields& options) {
  WINDLASS_ASSIGN_OR_RETURN(const MoeOptions moe,
                            ReadMoeOptions(config, options));
  WINDLASS_ASSIGN_OR_RETURN(const LayoutTable attention,
                            QueryKeyValueTable(config, moe.hidden));
  LayoutTraits traits;
  traits.exclude_anchor = NameFilter::Anchor::kSearch;
  return MakeLayoutAdapter({BlockFp8Table(moe), Names(), attention,
                            MixtureTable(moe, /*param_wrapper=*/false)},
                           traits);
}

const AdapterRegistrar registrar({
    /*name=*/"ling_v2",
    /*framework=*/"automodel",
    /*summary=*/"Ling 2 (Bailing-MoE V2)",
    /*architectures=*/{"BailingMoeV2ForCausalLM"},
    /*model_types=*/{"bailing_moe"},
    /*options=*/NestedMoeAdapterOptions(),
    &Create,
    /*expert_parallel=*/true,
    /*supports=*/nullptr,
    /*example_config=*/
    R"({"dtype": "bfloat16", "num_experts": 4, "moe_intermediate_size": 8,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 2})",
});

}  // namespace
}  // namespace windlass
