/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Both entries of a flow, from what was judged: their contents, and how they get into the table as
 * one. */
#pragma once

#include "judge.h"

/* What the functions that write a pair return beside 0 and -reason: the table has changed
 * meanwhile, look the flow up again. */
#define PAIR_AGAIN 1

static __always_inline void copy_set_addrs(struct flow_copy *c, const struct polder_addr *src,
					   const struct polder_addr *dst, __u8 family)
{
	if (family == FAMILY_V4) {
		c->new_saddr_be[0] = src->words_be[3];
		c->new_daddr_be[0] = dst->words_be[3];
	} else {
		__builtin_memcpy(c->new_saddr_be, src, 16);
		__builtin_memcpy(c->new_daddr_be, dst, 16);
	}
}

/* Where the replies go. What came through the node's stack goes back through it: the stack may have
 * translated it. */
static __always_inline int pair_way_back(struct work *w, const struct packet *p,
					 const struct flow_copy *flow)
{
	struct flow_copy *back = &w->rev.content;

	back->hop = 0;
	if (w->fwd.tuple.zone == ZONE_POD) {
		back->action = FLOW_TO_POD;
		back->hop = pod_place(w->source_link);
		return 0;
	}
	if (w->fwd.tuple.zone == ZONE_HOST) {
		back->action = FLOW_TO_HOST;
		return 0;
	}
	if (w->flags & WORK_REPLY) {
		back->action = flow->action;
		back->hop = flow->hop;
		return 0;
	}
	if (p->direction == DROP_TO_POD) {
		back->action = FLOW_TO_STACK;
		return 0;
	}
	return judge_wire(back, p->link);
}

/* rev's tuple and both entries' translations, from fwd and what its source and destination become.
 */
static __always_inline void pair_translate(struct work *w, const struct control *control,
					   __u8 family)
{
	struct flow_copy *out = &w->fwd.content, *back = &w->rev.content;
	const struct flow_tuple *fwd = &w->fwd.tuple;
	struct port_pair ports = ports_reversed(fwd->proto, fwd->sport_be, fwd->dport_be);
	__u16 state = out->state & ~FLOW_TRANSLATED;

	out->new_sport_be = w->new_sport_be;
	out->new_dport_be = w->new_dport_be;
	copy_set_addrs(out, &w->new_src, &w->new_dst, family);
	flow_twin(fwd, out, family, &w->rev.tuple);
	w->rev.hash = flow_hash(&w->rev.tuple, family, control);
	/* A reply leaves with fwd's own addresses and ports, changed about. */
	back->new_sport_be = ports.sport_be;
	back->new_dport_be = ports.dport_be;
	copy_set_addrs(back, &w->dst, &w->src, family);
	if (w->new_sport_be != fwd->sport_be || w->new_dport_be != fwd->dport_be ||
	    !addr_equal(&w->new_src, &w->src) || !addr_equal(&w->new_dst, &w->dst))
		state |= FLOW_TRANSLATED;
	out->state = state;
	back->state = state | FLOW_REPLY;
}

/*
 * Begins to read the lines that a new entry will most likely need, for both directions at once:
 * each by itself would be waited for. The entry that it is written to; the rules beside it; in a
 * full set the way by which flow_occupy_first() tells a flood.
 */
static __always_inline void pair_expect(const struct flow_side *side, __u8 family)
{
	__u32 index = flow_set_index(side->hash, 0, flow_sets(family)),
	      way = flow_first_way(side->hash, 0), seq;
	const struct flow_head *head = flow_head_at(index, way, family);
	const __u64 *tags = flow_tags(index, family);
	const struct flow_rules *rules;

	if (!head || !tags)
		return;
	seq = READ_ONCE(head->seq);
	opaque(seq);
	if (side->content.state & FLOW_RULED) {
		rules = flow_rules_at(index, way, family);
		seq = rules ? READ_ONCE(rules->egress_rule) : 0;
		opaque(seq);
	}
	if (flow_tags_free(READ_ONCE(*tags)))
		return;
	head = flow_head_at(index, way ^ 1, family);
	if (!head)
		return;
	seq = READ_ONCE(head->seq);
	opaque(seq);
}

static __always_inline void pair_contents_in(struct work *w, const struct control *control,
					     __u8 family)
{
	pair_translate(w, control, family);
	/* Of a port that is only tried, most likely in vain, the line is not worth reading. */
	if (w->old.generation || w->flags & (WORK_MASQUERADE | WORK_HAIRPIN))
		return;
	pair_expect(&w->fwd, family);
	pair_expect(&w->rev, family);
}

__noinline int pair_contents(__u8 family)
{
	const struct control *control = control_get();
	struct work *w = work_get();

	if (!w || !control)
		return 0;
	if (family == FAMILY_V4)
		pair_contents_in(w, control, FAMILY_V4);
	else
		pair_contents_in(w, control, FAMILY_V6);
	return 0;
}

/* All of the contents but the checksums' differences. 0 or -reason. */
static __always_inline int pair_prepare(struct work *w, const struct judgement *j,
					const struct packet *p, const struct flow_copy *flow)
{
	__u16 state = w->old.generation ? w->old.state & FLOW_SEEN_BITS : 0;
	__u16 owner = w->fwd.content.action == FLOW_TO_POD ? w->fwd.content.hop : 0;
	int result = pair_way_back(w, p, flow);

	if (w->source_link)
		owner = pod_place(w->source_link);
	if (w->flags & WORK_SERVICE)
		state |= FLOW_SERVICE;
	if (j->egress_rule || j->ingress_rule)
		state |= FLOW_RULED;
	if (w->old.generation)
		w->new_sport_be = w->old.new_sport_be;
	w->fwd.content.state = state;
	w->fwd.content.generation = w->rev.content.generation = w->generation;
	w->fwd.content.owner = w->rev.content.owner = owner;
	return result;
}

enum reply_tuple { REPLY_FREE, REPLY_OURS, REPLY_TAKEN, REPLY_BUSY };

/* Has a flow whose reply tuple is wanted ended? `linger`: what is closed, or was answered once,
 * ends sooner. */
static __always_inline __u32 reply_timeout(const struct flow_tuple *t, __u16 state, bool linger)
{
	if (linger && (flow_closed(state) || flow_one_shot(t->proto, state)))
		return FLOW_TIMEOUT_LEAST;
	return flow_timeout(t->proto, state);
}

/*
 * Whose is the replies' tuple? A port is free only when no side of the flow that had it can still
 * speak; that flow's entries go then, both of them. Fills rev.seen if it is ours.
 */
__noinline int pair_reply_tuple(struct work *w, __u32 linger, __u8 family)
{
	int outcome;

	if (!w)
		return REPLY_BUSY;
	outcome = flow_lookup(&w->rev.tuple, w->rev.hash, &w->rev.seen, family);
	if (outcome == FLOW_FOUND) {
		if (family == FAMILY_V4)
			flow_twin(&w->rev.tuple, &w->rev.seen, FAMILY_V4, &w->twin);
		else
			flow_twin(&w->rev.tuple, &w->rev.seen, FAMILY_V6, &w->twin);
		if (tuple_equal(&w->twin, &w->fwd.tuple, family))
			return REPLY_OURS;
		if (flow_idle(&w->rev.tuple, &w->rev.seen, &w->other,
			      reply_timeout(&w->rev.tuple, w->rev.seen.state, linger), family)) {
			flow_end(&w->rev.tuple, &w->rev.seen, &w->other, family);
			outcome = FLOW_ABSENT;
		}
	}
	w->rev.seen.generation = 0;
	return outcome == FLOW_ABSENT  ? REPLY_FREE
	       : outcome == FLOW_FOUND ? REPLY_TAKEN
				       : REPLY_BUSY;
}

/* The way to the wire that the kernel has said stays as long as it is by the same uplink. */
static __always_inline void pair_keep_hop(struct flow_side *side)
{
	const struct next_hop *new, *old;

	if (!side->seen.generation || side->content.action != FLOW_TO_WIRE ||
	    side->seen.action != FLOW_TO_WIRE)
		return;
	new = next_hop_at(side->content.hop);
	old = next_hop_at(side->seen.hop);
	if (new &&old &&new->ifindex == old->ifindex)
		side->content.hop = side->seen.hop;
}

static __always_inline bool side_same(const struct flow_side *side, __u8 family)
{
	const struct flow_copy *new = &side->content, *old = &side->seen;

	if (!old->generation || new->action != old->action || new->hop != old->hop ||
	    new->owner != old->owner || new->new_sport_be != old->new_sport_be ||
	    new->new_dport_be != old->new_dport_be ||
	    (new->state ^ old->state) & (FLOW_TRANSLATED | FLOW_SERVICE | FLOW_RULED) ||
	    new->new_saddr_be[0] != old->new_saddr_be[0] ||
	    new->new_daddr_be[0] != old->new_daddr_be[0])
		return false;
	return family == FAMILY_V4 || (new->new_saddr_be[1] == old->new_saddr_be[1] &&
				       new->new_saddr_be[2] == old->new_saddr_be[2] &&
				       new->new_saddr_be[3] == old->new_saddr_be[3] &&
				       new->new_daddr_be[1] == old->new_daddr_be[1] &&
				       new->new_daddr_be[2] == old->new_daddr_be[2] &&
				       new->new_daddr_be[3] == old->new_daddr_be[3]);
}

/* Does the judgement say what both entries say already? */
static __always_inline bool pair_same(const struct work *w, const struct judgement *j, __u8 family)
{
	if (!side_same(&w->fwd, family) || !side_same(&w->rev, family))
		return false;
	if (!(w->fwd.content.state & FLOW_RULED))
		return true;
	if (family == FAMILY_V4)
		return flow_rules_same(w->fwd.seen.set, w->fwd.seen.way, j->egress_rule,
				       j->ingress_rule, FAMILY_V4);
	return flow_rules_same(w->fwd.seen.set, w->fwd.seen.way, j->egress_rule, j->ingress_rule,
			       FAMILY_V6);
}

static __always_inline int take_failed(int result, bool own)
{
	if (result != TAKE_FULL)
		return PAIR_AGAIN;
	return own ? -REASON_FLOW_SHARE : -REASON_FLOW_TABLE_FULL;
}
