/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a rule set says of one peer and one port: six look-ups at most, whatever the number of rules. */
#pragma once

#include "packet.h"

struct policy_question {
	struct polder_addr peer;
	__u32 ruleset;
	__u32 identity; /* of the peer */
	__be16 port_be; /* the destination's, translated */
	__u8 proto;
	__u8 pad;
	__u32 rule; /* answer: number of the deciding rule, 0: none */
};

static __always_inline const struct ruleset_cell *policy_cell(__u32 ruleset, __u32 peer_class,
							       __u32 port_class)
{
	struct ruleset_cell_key key = {
		.ruleset = ruleset,
		.peer_class = peer_class,
		.port_class = port_class,
	};

	return peer_class ? bpf_map_lookup_elem(&ruleset_cells, &key) : NULL;
}

static __always_inline __u32 policy_peer_class(const struct policy_question *q,
					       const struct ruleset_entry *set)
{
	struct ruleset_peer_key key = {.ruleset = q->ruleset, .identity = q->identity};
	const __u32 *class = bpf_map_lookup_elem(&ruleset_peers, &key);

	if (class)
		return *class;
	return q->identity >= IDENTITY_FIRST_POD ? set->default_pod_class : set->default_world_class;
}

static __always_inline __u32 policy_prefix_class(const struct policy_question *q,
						 const struct ruleset_entry *set)
{
	struct ruleset_prefix_key key = {.prefixlen = 32 + 128, .ruleset = q->ruleset, .addr = q->peer};
	const __u32 *class;

	if (!(set->flags & RULESET_HAS_PREFIXES))
		return 0;
	class = bpf_map_lookup_elem(&ruleset_prefixes, &key);
	return class ? *class : 0;
}

static __always_inline __u32 policy_port_class(const struct policy_question *q,
					       const struct ruleset_entry *set)
{
	struct ruleset_port_key key = {
		.prefixlen = 64, .ruleset = q->ruleset, .proto = q->proto, .port_be = q->port_be};
	const __u32 *class;

	if (!(set->flags & RULESET_HAS_PORTS))
		return 0;
	class = bpf_map_lookup_elem(&ruleset_ports, &key);
	return class ? *class : 0;
}

/* A global function: verified once, whoever calls it. 0: allowed; a reason: not. */
__noinline int policy_judge(struct policy_question *q)
{
	__u32 ruleset = q ? q->ruleset : 0; /* Linux 6.1 takes a key from the stack only */
	const struct ruleset_cell *by_identity, *by_prefix, *cell;
	const struct ruleset_entry *set;
	__u32 port_class;

	if (!q)
		return REASON_INTERNAL;
	q->rule = 0;
	if (q->ruleset == RULESET_OPEN)
		return 0;
	if (q->ruleset == RULESET_CLOSED)
		return REASON_NOT_READY;
	if (q->ruleset == RULESET_CAPACITY)
		return REASON_POLICY_CAPACITY;
	set = bpf_map_lookup_elem(&rulesets, &ruleset);
	if (!set)
		return REASON_INTERNAL;
	port_class = policy_port_class(q, set);
	by_identity = policy_cell(q->ruleset, policy_peer_class(q, set), port_class);
	by_prefix = policy_cell(q->ruleset, policy_prefix_class(q, set), port_class);
	cell = by_identity;
	if (by_prefix && (!cell || by_prefix->rank < cell->rank))
		cell = by_prefix;
	if (!cell)
		return REASON_POLICY_EGRESS;
	q->rule = cell->rule;
	return cell->allow ? 0 : REASON_POLICY_EGRESS;
}
