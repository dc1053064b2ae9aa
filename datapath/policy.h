/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a rule set says of one peer and one port: six look-ups at most, three of them in arrays,
 * whatever the number of rules. */
#pragma once

#include "packet.h"

struct policy_question {
	struct polder_addr peer;
	__u32 ruleset;	/* the pod's word: a slot; afterwards the set's number */
	__u32 identity; /* of the peer */
	__be16 port_be; /* the destination's, translated */
	__u8 proto;
	__u8 slot;	/* in force for this verdict */
	__u8 to_itself; /* the pod reaches itself through a Service: NetworkPolicies do not apply */
	__u8 pad[3];
	__u32 length; /* bytes of the packet, for counting */
	__u32 rule;   /* answer: number of the deciding rule, 0: none */
};

static __always_inline const struct ruleset_cell *policy_cell(const struct ruleset_entry *set,
							      __u32 peer_class, __u32 port_class)
{
	struct ruleset_cell_key key = {.peer_class = peer_class, .port_class = port_class};
	__u32 at;

	if (!peer_class)
		return NULL;
	if (!set->cell_count) {
		key.ruleset = set->number;
		return bpf_map_lookup_elem(&ruleset_cells, &key);
	}
	at = (peer_class - 1) * set->port_classes + port_class;
	if (port_class >= set->port_classes || at >= set->cell_count)
		return NULL;
	at += set->cell_first;
	return bpf_map_lookup_elem(&ruleset_tables, &at);
}

static __always_inline __u32 policy_peer_class(const struct policy_question *q,
					       const struct ruleset_entry *set)
{
	struct ruleset_peer_key key = {.ruleset = q->ruleset, .identity = q->identity};
	const struct ruleset_peer *peer = bpf_map_lookup_elem(&ruleset_peers, &key);

	if (peer)
		return peer->peer_class[q->slot & 1];
	return q->identity >= IDENTITY_FIRST_POD ? set->default_pod_class
						 : set->default_world_class;
}

static __always_inline __u32 policy_prefix_class(const struct policy_question *q,
						 const struct ruleset_entry *set)
{
	struct ruleset_prefix_key key = {
		.prefixlen = 32 + 128, .ruleset = q->ruleset, .addr = q->peer};
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

static __always_inline void policy_count(__u32 rule, __u32 packets, __u64 bytes)
{
	struct rule_counter *counter = bpf_map_lookup_elem(&rule_counters, &rule);

	if (!counter)
		return;
	counter->packets += packets;
	counter->bytes += bytes;
}

static __always_inline bool cell_decides(const struct ruleset_cell *cell, enum policy_step step)
{
	return cell && cell->verdict[step] != CELL_NONE;
}

/* Of two cells, the one whose rule comes first in this step; NULL: neither has one. */
static __always_inline const struct ruleset_cell *
policy_first(const struct ruleset_cell *a, const struct ruleset_cell *b, enum policy_step step)
{
	if (!cell_decides(a, step))
		return cell_decides(b, step) ? b : NULL;
	return cell_decides(b, step) && b->rank[step] < a->rank[step] ? b : a;
}

/* Admin tier, then NetworkPolicy or Baseline, then what holds by default. */
static __always_inline int policy_decide(struct policy_question *q, const struct ruleset_entry *set,
					 const struct ruleset_cell *by_identity,
					 const struct ruleset_cell *by_prefix)
{
	const struct ruleset_cell *cell = policy_first(by_identity, by_prefix, STEP_ADMIN);

	if (cell && cell->verdict[STEP_ADMIN] != CELL_PASS) {
		q->rule = cell->rule[STEP_ADMIN];
		return cell->verdict[STEP_ADMIN];
	}
	if (set->flags & RULESET_ISOLATES && q->to_itself)
		return CELL_ALLOW;
	cell = policy_first(by_identity, by_prefix, STEP_REST);
	if (cell) {
		q->rule = cell->rule[STEP_REST];
		return cell->verdict[STEP_REST];
	}
	return set->flags & RULESET_ISOLATES ? CELL_DENY : CELL_ALLOW;
}

/* A global function: verified once, whoever calls it. 0: allowed; a reason: not. */
__noinline int policy_verdict(struct policy_question *q)
{
	__u32 ruleset = q ? q->ruleset : 0; /* Linux 6.1 takes a key from the stack only */
	const struct ruleset_cell *by_identity = NULL, *by_prefix = NULL;
	__u32 peer_class, prefix_class, port_class;
	const struct ruleset_entry *set;
	int verdict;

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
	if (!set || !set->number)
		return REASON_INTERNAL;
	q->ruleset = set->number;
	peer_class = policy_peer_class(q, set);
	prefix_class = policy_prefix_class(q, set);
	if (peer_class | prefix_class) {
		port_class = policy_port_class(q, set);
		by_identity = policy_cell(set, peer_class, port_class);
		by_prefix = policy_cell(set, prefix_class, port_class);
	}
	verdict = policy_decide(q, set, by_identity, by_prefix);
	if (verdict == CELL_ALLOW)
		return 0; /* counted in the flow */
	if (PACKET_ENDS_REFUSED)
		policy_count(q->rule ? q->rule : RULE_DEFAULT | q->ruleset, 1, q->length);
	return REASON_POLICY_EGRESS;
}
