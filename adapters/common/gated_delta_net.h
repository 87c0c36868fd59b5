// Parameters that stay in F32: the gates of GatedDeltaNet layers.
//
// Native modules keep `A_log` and `dt_bias` in a holder of their own,
// `linear_attn._fp32_params.A_log`; Hugging Face has the bare name. The
// reference's helpers are in components/models/common/gated_delta_net_fp32.py.

#ifndef WINDLASS_ADAPTERS_COMMON_GATED_DELTA_NET_H_
#define WINDLASS_ADAPTERS_COMMON_GATED_DELTA_NET_H_

#include <string>

#include "absl/status/statusor.h"
#include "windlass/core/adapter_registry.h"
#include "windlass/core/json_fields.h"
#include "windlass/core/layout_table.h"

namespace windlass {

// route_linear_attn_fp32_params (true): whether native gates live in holders.
AdapterOption RouteOption();
absl::StatusOr<bool> ReadRouteOption(const JsonFields& options);

// Of `attention`, "linear_attn" for instance: to HF,
// ".linear_attn._fp32_params.X" is ".linear_attn.X", one level of each holder,
// whatever X is. To native, A_log and dt_bias (a suffix, without regard to
// dots) of the last ".linear_attn." go into the holder, unless the name has one
// anywhere; not where `route` is false. No dtype is held.
NameRules GateHolderRules(const std::string& attention, bool route = true);

// Those of "linear_attn"; A_log and dt_bias are F32 in both layouts.
NameRules GatedDeltaNetRules(bool route = true);

// The four names of Qwen's MTP module that differ.
LayoutTable QwenMtpTable();

}  // namespace windlass

#endif  // WINDLASS_ADAPTERS_COMMON_GATED_DELTA_NET_H_
