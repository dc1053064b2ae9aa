/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The rules that allowed a flow, beside its entries, and what is counted for them. */
#pragma once

#include "flow.h"
#include "policy.h"

static __always_inline struct flow_rules *flow_rules_at(__u32 set, __u32 way, __u8 family)
{
	struct flow_rules_set *rules;

	rules = family == FAMILY_V4 ? bpf_map_lookup_elem(&flow_rules4, &set)
				    : bpf_map_lookup_elem(&flow_rules6, &set);
	return rules ? &rules->way[way & (FLOW_WAYS - 1)] : NULL;
}

/* Do these rules stand beside the entry? */
static __always_inline bool flow_rules_same(__u32 set, __u32 way, __u32 egress, __u32 ingress,
					    __u8 family)
{
	const struct flow_rules *at = flow_rules_at(set, way, family);

	return at && at->egress_rule == egress && at->ingress_rule == ingress;
}

static __always_inline void flow_rules_write(__u32 set, __u32 way, __u32 egress, __u32 ingress,
					     __u8 family)
{
	struct flow_rules *at = flow_rules_at(set, way, family);

	if (!at)
		return;
	at->egress_rule = egress;
	at->ingress_rule = ingress;
}

/* What an entry has seen is counted for the rules beside it, once they are its rules no more. */
static __always_inline void flow_rules_retire(__u32 set, __u32 way, __u32 packets, __u64 bytes,
					      __u8 family)
{
	const struct flow_rules *at = flow_rules_at(set, way, family);

	if (!at || !packets)
		return;
	policy_count(at->egress_rule, packets, bytes);
	policy_count(at->ingress_rule, packets, bytes);
}
