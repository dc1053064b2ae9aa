/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Both entries of a flow, from what was evaluated: their contents, and how they get into the table
 * as one. */
#pragma once

#include "slow_path.h"

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

/* The way to who opened the flow, by the node's routes. 0 or -reason. */
static __always_inline int pair_routed_hop(struct slow_path *path, struct flow_copy *back)
{
	const struct egress_route *route = egress_route_find(path, &path->src);

	if (!route || !route->ifindex)
		return -REASON_NO_ROUTE;
	back->action = FLOW_TO_WIRE;
	back->hop = route->hop;
	return 0;
}

/* Replies that left for a peer, natively: is it reached so still, and is it there? Others stay on
 * their link. 0 or -reason. */
static __always_inline int pair_native_hop(struct slow_path *path, struct flow_copy *back)
{
	const struct next_hop *hop = next_hop_at(back->hop);

	if (path->native_peer) {
		back->hop = NEXT_HOP_PEERS + path->native_peer;
		return 0;
	}
	if (hop && hop->peer)
		return slow_path_wire(back, hop->ifindex);
	return back->hop < NEXT_HOP_PEERS ? 0 : pair_routed_hop(path, back);
}

/* Where the replies go. What came through the node's stack goes back through it: the stack may have
 * translated it. */
static __always_inline int pair_reply_hop(struct slow_path *path, const struct packet *p,
					  const struct flow_copy *flow)
{
	struct flow_copy *back = &path->rev.content;

	back->hop = 0;
	if (path->fwd.tuple.zone == ZONE_POD) {
		back->action = FLOW_TO_POD;
		back->hop = pod_index(path->source_link);
		return 0;
	}
	if (path->fwd.tuple.zone == ZONE_HOST) {
		back->action = FLOW_TO_HOST;
		return 0;
	}
	if (path->fwd.tuple.zone == ZONE_TUNNEL) {
		back->action = FLOW_TO_TUNNEL;
		back->hop = NEXT_HOP_PEERS + path->fwd.tuple.peer;
		return 0;
	}
	if (path->flags & SLOW_PATH_REPLY) {
		back->action = flow->action;
		back->hop = flow->hop;
		return back->action == FLOW_TO_WIRE ? pair_native_hop(path, back) : 0;
	}
	if (p->hook == DROP_TO_POD) {
		back->action = FLOW_TO_STACK;
		return 0;
	}
	if (path->native_peer) {
		back->action = FLOW_TO_WIRE;
		back->hop = NEXT_HOP_PEERS + path->native_peer;
		return 0;
	}
	if (p->hook == DROP_FROM_TUNNEL) /* a client's, which is answered directly */
		return pair_routed_hop(path, back);
	return slow_path_wire(back, p->link);
}

/* rev's tuple and both entries' translations, from fwd and what its source and destination become.
 */
static __always_inline void pair_translate(struct slow_path *path, const struct control *control,
					   __u8 family)
{
	struct flow_copy *out = &path->fwd.content, *back = &path->rev.content;
	const struct flow_tuple *fwd = &path->fwd.tuple;
	struct port_pair ports = ports_reversed(fwd->proto, fwd->sport_be, fwd->dport_be);
	__u16 state = out->state & ~FLOW_TRANSLATED;

	out->new_sport_be = path->new_sport_be;
	out->new_dport_be = path->new_dport_be;
	copy_set_addrs(out, &path->new_src, &path->new_dst, family);
	flow_reply_tuple(fwd, out, family, &path->rev.tuple);
	path->rev.hash = flow_hash(&path->rev.tuple, family, control);
	/* A reply leaves with fwd's own addresses and ports, changed about. */
	back->new_sport_be = ports.sport_be;
	back->new_dport_be = ports.dport_be;
	copy_set_addrs(back, &path->dst, &path->src, family);
	if (path->new_sport_be != fwd->sport_be || path->new_dport_be != fwd->dport_be ||
	    !addr_equal(&path->new_src, &path->src) || !addr_equal(&path->new_dst, &path->dst))
		state |= FLOW_TRANSLATED;
	/* The entry names the endpoint; the packet keeps the Service's address. */
	if (path->flags & SLOW_PATH_HAND_ON)
		state &= ~FLOW_TRANSLATED;
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

static __always_inline void pair_contents_in(struct slow_path *path, const struct control *control,
					     __u8 family)
{
	pair_translate(path, control, family);
	/* Of a port that is only tried, most likely in vain, the line is not worth reading. */
	if (path->old.generation || path->flags & (SLOW_PATH_MASQUERADE | SLOW_PATH_HAIRPIN))
		return;
	pair_expect(&path->fwd, family);
	pair_expect(&path->rev, family);
}

__noinline int pair_contents(__u8 family)
{
	const struct control *control = control_get();
	struct slow_path *path = slow_path_get();

	if (!path || !control)
		return 0;
	if (family == FAMILY_V4)
		pair_contents_in(path, control, FAMILY_V4);
	else
		pair_contents_in(path, control, FAMILY_V6);
	return 0;
}

/* All of the contents but the checksums' differences. 0 or -reason. */
static __always_inline int pair_prepare(struct slow_path *path, const struct flow_verdict *verdict,
					const struct packet *p, const struct flow_copy *flow)
{
	__u16 state = path->old.generation ? path->old.state & FLOW_SEEN_BITS : 0;
	__u16 owner =
		path->fwd.content.action == FLOW_TO_POD ? path->fwd.content.hop : FLOW_OWNER_NODE;
	int result = pair_reply_hop(path, p, flow);

	if (path->source_link)
		owner = pod_index(path->source_link);
	if (path->flags & SLOW_PATH_SERVICE)
		state |= FLOW_SERVICE;
	if (path->flags & SLOW_PATH_AFFINITY)
		state |= FLOW_AFFINITY;
	if (verdict->egress_rule || verdict->ingress_rule)
		state |= FLOW_RULED;
	if (path->old.generation)
		path->new_sport_be = path->old.new_sport_be;
	path->fwd.content.state = state;
	path->fwd.content.generation = path->rev.content.generation = path->generation;
	path->fwd.content.owner = path->rev.content.owner = owner;
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
__noinline int pair_reply_tuple(struct slow_path *path, __u32 linger, __u8 family)
{
	int outcome;

	if (!path)
		return REPLY_BUSY;
	outcome = flow_lookup(&path->rev.tuple, path->rev.hash, &path->rev.seen, family);
	if (outcome == FLOW_FOUND) {
		if (family == FAMILY_V4)
			flow_reply_tuple(&path->rev.tuple, &path->rev.seen, FAMILY_V4,
					 &path->reply_tuple);
		else
			flow_reply_tuple(&path->rev.tuple, &path->rev.seen, FAMILY_V6,
					 &path->reply_tuple);
		if (tuple_equal(&path->reply_tuple, &path->fwd.tuple, family))
			return REPLY_OURS;
		if (flow_idle(&path->rev.tuple, &path->rev.seen, &path->other,
			      reply_timeout(&path->rev.tuple, path->rev.seen.state, linger),
			      family)) {
			flow_end(&path->rev.tuple, &path->rev.seen, &path->other, family);
			outcome = FLOW_ABSENT;
		}
	}
	path->rev.seen.generation = 0;
	return outcome == FLOW_ABSENT  ? REPLY_FREE
	       : outcome == FLOW_FOUND ? REPLY_TAKEN
				       : REPLY_BUSY;
}

static __always_inline bool same_destination(const struct flow_copy *a, const struct flow_copy *b,
					     __u8 family)
{
	return a->new_daddr_be[0] == b->new_daddr_be[0] &&
	       (family == FAMILY_V4 || (a->new_daddr_be[1] == b->new_daddr_be[1] &&
					a->new_daddr_be[2] == b->new_daddr_be[2] &&
					a->new_daddr_be[3] == b->new_daddr_be[3]));
}

/* The way to the wire that the kernel has said stays as long as it is by the same uplink, and to
 * the same address: a flow that moves to another endpoint has another neighbour to go to. */
static __always_inline void pair_keep_hop(struct flow_side *side, __u8 family)
{
	const struct next_hop *new, *old;

	if (!side->seen.generation || side->content.action != FLOW_TO_WIRE ||
	    side->seen.action != FLOW_TO_WIRE ||
	    !same_destination(&side->content, &side->seen, family))
		return;
	new = next_hop_at(side->content.hop);
	old = next_hop_at(side->seen.hop);
	if (new &&old &&new->ifindex == old->ifindex &&new->peer == old->peer)
		side->content.hop = side->seen.hop;
}

static __always_inline bool side_same(const struct flow_side *side, __u8 family)
{
	const struct flow_copy *new = &side->content, *old = &side->seen;

	if (!old->generation || new->action != old->action || new->hop != old->hop ||
	    new->owner != old->owner || new->new_sport_be != old->new_sport_be ||
	    new->new_dport_be != old->new_dport_be ||
	    (new->state ^ old->state) &
		    (FLOW_TRANSLATED | FLOW_SERVICE | FLOW_RULED | FLOW_AFFINITY) ||
	    new->new_saddr_be[0] != old->new_saddr_be[0])
		return false;
	return same_destination(new, old, family) &&
	       (family == FAMILY_V4 || (new->new_saddr_be[1] == old->new_saddr_be[1] &&
					new->new_saddr_be[2] == old->new_saddr_be[2] &&
					new->new_saddr_be[3] == old->new_saddr_be[3]));
}

/* Does the verdict say what both entries say already? */
static __always_inline bool pair_same(const struct slow_path *path,
				      const struct flow_verdict *verdict, __u8 family)
{
	if (!side_same(&path->fwd, family) || !side_same(&path->rev, family))
		return false;
	if (!(path->fwd.content.state & FLOW_RULED))
		return true;
	if (family == FAMILY_V4)
		return flow_rules_same(path->fwd.seen.set, path->fwd.seen.way, verdict->egress_rule,
				       verdict->ingress_rule, FAMILY_V4);
	return flow_rules_same(path->fwd.seen.set, path->fwd.seen.way, verdict->egress_rule,
			       verdict->ingress_rule, FAMILY_V6);
}

static __always_inline int take_failed(int result, bool own)
{
	if (result != TAKE_FULL)
		return PAIR_AGAIN;
	return own ? -REASON_FLOW_SHARE : -REASON_FLOW_TABLE_FULL;
}
