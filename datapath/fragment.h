/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Fragments: the first one's ports are remembered for the others, once it has passed. */
#pragma once

#include "event.h"
#include "flow_write.h"

/* Other CPUs' writes that a reader or a writer puts up with. */
#define FRAGMENT_TRIES 4

static __always_inline void fragment_key_of(const struct packet *p, struct fragment_key *key)
{
	__builtin_memset(key, 0, sizeof(*key));
	key->saddr = tuple_saddr(&p->tuple, p->family);
	key->daddr = tuple_daddr(&p->tuple, p->family);
	key->id_be = p->fragment_id_be;
	key->proto = p->family == FAMILY_V4 ? p->tuple.proto : 0;
	key->zone = p->tuple.zone;
	key->peer = p->tuple.peer;
}

static __always_inline struct fragment_set *fragment_set_of(const struct fragment_key *key,
							    const struct control *control)
{
	__u64 h = control->hash_seed[0];
	__u32 index, i;

	for (i = 0; i < 5; i++) {
		h = (h ^ key->words[i]) * 0x9e3779b97f4a7c15ULL;
		h ^= h >> 32;
		h ^= control->hash_seed[1];
	}
	h *= 0xff51afd7ed558ccdULL;
	index = (__u32)(h >> 32) & (config.fragment_sets - 1);
	return bpf_map_lookup_elem(&fragments, &index);
}

static __always_inline bool fragment_key_equal(const struct fragment_entry *e,
					       const struct fragment_key *key)
{
	__u64 difference = (e->key.words[0] ^ key->words[0]) | (e->key.words[1] ^ key->words[1]) |
			   (e->key.words[2] ^ key->words[2]) | (e->key.words[3] ^ key->words[3]) |
			   (e->key.words[4] ^ key->words[4]);

	opaque(difference); /* one branch for the verifier */
	return !difference && e->owner;
}

/*
 * 1: copied; 0: not this datagram's; -1: a writer is at it. Global functions, here and below, are
 * verified once and not for each way of the set.
 */
__noinline int fragment_read(struct fragment_entry *e, struct fragment_key *key, __u32 now,
			     struct packet *p)
{
	__be16 sport_be, dport_be;
	__u32 seq, ticks;
	__u8 proto;

	if (!e || !key || !p)
		return 0;
	seq = READ_ONCE(e->seq);
	load_barrier();
	if (!fragment_key_equal(e, key))
		return 0;
	ticks = e->ticks;
	sport_be = e->sport_be;
	dport_be = e->dport_be;
	proto = e->proto;
	load_barrier();
	if (seq & 1 || READ_ONCE(e->seq) != seq)
		return -1;
	if (flow_age(now, ticks) > FRAGMENT_TIMEOUT)
		return 0;
	p->tuple.sport_be = sport_be;
	p->tuple.dport_be = dport_be;
	p->tuple.proto = proto;
	return 1;
}

/* Completes a later fragment's tuple. 0 or -reason. */
__noinline int fragment_complete(struct packet *p)
{
	const struct control *control = control_get();
	struct fragment_set *set;
	struct fragment_key key;
	__u32 now = now_ticks(), i, try;
	int found;

	if (!p || !control)
		return -REASON_INTERNAL;
	fragment_key_of(p, &key);
	set = fragment_set_of(&key, control);
	if (!set)
		return -REASON_INTERNAL;
	for (try = 0; try < FRAGMENT_TRIES; try++) {
		bool busy = false;

		for (i = 0; i < FRAGMENT_WAYS; i++) {
			found = fragment_read(&set->way[i], &key, now, p);
			if (found > 0)
				return 0;
			busy |= found < 0;
		}
		if (!busy)
			break;
	}
	return -REASON_FRAGMENT_ORPHAN;
}

/* Who a first fragment is held for. */
static __always_inline __u16 fragment_owner(struct __sk_buff *skb, const struct packet *p)
{
	__u32 link = skb->ifindex,
	      slot = FRAGMENT_OWNER_NODE; /* of the hook; p->link is where it came in */
	const struct address_entry *to;
	struct polder_addr daddr;

	opaque(link); /* the context is read at fixed offsets only */
	if (p->hook == DROP_TO_WIRE || p->hook == DROP_TO_TUNNEL)
		return FRAGMENT_OWNER(p->tuple.zone, slot);
	if (p->hook != DROP_FROM_WIRE && p->hook != DROP_FROM_TUNNEL)
		return FRAGMENT_OWNER(p->tuple.zone, pod_index(link));
	daddr = tuple_daddr(&p->tuple, p->family);
	to = address_find(&daddr);
	if (to && (to->flags & (ADDRESS_POD | ADDRESS_LOCAL)) == (ADDRESS_POD | ADDRESS_LOCAL))
		slot = pod_index(to->ifindex);
	return FRAGMENT_OWNER(p->tuple.zone, slot);
}

static __always_inline bool fragment_is_free(const struct fragment_entry *e, __u32 now)
{
	return !e->owner || flow_age(now, e->ticks) > FRAGMENT_TIMEOUT;
}

#define FRAGMENT_RANK_SAME (2ULL << 56)
#define FRAGMENT_RANK_FREE (1ULL << 56)

/*
 * How good the way numbered `i` is as the place; 0: not at all. Behind the datagram's own and the
 * free ones it is the oldest of who has most in the set, so a flood finds its own entries; an owner
 * that has one alone keeps it from all but itself.
 */
__noinline __u64 fragment_rank(struct fragment_set *set, struct fragment_key *key, __u32 i,
			       __u32 owner, __u32 now)
{
	struct fragment_entry *e;
	__u64 count = 0, age;
	__u32 j;

	if (!set || !key)
		return 0;
	e = &set->way[i & (FRAGMENT_WAYS - 1)];
	age = flow_age(now, e->ticks);
	if (READ_ONCE(e->seq) & 1)
		return 0;
	if (fragment_key_equal(e, key))
		return FRAGMENT_RANK_SAME | i;
	if (fragment_is_free(e, now))
		return FRAGMENT_RANK_FREE | i;
	for (j = 0; j < FRAGMENT_WAYS; j++)
		count += mask_if_zero(set->way[j].owner ^ e->owner) & 1;
	if (e->owner == owner)
		return (2 * count + 1) << 48 | age << 8 | i;
	return count > 1 ? 2 * count << 48 | age << 8 | i : 0;
}

/* The number of the way for a new entry; -1: none. */
static __always_inline int fragment_place(struct fragment_set *set, struct fragment_key *key,
					  __u32 owner, __u32 now)
{
	__u64 best = 0, unknown = now, rank;
	__u32 i;

	for (i = 0; i < FRAGMENT_WAYS; i++) {
		rank = fragment_rank(set, key, i, owner, now);
		forget(rank, unknown);
		best ^= (best ^ rank) & mask_if_less(best, rank);
		forget(best, unknown);
	}
	return best ? (int)(best & (FRAGMENT_WAYS - 1)) : -1;
}

static __always_inline void fragment_fill(struct fragment_entry *e, const struct fragment_key *key,
					  const struct packet *p, __u16 owner, __u32 now)
{
	if (!fragment_is_free(e, now) && !fragment_key_equal(e, key))
		count_up(COUNTER_FRAGMENTS_EVICTED);
	e->key = *key;
	e->sport_be = p->tuple.sport_be;
	e->dport_be = p->tuple.dport_be;
	e->proto = p->tuple.proto;
	e->owner = owner;
	e->ticks = now;
}

/* 0: remembered; 1: another CPU was quicker; or -reason. */
__noinline int fragment_try(struct __sk_buff *skb, struct packet *p)
{
	const struct control *control = control_get();
	struct fragment_entry *e;
	struct fragment_set *set;
	struct fragment_key key;
	__u32 now = now_ticks(), seq;
	__u16 owner;
	int way;

	if (!p || !control)
		return -REASON_INTERNAL;
	owner = fragment_owner(skb, p);
	fragment_key_of(p, &key);
	set = fragment_set_of(&key, control);
	if (!set)
		return -REASON_INTERNAL;
	way = fragment_place(set, &key, owner, now);
	if (way < 0)
		return -REASON_FRAGMENT_TABLE;
	e = &set->way[way & (FRAGMENT_WAYS - 1)];
	seq = READ_ONCE(e->seq);
	if (seq & 1 || __sync_val_compare_and_swap(&e->seq, seq, seq + 1) != seq)
		return 1;
	fragment_fill(e, &key, p, owner, now);
	seq = __sync_fetch_and_add(&e->seq, 1); /* with its result: a full barrier */
	opaque(seq);
	count_up(COUNTER_FRAGMENTS_TRACKED);
	return 0;
}

/* Remembers a first fragment. 0 or -reason. */
__noinline int fragment_remember(struct __sk_buff *skb, struct packet *p)
{
	int i, result = 1;

	for (i = 0; i < FRAGMENT_TRIES && result > 0; i++)
		result = fragment_try(skb, p);
	return result > 0 ? -REASON_FRAGMENT_TABLE : result;
}

/* Behind the verdict: `result` is what became of the packet. */
static __always_inline int fragment_follow(struct __sk_buff *skb, struct packet *p, int result)
{
	int remembered;

	if (likely(!(p->flags & PACKET_FIRST_FRAGMENT)) || result < 0)
		return result;
	remembered = fragment_remember(skb, p);
	return remembered ? remembered : result;
}
