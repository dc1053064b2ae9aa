/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* One entry of the flow table: claimed and released, its tag, whom it counts for, and how it is
 * freed. */
#pragma once

#include "flow_rules.h"

/*
 * All bits set if `x` is 0, else none; below 2^63. No branch: all ways are alike to the verifier,
 * and to the CPU.
 */
static __always_inline __u64 mask_if_zero(__u64 x)
{
	__s64 below = x - 1;

	opaque(below);
	return below >> 63;
}

/* All bits set if a < b; both below 2^63. */
static __always_inline __u64 mask_if_less(__u64 a, __u64 b)
{
	__s64 difference = a - b;

	opaque(difference);
	return difference >> 63;
}

static __always_inline bool flow_claim(struct flow_head *head, __u32 seq)
{
	return !(seq & 1) && __sync_val_compare_and_swap(&head->seq, seq, seq + 1) == seq;
}

/* What was written under the claim is seen by whoever sees the even seq: x86 keeps stores in order.
 */
static __always_inline void flow_release(struct flow_head *head)
{
	load_barrier(); /* where it is one, it is a full one */
	WRITE_ONCE(head->seq, head->seq + 1);
}

static __always_inline __u8 flow_proto(const void *flow)
{
	return ((const struct flow_tuple *)flow)->proto;
}

static __always_inline void flow_tag_write(__u32 set, __u32 way, __u8 tag, __u8 family)
{
	__u8 *tags = (__u8 *)flow_tags(set, family);

	if (tags)
		WRITE_ONCE(tags[way & (FLOW_WAYS - 1)], tag);
}

/* ------------------------------------------------------------------ whom entries count for */

static __always_inline struct flow_usage *flow_usage_of(__u32 place)
{
	return bpf_map_lookup_elem(&flow_usage, &place);
}

/* With its result: a full barrier, too. */
static __always_inline void flow_usage_add(__u32 place, __s32 entries, __u8 family)
{
	struct flow_usage *usage = flow_usage_of(place);
	__u32 before;

	if (!usage)
		return;
	before = __sync_fetch_and_add(&usage->entries[family == FAMILY_V6], entries);
	opaque(before);
}

/* Each CPU tells of so many entries at once: the word for all is written by all. */
#define FLOW_USAGE_BATCH 64
struct flow_usage_delta {
	__s32 entries[2];
};
MAP(flow_usage_deltas, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, struct flow_usage_delta, 1, 0);

/* An entry of the owner came or went. */
static __always_inline void flow_usage_count(__u32 owner, __s32 entries, __u8 family)
{
	__u32 zero = 0, which = family == FAMILY_V6;
	struct flow_usage_delta *delta = bpf_map_lookup_elem(&flow_usage_deltas, &zero);
	__s32 sum;

	flow_usage_add(owner, entries, family);
	if (!delta)
		return;
	sum = delta->entries[which] + entries;
	if (sum >= FLOW_USAGE_BATCH || sum <= -FLOW_USAGE_BATCH) {
		flow_usage_add(config.pods_mask + 1, sum, family);
		sum = 0;
	}
	delta->entries[which] = sum;
}

/* Is the table nearly full, and does the pod hold more than its share? Then it gets only the place
 * of one of its own, or of what is over. The agent subtracts at once what CPUs tell of later: the
 * count of all may be below 0 for a while. */
static __always_inline bool flow_over_share(const struct control *control, __u32 owner, __u8 family)
{
	__u32 which = family == FAMILY_V6, share = control->flow_share[which];
	const struct flow_usage *all = flow_usage_of(config.pods_mask + 1), *own;

	if (!share || !all ||
	    (__s32)all->entries[which] < (__s32)(flow_sets(family) * (FLOW_WAYS - FLOW_WAYS / 4)))
		return false;
	own = flow_usage_of(owner);
	return !own || own->entries[which] >= share;
}

/* The pod found no place because it holds more than its share. */
static __always_inline void flow_note_greedy(__u32 owner, __u8 family)
{
	struct flow_usage *all = flow_usage_of(config.pods_mask + 1);

	if (all)
		WRITE_ONCE(all->greedy[family == FAMILY_V6], owner + 1);
}

/* 1 + the pod whose entries give way to others' because it holds more than its share; 0: nobody
 * does. */
__noinline int flow_greedy(__u8 family)
{
	const struct flow_usage *all = flow_usage_of(config.pods_mask + 1);
	const struct control *control = control_get();
	__u32 greedy;

	if (!all || !control)
		return 0;
	greedy = READ_ONCE(all->greedy[family == FAMILY_V6]);
	return greedy && flow_over_share(control, greedy - 1, family) ? greedy : 0;
}

/* ------------------------------------------------------------------ freeing */

/* Under a claim: the place is free again once it is released. */
static __always_inline void flow_clear(struct flow_head *head, __u32 set, __u32 way, __u8 family)
{
	head->generation = 0;
	flow_key_of(head, family)[0] = 0;
	flow_tag_write(set, way, FLOW_TAG_FREE, family);
	flow_release(head);
}

/* What stood in a claimed place is over: its packets go to its rules. */
static __always_inline void flow_retire(const struct flow_head *head, __u32 set, __u32 way,
					__u8 family)
{
	if (head->state & FLOW_RULED)
		flow_rules_retire(set, way, head->packets, head->bytes, family);
}

/* False: it is not what was seen any more. */
static __always_inline bool flow_free(const struct flow_copy *copy, __u8 family)
{
	struct flow_head *head = flow_head_at(copy->set, copy->way, family);

	if (!head || !flow_claim(head, copy->seq))
		return false;
	flow_retire(head, copy->set, copy->way, family);
	flow_usage_count(head->owner, -1, family);
	flow_clear(head, copy->set, copy->way, family);
	return true;
}

/*
 * Frees the entry that `copy` is of, then the other direction's. Who finds the first one changed
 * was not the first to end the flow: what stands in the other place may be a new one's.
 */
__noinline int flow_end(struct flow_tuple *t, struct flow_copy *copy, struct flow_copy *other,
			__u8 family)
{
	bool found;

	if (!t || !copy || !other)
		return 0;
	found = flow_other_side(t, copy, other, family) == FLOW_FOUND;
	if (family == FAMILY_V4) {
		if (flow_free(copy, FAMILY_V4) && found)
			flow_free(other, FAMILY_V4);
	} else {
		if (flow_free(copy, FAMILY_V6) && found)
			flow_free(other, FAMILY_V6);
	}
	return 0;
}

/*
 * Has the flow been idle for `ticks`, in both directions? `other` is room for a copy. A direction
 * that was not used for long is alive as long as the other one is.
 */
__noinline int flow_idle(struct flow_tuple *t, struct flow_copy *copy, struct flow_copy *other,
			 __u32 ticks, __u8 family)
{
	__u32 now = now_ticks();
	int outcome;

	if (!t || !copy || !other || flow_age(now, copy->last) <= ticks)
		return 0;
	outcome = flow_other_side(t, copy, other, family);
	if (outcome == FLOW_BUSY)
		return 0;
	return outcome == FLOW_ABSENT || flow_age(now, other->last) > ticks;
}
