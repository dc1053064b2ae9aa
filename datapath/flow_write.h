/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Places in the flow table: taken by one CPU, filled, released; and which flow gives way when there
 * is none.
 *
 * A new entry's key and tag are written as soon as its place is held. Whoever then sees another
 * entry of the same tuple gives its own back and looks the flow up again: two CPUs with one flow
 * end with one entry.
 */
#pragma once

#include "flow_displace.h"

/* A place that this CPU holds, and what stood there. */
enum flow_place_kind { PLACE_NONE, PLACE_FREE, PLACE_SAME, PLACE_OTHER };
struct flow_place {
	__u32 set;
	__u32 way;
	__u32 kind; /* enum flow_place_kind */
	__u32 seq;  /* before it was taken */
};

/* One direction of the flow at hand. */
struct flow_side {
	struct flow_tuple tuple;
	struct flow_copy content; /* what is to stand in the table */
	struct flow_copy seen;	  /* what stands there; generation 0: nothing */
	__u64 hash;
	struct flow_place place;
	struct flow_tuple victim; /* of an entry that may have to go */
};

enum flow_take_result { TAKE_OK, TAKE_AGAIN, TAKE_FULL, TAKE_DOUBLED };

/* How good a way is for being evicted: one of these, then its age. */
enum flow_rank {
	RANK_NONE,
	RANK_OVER,	   /* only if its other side is idle too */
	RANK_OTHERS,	   /* closed or answered once, of others than who may have its own alone */
	RANK_ANSWERED,	   /* a moment ago: a handshake, or what may become a stream */
	RANK_GREEDY,	   /* a live flow of a pod that holds more than its share */
	RANK_WAITING,	   /* asked a moment ago: the answer is on its way */
	RANK_ONE_SHOT = 6, /* answered once, longer ago */
	RANK_CLOSED,
	RANK_UNANSWERED = 10, /* for longer than a moment */
};
/* flow_rank() makes one of another, and asks for two at once. */
_Static_assert(RANK_UNANSWERED == 2 * RANK_WAITING && RANK_ONE_SHOT == 2 * RANK_ANSWERED,
	       "a rank less its half");
_Static_assert(RANK_ONE_SHOT >> 1 == RANK_CLOSED >> 1, "alike but for the lowest bit");
_Static_assert(RANK_ONE_SHOT >> 1 != RANK_WAITING >> 1 && RANK_CLOSED >> 1 != RANK_UNANSWERED >> 1,
	       "and no other is");

/* From so many ticks on nobody waits for an answer, or for what comes after it. */
#define FLOW_WAITING_TICKS 2

/* ------------------------------------------------------------------ taking */

/* Claims a way and makes it the tuple's: from here on whoever looks for the tuple waits for this
 * CPU. */
static __always_inline bool flow_occupy(struct flow_side *side, __u32 set, __u32 way, __u32 seq,
					__u8 kind, __u8 family)
{
	struct flow_head *head = flow_head_at(set, way, family);
	__u64 *key;
	int i;

	if (!head || !flow_claim(head, seq))
		return false;
	side->place.set = set;
	side->place.way = way;
	side->place.kind = kind;
	side->place.seq = seq;
	if (kind == PLACE_OTHER) {
		flow_retire(head, set, way, family);
		if (head->owner != side->content.owner)
			flow_usage_count(head->owner, -1, family);
		count_up(COUNTER_FLOWS_EVICTED);
	}
	head->generation = 0;
	key = flow_key_of(head, family);
	for (i = 0; i < FLOW_WORDS(family); i++)
		WRITE_ONCE(key[i], side->tuple.words[i]);
	flow_tag_write(set, way, flow_tag(side->hash), family);
	/* Other CPUs see the tuple before this one looks for doubles of it. */
	if (kind == PLACE_FREE || head->owner != side->content.owner)
		flow_usage_count(side->content.owner, 1, family);
	else
		full_barrier();
	return true;
}

/*
 * With fewer free ways than this in set 0 its first way is not taken before others: the fuller the
 * table, the more the sets have to be alike.
 */
#define FLOW_FREE_WAYS_ENOUGH 4

/* A way that is free, or was a moment ago. */
static __always_inline int flow_occupy_empty(struct flow_side *side, __u32 index, __u32 way,
					     __u8 family)
{
	const struct flow_head *head = flow_head_at(index, way, family);
	__u64 stamp;

	if (!head)
		return TAKE_FULL;
	stamp = READ_ONCE(head->stamp);
	return !(stamp >> 32) && flow_occupy(side, index, way, stamp, PLACE_FREE, family)
		       ? TAKE_OK
		       : TAKE_AGAIN;
}

/* A free way: the first one of set 0, where a look-up begins; else one of the emptier set, its
 * first way before the others. */
static __always_inline int flow_occupy_free(struct flow_side *side, __u8 family)
{
	__u32 sets = flow_sets(family), index = flow_set_index(side->hash, 0, sets);
	__u32 other_index = flow_set_index(side->hash, 1, sets),
	      way = flow_first_way(side->hash, 0);
	const __u64 *tags = flow_tags(index, family), *other_tags = flow_tags(other_index, family);
	__u64 free, other_free;

	if (!tags || !other_tags)
		return TAKE_FULL;
	free = flow_tags_free(READ_ONCE(*tags));
	other_free = flow_tags_free(READ_ONCE(*other_tags));
	if ((!(free >> (way * 8 + 7) & 1) || flow_tags_count(free) < FLOW_FREE_WAYS_ENOUGH) &&
	    flow_tags_count(other_free) > flow_tags_count(free)) {
		free = other_free;
		index = other_index;
		way = flow_first_way(side->hash, 1);
	}
	if (!free)
		return TAKE_FULL;
	if (!(free >> (way * 8 + 7) & 1))
		way = flow_tags_first(free);
	return flow_occupy_empty(side, index, way, family);
}

/*
 * The rank of a way, and its age: what nobody answered for a while goes first, then what is closed,
 * then what was answered once, then what was asked just now, then a greedy owner's, then what was
 * answered just now: a flood meets itself before it meets a handshake. `only`, `greedy`: 1 + the
 * owner who may have others' ways only if they are over and none of its own may go, and the one who
 * holds too much; 0: no such.
 */
static __always_inline __u64 flow_rank(const void *flow, const struct flow_head *head, __u32 now,
				       __u32 only, __u32 greedy, __u64 anybody)
{
	__u32 age = flow_age(now, head->last), state = head->state,
	      timeout = flow_timeout(flow_proto(flow), state);
	__u64 fin = FLOW_FIN_ORIG | FLOW_FIN_REPLY, rank, usable, mine, over, waiting, odd;

	opaque(timeout);
	waiting = mask_if_less(age, FLOW_WAITING_TICKS);
	rank = mask_if_zero(state & FLOW_REPLIED) & (RANK_UNANSWERED - (waiting & RANK_WAITING));
	rank |= mask_if_zero(rank) &
		(mask_if_zero((state & fin) ^ fin) | ~mask_if_zero(state & FLOW_RESET)) &
		RANK_CLOSED;
	rank |= mask_if_zero(rank) & mask_if_zero(state & FLOW_ESTABLISHED) &
		(RANK_ONE_SHOT - (waiting & RANK_ANSWERED));
	rank |= mask_if_zero(rank) & mask_if_zero((head->owner + 1) ^ greedy) & RANK_GREEDY;
	rank |= mask_if_zero(rank) & mask_if_less(timeout, age) & RANK_OVER;
	odd = READ_ONCE(head->seq) & 1;
	opaque(odd);
	usable = (odd - 1) & ~mask_if_zero(head->generation);
	mine = mask_if_zero((head->owner + 1) ^ only) | anybody;
	over = mask_if_zero((rank >> 1) ^ (RANK_ONE_SHOT >> 1));
	rank = (rank & mine) | (RANK_OTHERS & over & ~mine);
	return (rank << 40 | (__u64)age << 8) & usable;
}

static __always_inline __u32 flow_victim_of(const struct flow_side *side, __u32 now, __u32 only,
					    __u32 greedy, __u8 family)
{
	__u32 sets = flow_sets(family), i;
	void *set = flow_set(flow_set_index(side->hash, 0, sets), family), *flow;
	__u64 best = 0, rank, anybody = mask_if_zero(only);

	for (i = 0; i < 2 * FLOW_WAYS; i++) {
		if (i == FLOW_WAYS)
			set = flow_set(flow_set_index(side->hash, 1, sets), family);
		if (!set)
			return 0;
		flow = flow_way(set, i, family);
		rank = flow_rank(flow, flow_head_of(flow, family), now, only, greedy, anybody) | i;
		best ^= (best ^ rank) & mask_if_less(best, rank);
		forget(best, side->hash);
	}
	return (best >> 40) << 8 | (best & 0xff);
}

/*
 * The way that is missed least, of both sets; `only` and `greedy` as of flow_rank(). 0: none; else
 * its rank from bit 8 up and its number, from FLOW_WAYS on of the second set.
 */
__noinline int flow_victim(struct flow_side *side, __u32 only, __u32 greedy, __u8 family)
{
	__u32 now = now_ticks();

	if (!side)
		return 0;
	return family == FAMILY_V4 ? flow_victim_of(side, now, only, greedy, FAMILY_V4)
				   : flow_victim_of(side, now, only, greedy, FAMILY_V6);
}

/* One direction was idle for its time: is the other one too? */
static __always_inline bool flow_over_at(void *flow, struct flow_side *side, __u8 family)
{
	struct flow_tuple *t = &side->victim;
	__u32 timeout;
	int i;

	for (i = 0; i < FLOW_WORDS(family); i++)
		t->words[i] = ((const __u64 *)flow)[i];
	if (flow_read(flow, t, family, &side->seen) != FLOW_FOUND)
		return false;
	timeout = flow_timeout(t->proto, side->seen.state);
	i = flow_other_side(t, &side->seen, &side->seen, family);
	side->seen.generation = 0;
	return i == FLOW_ABSENT ||
	       (i == FLOW_FOUND && flow_age(now_ticks(), side->seen.last) > timeout);
}

/*
 * In a flood both sets are full of what nobody answered: the first way is as good a victim as any
 * other, and at hand already. It is a flood if the way beside it looks the same; one question alone
 * may be waiting for its answer.
 */
static __always_inline int flow_occupy_first(struct flow_side *side, bool own, __u8 family)
{
	__u32 index = flow_set_index(side->hash, 0, flow_sets(family)),
	      way = flow_first_way(side->hash, 0);
	const struct flow_head *head = flow_head_at(index, way, family);
	const struct flow_head *beside = flow_head_at(index, way ^ 1, family);
	__u64 stamp;

	if (!head || !beside)
		return TAKE_FULL;
	stamp = READ_ONCE(head->stamp);
	load_barrier();
	if (stamp & 1 || !(stamp >> 32) || (head->state | beside->state) & FLOW_REPLIED ||
	    (own && head->owner != side->content.owner))
		return TAKE_FULL;
	return flow_occupy(side, index, way, stamp, PLACE_OTHER, family) ? TAKE_OK : TAKE_AGAIN;
}

/* A way of both sets whose entry could move elsewhere, as flow_victim() numbers them; -1: none
 * could. */
static __always_inline int flow_displaced(const struct flow_side *side, __u8 family)
{
	__u32 sets = flow_sets(family), first = flow_set_index(side->hash, 0, sets),
	      second = flow_set_index(side->hash, 1, sets);
	__u32 i;

	for (i = 0; i < 2 * FLOW_WAYS; i++)
		if (flow_displace(i < FLOW_WAYS ? first : second, i & (FLOW_WAYS - 1), family))
			return i;
	return -1;
}

/* What stands there is missed too much: another one makes room by standing elsewhere. */
static __always_inline int flow_occupy_displaced(struct flow_side *side, __u8 family)
{
	int way = flow_displaced(side, family);

	if (way < 0)
		return TAKE_FULL;
	return flow_occupy_empty(side,
				 flow_set_index(side->hash, way >= FLOW_WAYS, flow_sets(family)),
				 way & (FLOW_WAYS - 1), family);
}

/* Is it missed more than when it was ranked: written anew, or established since? */
static __always_inline bool flow_victim_changed(const struct flow_head *head, __u32 rank)
{
	return rank != RANK_OVER && rank != RANK_GREEDY && head->state & FLOW_ESTABLISHED &&
	       !flow_closed(head->state);
}

static __always_inline int flow_occupy_victim(struct flow_side *side, bool own, __u8 family)
{
	__u32 only = own ? side->content.owner + 1 : 0, greedy = own ? 0 : flow_greedy(family),
	      best, rank, way, index;
	struct flow_head *head;
	__u64 stamp;
	int result;

	best = flow_victim(side, only, greedy, family);
	rank = best >> 8;
	if (!own && rank <= RANK_GREEDY) {
		result = flow_occupy_displaced(side, family);
		if (result != TAKE_FULL)
			return result;
	}
	if (!rank) {
		if (own)
			flow_note_greedy(side->content.owner, family);
		return TAKE_FULL;
	}
	way = best & (2 * FLOW_WAYS - 1);
	index = flow_set_index(side->hash, way >= FLOW_WAYS, flow_sets(family));
	way &= FLOW_WAYS - 1;
	head = flow_head_at(index, way, family);
	if (!head)
		return TAKE_FULL;
	stamp = READ_ONCE(head->stamp);
	load_barrier();
	if (rank == RANK_OVER && !flow_over_at(flow_key_of(head, family), side, family))
		return TAKE_FULL;
	if (!(stamp >> 32) || flow_victim_changed(head, rank))
		return TAKE_AGAIN;
	return flow_occupy(side, index, way, stamp, PLACE_OTHER, family) ? TAKE_OK : TAKE_AGAIN;
}

static __always_inline int flow_doubled_in(const struct flow_side *side, __u32 index, __u64 found,
					   __u8 family)
{
	void *set = flow_set(index, family);
	__u32 i;

	for (i = 0; i < FLOW_WAYS && found && set; i++) {
		if (flow_key_equal(flow_way(set, flow_tags_first(found), family), &side->tuple,
				   family))
			return 1;
		found &= found - 1;
	}
	return 0;
}

/* Does the tuple stand among these ways of a set? */
__noinline int flow_doubled_among(struct flow_side *side, __u32 index, __u64 found, __u8 family)
{
	if (!side)
		return 0;
	return family == FAMILY_V4 ? flow_doubled_in(side, index, found, FAMILY_V4)
				   : flow_doubled_in(side, index, found, FAMILY_V6);
}

/* The ways of a set, but for the one that is held, whose tag is the tuple's. */
static __always_inline __u64 flow_others_in(const struct flow_side *side, __u32 index, __u8 family)
{
	const __u64 *tags = flow_tags(index, family);
	__u64 found = tags ? flow_tags_equal(READ_ONCE(*tags), flow_tag(side->hash)) : 0;

	if (index == side->place.set)
		found &= ~(0x80ULL << (side->place.way & (FLOW_WAYS - 1)) * 8);
	return found;
}

/* Does the tuple stand in another place than the one that is held, be it half written? */
static __always_inline bool flow_doubled(struct flow_side *side, __u8 family)
{
	__u32 index = flow_set_index(side->hash, 0, flow_sets(family)),
	      other = flow_set_index(side->hash, 1, flow_sets(family));
	__u64 found = flow_others_in(side, index, family),
	      found_other = flow_others_in(side, other, family);

	return (unlikely(found) && flow_doubled_among(side, index, found, family)) ||
	       (unlikely(found_other) && flow_doubled_among(side, other, found_other, family));
}

static __always_inline void flow_give_back(struct flow_side *side, __u8 family)
{
	struct flow_head *head = flow_head_at(side->place.set, side->place.way, family);

	if (head) {
		flow_usage_count(side->content.owner, -1, family);
		flow_clear(head, side->place.set, side->place.way, family);
	}
	side->place.kind = PLACE_NONE;
}

static __always_inline int flow_reserve(struct flow_side *side, bool own, __u8 family)
{
	int result = own ? TAKE_FULL : flow_occupy_free(side, family);

	if (result == TAKE_FULL)
		result = flow_occupy_first(side, own, family);
	if (result == TAKE_FULL)
		result = flow_occupy_victim(side, own, family);
	if (result != TAKE_OK || likely(!flow_doubled(side, family)))
		return result;
	flow_give_back(side, family);
	count_up(COUNTER_FLOWS_DOUBLED);
	return TAKE_DOUBLED;
}

/*
 * The side's own entry, as it was seen, or a place for a tuple that stands nowhere; with `own` only
 * in the place of an entry of the same owner. enum flow_take_result.
 */
__noinline int flow_take(struct flow_side *side, __u32 own, __u8 family)
{
	const struct control *control = control_get();
	struct flow_head *head;

	if (!side || !control)
		return TAKE_FULL;
	side->place.kind = PLACE_NONE;
	if (unlikely(control->moving & MOVING_HOLD))
		return TAKE_AGAIN;
	if (side->seen.generation) {
		head = flow_head_anywhere(side->seen.set, side->seen.way, family);
		if (!head || !flow_claim(head, side->seen.seq))
			return TAKE_AGAIN;
		side->place.set = side->seen.set;
		side->place.way = side->seen.way;
		side->place.kind = PLACE_SAME;
		side->place.seq = side->seen.seq;
		return TAKE_OK;
	}
	return family == FAMILY_V4 ? flow_reserve(side, own, FAMILY_V4)
				   : flow_reserve(side, own, FAMILY_V6);
}

/* Leaves a place that was taken: what was there before stays, what is new goes. */
static __always_inline void flow_leave_in(struct flow_side *side, __u8 family)
{
	struct flow_head *head;

	if (side->place.kind != PLACE_SAME) {
		flow_give_back(side, family);
		return;
	}
	head = flow_head_at(side->place.set, side->place.way, family);
	if (head)
		flow_release(head);
	side->place.kind = PLACE_NONE;
}

__noinline int flow_leave(struct flow_side *side, __u8 family)
{
	if (!side || side->place.kind == PLACE_NONE)
		return 0;
	if (family == FAMILY_V4)
		flow_leave_in(side, FAMILY_V4);
	else
		flow_leave_in(side, FAMILY_V6);
	return 0;
}

/* ------------------------------------------------------------------ filling */

/* Bits that packets set, and that an evaluation keeps. */
#define FLOW_SEEN_BITS                                                                             \
	(FLOW_REPLIED | FLOW_ESTABLISHED | FLOW_FIN_ORIG | FLOW_FIN_REPLY | FLOW_RESET | FLOW_AGAIN)

/* A tuple's own entry keeps its counters, unless other rules allow it now: then they go to those of
 * before. */
static __always_inline void flow_fill_counters(struct flow_head *head, const struct flow_side *side,
					       __u32 egress, __u32 ingress, __u8 family)
{
	__u32 set = side->place.set, way = side->place.way;
	bool same = side->place.kind == PLACE_SAME, ruled = side->content.state & FLOW_RULED;

	if (same && head->state & FLOW_RULED) {
		if (flow_rules_same(set, way, egress, ingress, family))
			return;
		flow_retire(head, set, way, family);
	}
	if (!same || head->state & FLOW_RULED || ruled) {
		head->packets = 0;
		head->bytes = 0;
	}
	if (ruled)
		flow_rules_write(set, way, egress, ingress, family);
}

/* Checksum differences of an entry: what the packet's sums grow by when `content` is applied to
 * `t`. */
static __always_inline void content_diffs(const struct flow_tuple *t, struct flow_copy *content,
					  __u8 family)
{
	__u64 addrs = 0, ports = 0;
	int i;

	if (family == FAMILY_V4) {
		addrs = csum_change32(t->v4.saddr_be, content->new_saddr_be[0]) +
			csum_change32(t->v4.daddr_be, content->new_daddr_be[0]);
	} else {
		for (i = 0; i < 4; i++)
			addrs += csum_change32(t->v6.saddr_be[i], content->new_saddr_be[i]) +
				 csum_change32(t->v6.daddr_be[i], content->new_daddr_be[i]);
	}
	ports = csum_change16(t->sport_be, content->new_sport_be) +
		csum_change16(t->dport_be, content->new_dport_be);
	content->addr_diff = csum_fold16(addrs);
	content->port_diff = csum_fold16(ports);
}

static __always_inline void flow_fill_in(struct flow_side *side, __u32 egress, __u32 ingress,
					 __u8 family)
{
	struct flow_head *head = flow_head_at(side->place.set, side->place.way, family);
	const struct flow_copy *content = &side->content;
	__u32 state = content->state;
	__be32 *addrs;

	if (!head)
		return;
	addrs = (void *)(head + 1);
	content_diffs(&side->tuple, &side->content, family);
	flow_fill_counters(head, side, egress, ingress, family);
	if (side->place.kind == PLACE_SAME) {
		state |= head->state & FLOW_SEEN_BITS;
		if (head->owner != content->owner) {
			flow_usage_count(head->owner, -1, family);
			flow_usage_count(content->owner, 1, family);
		}
	}
	head->last = now_ticks();
	head->state = state;
	head->action = content->action;
	head->hop = content->hop;
	head->owner = content->owner;
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
	head->generation = content->generation;
	flow_release(head);
}

/* Fills the place that was taken and lets it go. The rules are those that allow the flow now. */
__noinline int flow_fill(struct flow_side *side, __u32 egress, __u32 ingress, __u8 family)
{
	if (!side || side->place.kind == PLACE_NONE)
		return 0;
	if (family == FAMILY_V4)
		flow_fill_in(side, egress, ingress, FAMILY_V4);
	else
		flow_fill_in(side, egress, ingress, FAMILY_V6);
	return 0;
}

/* ------------------------------------------------------------------ the same outcome */

/* Says of an entry that it holds for this generation too. False: somebody has written it meanwhile.
 */
static __always_inline bool flow_restamp(const struct flow_copy *seen, __u32 generation,
					 __u8 family)
{
	struct flow_head *head = flow_head_anywhere(seen->set, seen->way, family);
	__u64 old = (__u64)seen->generation << 32 | seen->seq,
	      new = (__u64)generation << 32 | seen->seq;
	__u64 found;

	if (!head)
		return false;
	found = __sync_val_compare_and_swap(&head->stamp, old, new);
	return found == old || found == new;
}
