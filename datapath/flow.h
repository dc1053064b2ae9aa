/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The flow table: an array of sets of eight entries. A tuple's hash names two sets and a first way,
 * so an established packet reads one or two cache lines; the sets' tags say which. See struct
 * flow_head for how readers and writers meet.
 *
 * Functions with a `family` argument are inlined with a constant: one source, two shapes.
 */
#pragma once

#include "flow_math.h"
#include "packet.h"

/* The first entry of the set numbered `index`. */
static __always_inline void *flow_set(__u32 index, __u8 family)
{
	return family == FAMILY_V4 ? bpf_map_lookup_elem(&flows4, &index)
				   : bpf_map_lookup_elem(&flows6, &index);
}

/* The tags of the set numbered `index`: a byte for each way. */
static __always_inline __u64 *flow_tags(__u32 index, __u8 family)
{
	return family == FAMILY_V4 ? bpf_map_lookup_elem(&flow_tags4, &index)
				   : bpf_map_lookup_elem(&flow_tags6, &index);
}

static __always_inline __u32 flow_sets(__u8 family)
{
	return family == FAMILY_V4 ? config.flow4_sets : config.flow6_sets;
}

static __always_inline void *flow_way(void *set, __u32 way, __u8 family)
{
	return set + (way & (FLOW_WAYS - 1)) * FLOW_SIZE(family);
}

static __always_inline struct flow_head *flow_head_of(void *flow, __u8 family)
{
	return flow + FLOW_WORDS(family) * sizeof(__u64);
}

static __always_inline __u64 *flow_key_of(struct flow_head *head, __u8 family)
{
	return (void *)head - FLOW_WORDS(family) * sizeof(__u64);
}

static __always_inline bool flow_key_equal(const void *flow, const struct flow_tuple *t,
					   __u8 family)
{
	const __u64 *key = flow;

	if (key[0] != t->words[0] || key[1] != t->words[1])
		return false;
	return family == FAMILY_V4 ||
	       (key[2] == t->words[2] && key[3] == t->words[3] && key[4] == t->words[4]);
}

static __always_inline bool tuple_equal(const struct flow_tuple *a, const struct flow_tuple *b,
					__u8 family)
{
	return flow_key_equal(a, b, family);
}

/* What was written before is seen by whoever sees what is written after, on every CPU: a full
 * barrier. */
static __always_inline void full_barrier(void)
{
	__u64 word = 0, before;

	before = __sync_fetch_and_add(&word, 1); /* with its result: ordered on all sides */
	opaque(before);
	barrier();
}

/* Loads before it are done before those behind it. x86 does so by itself; the compiler has to be
 * told. */
static __always_inline void load_barrier(void)
{
	barrier();
	if (config.weak_order)
		full_barrier();
}

/* Bytes from an entry's state word to one of its fields. */
#define BEHIND_STATE(type, field) (offsetof(struct type, field) - offsetof(struct type, state))
_Static_assert(BEHIND_STATE(flow_copy, hop) == BEHIND_STATE(flow_head, hop) &&
		       BEHIND_STATE(flow_copy, new_dport_be) ==
			       BEHIND_STATE(flow_head, new_dport_be) &&
		       offsetof(struct flow_head, state_word) % 8 == 0,
	       "a copy's words are those of an entry");

/* A copy of a copy; of IPv4 addresses one word each. */
static __always_inline void flow_copy_to(struct flow_copy *to, const struct flow_copy *from,
					 __u8 family)
{
	__builtin_memcpy(to, from, offsetof(struct flow_copy, new_saddr_be));
	to->new_saddr_be[0] = from->new_saddr_be[0];
	to->new_daddr_be[0] = from->new_daddr_be[0];
	if (family == FAMILY_V4)
		return;
	__builtin_memcpy(to->new_saddr_be + 1, from->new_saddr_be + 1, 12);
	__builtin_memcpy(to->new_daddr_be + 1, from->new_daddr_be + 1, 12);
}

enum flow_outcome {
	FLOW_ABSENT = 0,
	FLOW_FOUND = 1,
	FLOW_BUSY = 2,
	FLOW_PLAIN = 3 /* of flow_of() */
};

/*
 * Copies an entry if it is the tuple's. Its seq is read before its key, and again behind the
 * content: nothing in between is another flow's. FLOW_BUSY: a writer is at it, or was meanwhile.
 */
static __always_inline int flow_read(void *flow, const struct flow_tuple *t, __u8 family,
				     struct flow_copy *copy)
{
	struct flow_head *head = flow_head_of(flow, family);
	const __u64 *way = (const void *)&head->state_word;
	const void *addrs = head + 1;
	__u64 stamp = READ_ONCE(head->stamp);

	load_barrier();
	if (!flow_key_equal(flow, t, family))
		return FLOW_ABSENT;
	copy->stamp = stamp;
	copy->last = head->last;
	copy->way_words[0] = way[0];
	copy->way_words[1] = way[1];
	if (family == FAMILY_V4) {
		copy->new_saddr_be[0] = ((const __be32 *)addrs)[0];
		copy->new_daddr_be[0] = ((const __be32 *)addrs)[1];
	} else {
		copy->addr_words[0] = ((const __u64 *)addrs)[0];
		copy->addr_words[1] = ((const __u64 *)addrs)[1];
		copy->addr_words[2] = ((const __u64 *)addrs)[2];
		copy->addr_words[3] = ((const __u64 *)addrs)[3];
	}
	load_barrier();
	if (unlikely(stamp & 1 || READ_ONCE(head->seq) != (__u32)stamp))
		return FLOW_BUSY;
	return stamp >> 32 ? FLOW_FOUND : FLOW_ABSENT;
}

/* The tuple's entry in the set: its tag names the ways that it may stand in. */
static __always_inline int flow_search_set(const struct flow_tuple *t, __u64 hash, __u8 which,
					   __u8 family, struct flow_copy *copy)
{
	__u32 index = flow_set_index(hash, which, flow_sets(family)), way, i;
	__u64 *tags = flow_tags(index, family), found;
	void *set = flow_set(index, family);
	int outcome;

	if (!tags || !set)
		return FLOW_ABSENT;
	found = flow_tags_equal(READ_ONCE(*tags), flow_tag(hash));
	for (i = 0; i < FLOW_WAYS && found; i++) {
		way = flow_tags_first(found);
		outcome = flow_read(flow_way(set, way, family), t, family, copy);
		if (outcome != FLOW_ABSENT) {
			copy->set = index;
			copy->way = way;
			return outcome;
		}
		found &= found - 1;
	}
	return FLOW_ABSENT;
}

static __always_inline int flow_search_in(const struct flow_tuple *t, __u64 hash, __u8 family,
					  struct flow_copy *copy)
{
	int outcome = flow_search_set(t, hash, 0, family, copy);

	if (outcome != FLOW_ABSENT)
		return outcome;
	load_barrier(); /* what has left set 0 stands in set 1: flow_displace.h */
	return flow_search_set(t, hash, 1, family, copy);
}

/*
 * Global functions, here and below, are verified once and not for each way that leads to them; they
 * also keep the stack of the deepest call low.
 *
 * Searches both sets. enum flow_outcome.
 */
__noinline int flow_search(struct flow_tuple *t, __u64 hash, struct flow_copy *copy, __u8 family)
{
	if (!t || !copy)
		return FLOW_ABSENT;
	return family == FAMILY_V4 ? flow_search_in(t, hash, FAMILY_V4, copy)
				   : flow_search_in(t, hash, FAMILY_V6, copy);
}

#define FLOW_BUSY_TRIES 64
#define FLOW_BUSY_WAITS 16

/* Searches until the writer that was met is done. FLOW_BUSY: in vain. */
__noinline int flow_wait(struct flow_tuple *t, __u64 hash, struct flow_copy *copy, __u8 family)
{
	int outcome = FLOW_BUSY, i;

	if (!t || !copy)
		return FLOW_ABSENT;
	for (i = 0; i < FLOW_BUSY_TRIES && outcome == FLOW_BUSY; i++)
		outcome = flow_search(t, hash, copy, family);
	return outcome;
}

/*
 * The same, and a writer that is met is waited for: it needs some ten ns, who searches for a source
 * port about a microsecond, each try some ten ns. Who holds an entry for 1,024 of them is not
 * running. FLOW_BUSY: in vain.
 */
static __always_inline int flow_lookup(struct flow_tuple *t, __u64 hash, struct flow_copy *copy,
				       __u8 family)
{
	int outcome = flow_search(t, hash, copy, family), i;

	for (i = 0; i < FLOW_BUSY_WAITS && unlikely(outcome == FLOW_BUSY); i++)
		outcome = flow_wait(t, hash, copy, family);
	return outcome;
}

static __always_inline __u64 tuple_hash(const struct flow_tuple *t, __u8 family,
					const struct control *control)
{
	return family == FAMILY_V4 ? flow_hash(t, FAMILY_V4, control)
				   : flow_hash(t, FAMILY_V6, control);
}

/*
 * The tuple's entry. The first way of set 0 is tried before all others: nearly every look-up ends
 * there, with one line read beside the tags; then `ret_head` is the entry's head, else NULL. A line
 * that the tags say is another's is not waited for.
 */
static __always_inline int flow_find(struct flow_tuple *t, __u64 hash, __u8 family,
				     struct flow_copy *copy, struct flow_head **ret_head)
{
	__u32 index = flow_set_index(hash, 0, flow_sets(family)), way = flow_first_way(hash, 0);
	const __u8 *tags = family == FAMILY_V4 ? bpf_map_lookup_elem(&flow_tags4, &index)
					       : bpf_map_lookup_elem(&flow_tags6, &index);
	void *flow, *set = family == FAMILY_V4 ? bpf_map_lookup_elem(&flows4, &index)
					       : bpf_map_lookup_elem(&flows6, &index);

	*ret_head = NULL;
	if (likely(set && tags) &&
	    likely(READ_ONCE(tags[way & (FLOW_WAYS - 1)]) == flow_tag(hash))) {
		flow = flow_way(set, way, family);
		if (likely(flow_read(flow, t, family, copy) == FLOW_FOUND)) {
			copy->set = index;
			copy->way = way;
			*ret_head = flow_head_of(flow, family);
			return FLOW_FOUND;
		}
	}
	return flow_lookup(t, hash, copy, family);
}

/* The head of an entry by its place; NULL: no such set. */
static __always_inline struct flow_head *flow_head_at(__u32 set, __u32 way, __u8 family)
{
	void *base = flow_set(set, family);

	return base ? flow_head_of(flow_way(base, way, family), family) : NULL;
}

/* The same where the family is no constant. */
static __always_inline struct flow_head *flow_head_anywhere(__u32 set, __u32 way, __u8 family)
{
	return family == FAMILY_V4 ? flow_head_at(set, way, FAMILY_V4)
				   : flow_head_at(set, way, FAMILY_V6);
}

/* Changes state bits in place, atomically. */
static __always_inline void flow_mark(struct flow_head *head, __u32 set, __u32 clear)
{
	if (set)
		__sync_fetch_and_or(&head->state_word, set);
	if (clear)
		__sync_fetch_and_and(&head->state_word, ~clear);
}

/* Room that the stack has not: of flow_other_side() and of next_hop_follow(). */
struct flow_scratch {
	struct flow_tuple reply_tuple;
	struct bpf_fib_lookup fib;
};
MAP(flow_scratches, BPF_MAP_TYPE_PERCPU_ARRAY, __u32, struct flow_scratch, 1, 0);

static __always_inline struct flow_scratch *flow_scratch_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&flow_scratches, &zero);
}

/* The other direction's entry, if it is this flow's own. enum flow_outcome. */
__noinline int flow_other_side(struct flow_tuple *t, struct flow_copy *copy,
			       struct flow_copy *other, __u8 family)
{
	const struct control *control = control_get();
	struct flow_scratch *scratch = flow_scratch_get();
	int outcome = FLOW_BUSY, i;
	__u64 hash;

	if (!t || !copy || !other || !control || !scratch)
		return FLOW_ABSENT;
	if (family == FAMILY_V4)
		flow_reply_tuple(t, copy, FAMILY_V4, &scratch->reply_tuple);
	else
		flow_reply_tuple(t, copy, FAMILY_V6, &scratch->reply_tuple);
	hash = tuple_hash(&scratch->reply_tuple, family, control);
	/* Not by flow_wait(): one call more is more than the stack of Linux 6.1 has room for. */
	for (i = 0; i < FLOW_BUSY_TRIES && outcome == FLOW_BUSY; i++)
		outcome = flow_search(&scratch->reply_tuple, hash, other, family);
	if (outcome != FLOW_FOUND)
		return outcome;
	if (family == FAMILY_V4)
		flow_reply_tuple(&scratch->reply_tuple, other, FAMILY_V4, &scratch->reply_tuple);
	else
		flow_reply_tuple(&scratch->reply_tuple, other, FAMILY_V6, &scratch->reply_tuple);
	return tuple_equal(&scratch->reply_tuple, t, family) ? FLOW_FOUND : FLOW_ABSENT;
}
