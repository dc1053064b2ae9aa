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

/* The tuple's entry, or NULL. The first way is tried before the loops: nearly every look-up ends there. */
static __always_inline struct flow_head *flow_find(const struct flow_tuple *t, __u64 hash, __u8 family,
						   struct flow_copy *copy)
{
	void *set = flow_set(hash, 0, family);
	void *flow;
	__u32 i;

	if (!set)
		return NULL;
	flow = flow_way(set, flow_first_way(hash), family);
	if (flow_read(flow, t, family, copy))
		return flow_head_of(flow, family);
	for (i = 0; i < 2 * FLOW_WAYS; i++) {
		if (i == FLOW_WAYS) {
			set = flow_set(hash, 1, family);
			if (!set)
				return NULL;
		}
		flow = flow_way(set, i, family);
		if (flow_key_equal(flow, t, family))
			break;
	}
	return i < 2 * FLOW_WAYS && flow_read(flow, t, family, copy) ? flow_head_of(flow, family) : NULL;
}

/* Where a new entry may go. */
struct flow_place {
	struct flow_head *head;
	__u32 seq;
	bool same;    /* the tuple stands there already */
	bool evicts;  /* an unanswered flow has to go */
};

static __always_inline __u8 flow_proto(const void *flow)
{
	return ((const struct flow_tuple *)flow)->proto;
}

/*
 * Looks at all ways of both sets: the tuple's own entry, else a free one in the emptier set, else the
 * longest unused flow that nobody answered. Established flows are never taken. NULL head: no place.
 */
static __always_inline void flow_place_find(const struct flow_tuple *t, __u64 hash, __u8 family, __u32 now,
					    struct flow_place *place)
{
	void *set = flow_set(hash, 0, family);
	__u32 free_count = 0, best_free = 0, oldest = 0;
	__u32 first = flow_first_way(hash);
	__u32 i;

	place->head = NULL;
	place->same = false;
	place->evicts = false;
	if (!set)
		return;
	for (i = 0; i < 2 * FLOW_WAYS; i++) {
		struct flow_head *head;
		__u32 seq, age;
		void *flow;

		if (i == FLOW_WAYS) {
			set = flow_set(hash, 1, family);
			if (!set)
				return;
			free_count = 0;
		}
		/* Begins at the first way of the first set, so that the first look a reader takes succeeds. */
		flow = flow_way(set, first + i, family);
		head = flow_head_of(flow, family);
		seq = READ_ONCE(head->seq);
		if (flow_key_equal(flow, t, family) && head->generation) {
			place->head = head;
			place->seq = seq;
			place->same = true;
			place->evicts = false;
			return;
		}
		if (seq & 1)
			continue;
		age = now - head->last;
		if (!head->generation || age > flow_timeout(flow_proto(flow), head->state)) {
			free_count++;
			if (i < FLOW_WAYS ? free_count == 1 : free_count == best_free + 1) {
				place->head = head;
				place->seq = seq;
				place->evicts = false;
			}
			if (i < FLOW_WAYS)
				best_free = free_count;
		} else if (!best_free && !(i >= FLOW_WAYS && free_count) &&
			   !(head->state & FLOW_ESTABLISHED) && age >= oldest) {
			oldest = age;
			place->head = head;
			place->seq = seq;
			place->evicts = true;
		}
	}
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

/* Fills a claimed place. A tuple's own entry keeps its counters. */
static __always_inline void flow_fill(struct flow_place *place, const struct flow_tuple *t,
				      const struct flow_copy *content, __u8 family, __u32 now)
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

enum flow_write_result { FLOW_WRITTEN, FLOW_BUSY, FLOW_FULL };

static __always_inline int flow_write(const struct flow_tuple *t, __u64 hash, const struct flow_copy *content,
				      __u8 family, __u32 now, struct flow_place *place)
{
	flow_place_find(t, hash, family, now, place);
	if (!place->head)
		return FLOW_FULL;
	if (!flow_claim(place))
		return FLOW_BUSY;
	flow_fill(place, t, content, family, now);
	flow_release(place->head);
	return FLOW_WRITTEN;
}

/* Frees the tuple's entry if it has one. */
static __always_inline void flow_delete(const struct flow_tuple *t, __u64 hash, __u8 family)
{
	struct flow_copy copy;
	struct flow_place place = {.head = flow_find(t, hash, family, &copy)};

	if (!place.head)
		return;
	place.seq = READ_ONCE(place.head->seq);
	if (!flow_claim(&place))
		return;
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
