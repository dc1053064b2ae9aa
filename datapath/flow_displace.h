/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Room in two sets that are full of live flows: an entry that stands in its first set moves to its
 * second one, if that has room.
 *
 * Only this way about: a look-up reads a tuple's first set, then its second one, so it meets the
 * entry in one of them. Both places are held meanwhile. Never the other way, where it could read
 * the first set before the entry comes and the second one after it left.
 */
#pragma once

#include "flow_entry.h"

/* All of the entry but its stamp, and the rules beside it. Both places are held. */
static __always_inline void flow_move(void *to, const void *from, __u8 family)
{
	__u64 *new = to;
	const __u64 *old = from;
	__u32 i;

	for (i = 0; i < FLOW_SIZE(family) / sizeof(*new); i++)
		if (i != FLOW_WORDS(family))
			new[i] = old[i];
}

static __always_inline void flow_move_rules(const struct flow_head *head, __u32 set, __u32 way,
					    __u32 new_set, __u32 new_way, __u8 family)
{
	const struct flow_rules *rules;

	if (!(head->state & FLOW_RULED))
		return;
	rules = flow_rules_at(set, way, family);
	if (rules)
		flow_rules_write(new_set, new_way, rules->egress_rule, rules->ingress_rule, family);
}

/* Claims a free way of the set. NULL: it has none. */
static __always_inline struct flow_head *flow_claim_free(__u32 set, __u32 *ret_way, __u8 family)
{
	const __u64 *tags = flow_tags(set, family);
	__u64 free = tags ? flow_tags_free(READ_ONCE(*tags)) : 0;
	struct flow_head *head;
	__u64 stamp;

	if (!free)
		return NULL;
	*ret_way = flow_tags_first(free);
	head = flow_head_at(set, *ret_way, family);
	if (!head)
		return NULL;
	stamp = READ_ONCE(head->stamp);
	return !(stamp >> 32) && flow_claim(head, stamp) ? head : NULL;
}

/*
 * Who walks the table meanwhile may miss the entry, and with it that the flow has to be evaluated
 * anew: so it is. The place of before is free then.
 */
static __always_inline int flow_displace_in(const struct control *control, __u32 set, __u32 way,
					    __u8 family)
{
	struct flow_head *head = flow_head_at(set, way, family), *to;
	__u32 seq, new_set, new_way;
	__u64 hash;

	if (!head)
		return 0;
	seq = READ_ONCE(head->seq);
	load_barrier();
	hash = flow_hash((const struct flow_tuple *)flow_key_of(head, family), family, control);
	new_set = flow_set_index(hash, 1, flow_sets(family));
	if (!head->generation || flow_set_index(hash, 0, flow_sets(family)) != set ||
	    new_set == set)
		return 0;
	to = flow_claim_free(new_set, &new_way, family);
	if (!to)
		return 0;
	if (!flow_claim(head, seq)) {
		flow_release(to);
		return 0;
	}
	flow_move(flow_key_of(to, family), flow_key_of(head, family), family);
	flow_move_rules(head, set, way, new_set, new_way, family);
	flow_tag_write(new_set, new_way, flow_tag(hash), family);
	to->generation = FLOW_GENERATION_DOUBTED;
	flow_release(to);
	flow_clear(head, set, way, family);
	count_up(COUNTER_FLOWS_DISPLACED);
	return 1;
}

/* 1: the way of the set is free, what stood there has moved; 0: it cannot move. */
__noinline int flow_displace(__u32 set, __u32 way, __u8 family)
{
	const struct control *control = control_get();

	if (!control)
		return 0;
	return family == FAMILY_V4 ? flow_displace_in(control, set, way, FAMILY_V4)
				   : flow_displace_in(control, set, way, FAMILY_V6);
}
