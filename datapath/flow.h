/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The flow table: an array of sets of eight entries. A tuple's hash names two sets and a first way, so an established packet
 * reads one or two cache lines. See struct flow_head for how readers and writers meet.
 *
 * Functions with a `family` argument are inlined with a constant: one source, two shapes.
 */
#pragma once

#include "flow_math.h"
#include "packet.h"

/* The set's first entry. `which` 0 or 1. */
static __always_inline void *flow_set(__u64 hash, __u8 which, __u8 family)
{
	__u32 index;

	if (family == FAMILY_V4) {
		index = flow_set_index(hash, which, config.flow4_sets);
		return bpf_map_lookup_elem(&flows4, &index);
	}
	index = flow_set_index(hash, which, config.flow6_sets);
	return bpf_map_lookup_elem(&flows6, &index);
}

static __always_inline void *flow_way(void *set, __u32 way, __u8 family)
{
	return set + (way & (FLOW_WAYS - 1)) * FLOW_SIZE(family);
}

static __always_inline struct flow_head *flow_head_of(void *flow, __u8 family)
{
	return flow + FLOW_WORDS(family) * sizeof(__u64);
}

static __always_inline bool flow_key_equal(const void *flow, const struct flow_tuple *t, __u8 family)
{
	const __u64 *key = flow;

	if (key[0] != t->words[0] || key[1] != t->words[1])
		return false;
	return family == FAMILY_V4 ||
	       (key[2] == t->words[2] && key[3] == t->words[3] && key[4] == t->words[4]);
}

/* A full barrier where loads may pass loads; nothing on x86. */
static __always_inline void load_barrier(struct flow_head *head)
{
	barrier();
	if (config.strong_order)
		__sync_fetch_and_add(&head->seq, 0);
}

/* Copies an entry if it is the tuple's and no writer is at it. */
static __always_inline bool flow_read(void *flow, const struct flow_tuple *t, __u8 family,
				      struct flow_copy *copy)
{
	struct flow_head *head = flow_head_of(flow, family);
	const __be32 *addrs = (void *)(head + 1);
	__u32 seq = READ_ONCE(head->seq);

	if (!flow_key_equal(flow, t, family))
		return false;
	load_barrier(head);
	copy->generation = head->generation;
	copy->out_ifindex = head->out_ifindex;
	copy->last = head->last;
	copy->mtu = head->mtu;
	copy->action = head->action;
	copy->state = head->state;
	copy->addr_diff = head->addr_diff;
	copy->port_diff = head->port_diff;
	copy->new_sport_be = head->new_sport_be;
	copy->new_dport_be = head->new_dport_be;
	if (family == FAMILY_V4) {
		copy->new_saddr_be[0] = addrs[0];
		copy->new_daddr_be[0] = addrs[1];
	} else {
		__builtin_memcpy(copy->new_saddr_be, addrs, 16);
		__builtin_memcpy(copy->new_daddr_be, addrs + 4, 16);
	}
	load_barrier(head);
	return !(seq & 1) && READ_ONCE(head->seq) == seq && copy->generation;
}

static __always_inline int flow_scan_sets(const struct flow_tuple *t, __u64 hash, __u8 family)
{
	void *set = flow_set(hash, 0, family);
	int i;

	if (!set)
		return -1;
	for (i = 0; i < 2 * FLOW_WAYS; i++) {
		if (i == FLOW_WAYS) {
			set = flow_set(hash, 1, family);
			if (!set)
				return -1;
		}
		if (flow_key_equal(flow_way(set, i, family), t, family))
			return i;
	}
	return -1;
}

/* The number of the way that holds the tuple, those of the second set from FLOW_WAYS; -1: none. Global: verified once. */
__noinline int flow_scan(struct flow_tuple *t, __u64 hash, __u8 family)
{
	if (!t)
		return -1;
	return family == FAMILY_V4 ? flow_scan_sets(t, hash, FAMILY_V4) : flow_scan_sets(t, hash, FAMILY_V6);
}

/*
 * The tuple's entry, or NULL. Each set's first way is tried before all the others: nearly every look-up ends there,
 * with one or two cache lines read.
 */
static __always_inline struct flow_head *flow_find(struct flow_tuple *t, __u64 hash, __u8 family,
						   struct flow_copy *copy)
{
	void *set = flow_set(hash, 0, family);
	void *flow;
	int i;

	if (!set)
		return NULL;
	flow = flow_way(set, flow_first_way(hash, 0), family);
	if (unlikely(!flow_key_equal(flow, t, family))) {
		set = flow_set(hash, 1, family);
		if (!set)
			return NULL;
		flow = flow_way(set, flow_first_way(hash, 1), family);
		if (!flow_key_equal(flow, t, family)) {
			i = flow_scan(t, hash, family);
			if (i < 0)
				return NULL;
			set = flow_set(hash, i >= FLOW_WAYS, family);
			if (!set)
				return NULL;
			flow = flow_way(set, i, family);
		}
	}
	return flow_read(flow, t, family, copy) ? flow_head_of(flow, family) : NULL;
}

/* Where a new entry may go. */
struct flow_place {
	struct flow_head *head;
	__u32 seq;
	__u32 way;    /* from FLOW_WAYS on: of the second set */
	bool same;    /* the tuple stands there already */
	bool evicts;  /* an unanswered flow has to go */
};

static __always_inline __u8 flow_proto(const void *flow)
{
	return ((const struct flow_tuple *)flow)->proto;
}

/* How good a way is as the place of a tuple: one of these from bit 40 up, then what decides among equals, then its number. */
enum flow_rank { RANK_NONE, RANK_UNANSWERED, RANK_FREE, RANK_FREE_SECOND, RANK_FREE_FIRST };

/* All bits set if `x` is 0, else none. */
static __always_inline __u64 mask_if_zero(__u64 x)
{
	x |= -x;
	opaque(x);
	return (x >> 63) - 1;
}

/* All bits set if a < b; both below 2^63. */
static __always_inline __u64 mask_if_less(__u64 a, __u64 b)
{
	__s64 difference = a - b;

	opaque(difference);
	return difference >> 63;
}

/*
 * The rank of the way numbered `i`, which does not hold the tuple. `free` counts the free ways of its set so far: so the last one of the
 * emptier set ranks highest. No branches: all ways are alike to the verifier, and to the CPU.
 */
static __always_inline __u64 flow_way_rank(const struct flow_head *head, __u64 hash, __u32 i, __u32 age, __u64 timeout,
					   __u64 *free)
{
	__u64 usable = mask_if_zero(READ_ONCE(head->seq) & 1);
	__u64 unanswered = mask_if_zero(head->state & FLOW_ESTABLISHED);
	__u64 is_free, class;

	is_free = mask_if_zero(head->generation) | mask_if_less(timeout, age);
	class = RANK_FREE + (mask_if_zero(i ^ flow_first_way(hash, 0)) & (RANK_FREE_FIRST - RANK_FREE)) +
		(mask_if_zero(i ^ (flow_first_way(hash, 1) + FLOW_WAYS)) & (RANK_FREE_SECOND - RANK_FREE));
	*free += is_free & usable & 1;
	return (((is_free & (class << 40 | *free << 8)) |
		 (~is_free & unanswered & ((__u64)RANK_UNANSWERED << 40 | (__u64)age << 8))) &
		usable) | i;
}

/*
 * Looks at all ways of both sets: the tuple's own entry, else a free one (the first ways before the others, the emptier
 * set before the fuller), else the longest unused flow that nobody answered. Established flows are never taken.
 * NULL head: no place.
 */
static __always_inline void flow_place_find(const struct flow_tuple *t, __u64 hash, __u8 family, __u32 now,
					    struct flow_place *place)
{
	void *set = flow_set(hash, 0, family);
	__u64 best = 0, best_seq = 0, free = 0, timeout, rank, better;
	struct flow_head *head;
	__u32 i, seq;
	void *flow;

	place->head = NULL;
	for (i = 0; i < 2 * FLOW_WAYS; i++) {
		if (i == FLOW_WAYS) {
			set = flow_set(hash, 1, family);
			free = 0;
		}
		if (!set)
			return;
		flow = flow_way(set, i, family);
		head = flow_head_of(flow, family);
		seq = READ_ONCE(head->seq);
		timeout = flow_timeout(flow_proto(flow), head->state);
		forget(timeout, hash);
		if (flow_key_equal(flow, t, family) && head->generation) {
			place->head = head;
			place->seq = seq;
			place->way = i;
			place->same = true;
			place->evicts = false;
			return;
		}
		rank = flow_way_rank(head, hash, i, flow_age(now, head->last), timeout, &free);
		better = mask_if_less(best, rank);
		best ^= (best ^ rank) & better;
		best_seq ^= (best_seq ^ seq) & better;
		forget(best, hash);
		forget(best_seq, hash);
		forget(free, hash);
	}
	if (!(best >> 40))
		return;
	set = flow_set(hash, best & FLOW_WAYS ? 1 : 0, family);
	if (!set)
		return;
	place->head = flow_head_of(flow_way(set, best, family), family);
	place->seq = best_seq;
	place->way = best & (2 * FLOW_WAYS - 1);
	place->same = false;
	place->evicts = best >> 40 == RANK_UNANSWERED;
}

/* Wins the place for this CPU; false: somebody else was quicker. */
static __always_inline bool flow_claim(struct flow_place *place)
{
	return !(place->seq & 1) &&
	       __sync_val_compare_and_swap(&place->head->seq, place->seq, place->seq + 1) == place->seq;
}

static __always_inline void flow_release(struct flow_head *head)
{
	__u32 seq = __sync_fetch_and_add(&head->seq, 1); /* with its result: a full barrier */

	opaque(seq);
}

/* Fills a claimed place. A tuple's own entry keeps its counters. `length` of the packet at hand, 0 if it goes the other way. */
static __always_inline void flow_fill(struct flow_place *place, const struct flow_tuple *t,
				      const struct flow_copy *content, __u8 family, __u32 now, __u32 length)
{
	struct flow_head *head = place->head;
	__u64 *key = (void *)head - FLOW_WORDS(family) * sizeof(__u64);
	__be32 *addrs = (void *)(head + 1);
	int i;

	for (i = 0; i < FLOW_WORDS(family); i++)
		key[i] = t->words[i];
	if (!place->same) {
		head->packets = 0;
		head->bytes = 0;
	}
	head->packets += length != 0;
	head->bytes += length;
	head->generation = content->generation;
	head->out_ifindex = content->out_ifindex;
	head->last = now;
	head->mtu = content->mtu;
	head->action = content->action;
	head->state = content->state;
	head->addr_diff = content->addr_diff;
	head->port_diff = content->port_diff;
	head->new_sport_be = content->new_sport_be;
	head->new_dport_be = content->new_dport_be;
	if (family == FAMILY_V4) {
		addrs[0] = content->new_saddr_be[0];
		addrs[1] = content->new_daddr_be[0];
	} else {
		__builtin_memcpy(addrs, content->new_saddr_be, 16);
		__builtin_memcpy(addrs + 4, content->new_daddr_be, 16);
	}
}

/* Where an entry was written or removed, and what it had seen until then. */
enum flow_was_kind { WAS_NOT_TOUCHED, WAS_THIS_FLOW, WAS_ANOTHER_FLOW };
struct flow_was {
	__u32 set;
	__u32 way;
	__u32 kind; /* enum flow_was_kind */
	__u32 packets;
	__u64 bytes;
};

static __always_inline void flow_remember(struct flow_was *was, const struct flow_place *place, __u64 hash, __u8 family)
{
	__u32 sets = family == FAMILY_V4 ? config.flow4_sets : config.flow6_sets;

	was->set = flow_set_index(hash, place->way >= FLOW_WAYS, sets);
	was->way = place->way & (FLOW_WAYS - 1);
	was->kind = place->same ? WAS_THIS_FLOW : WAS_ANOTHER_FLOW;
	was->packets = place->head->generation ? place->head->packets : 0;
	was->bytes = place->head->bytes;
}

enum flow_write_result { FLOW_WRITTEN, FLOW_BUSY, FLOW_FULL };

static __always_inline int flow_write(const struct flow_tuple *t, __u64 hash, const struct flow_copy *content,
				      __u8 family, __u32 now, __u32 length, struct flow_place *place,
				      struct flow_was *was)
{
	flow_place_find(t, hash, family, now, place);
	if (!place->head)
		return FLOW_FULL;
	if (!flow_claim(place))
		return FLOW_BUSY;
	flow_remember(was, place, hash, family);
	flow_fill(place, t, content, family, now, length);
	flow_release(place->head);
	return FLOW_WRITTEN;
}

/* Frees the tuple's entry if it has one. */
static __always_inline void flow_delete(struct flow_tuple *t, __u64 hash, __u8 family, struct flow_was *was)
{
	struct flow_place place = {.same = true};
	int way = flow_scan(t, hash, family);
	void *set, *flow;

	if (way < 0)
		return;
	set = flow_set(hash, way >= FLOW_WAYS, family);
	if (!set)
		return;
	flow = flow_way(set, way, family);
	place.head = flow_head_of(flow, family);
	place.way = way;
	place.seq = READ_ONCE(place.head->seq);
	barrier();
	if (!flow_key_equal(flow, t, family) || !place.head->generation || !flow_claim(&place))
		return;
	flow_remember(was, &place, hash, family);
	place.head->generation = 0;
	*(__u64 *)((void *)place.head - FLOW_WORDS(family) * sizeof(__u64)) = 0; /* look-ups go on behind it */
	flow_release(place.head);
}

/* Sets state bits in place, atomically: mtu, action and state share one aligned word. */
static __always_inline void flow_mark(struct flow_head *head, __u8 bits)
{
	__u32 *word = (__u32 *)&head->mtu;
	union {
		struct {
			__u16 mtu;
			__u8 action;
			__u8 state;
		};
		__u32 word;
	} mask = {.state = bits};

	__sync_fetch_and_or(word, mask.word);
}
