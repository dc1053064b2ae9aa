/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Puts a judgement in force: the entries say it already, or both are written, or neither. */
#pragma once

#include "source_port.h"

/* What is to be done about a judgement. */
enum settle_step {
	SETTLE_SAME = 2,  /* nothing: the entries say it, and hold for this generation now */
	SETTLE_WRITE = 3, /* both entries have to be written */
	SETTLE_PORT = 4,  /* the same, with a source port that is to be chosen */
};

/* A new flow whose source is translated. */
static __always_inline bool settle_chooses(const struct work *w)
{
	return w->flags & (WORK_MASQUERADE | WORK_HAIRPIN) && !w->old.generation;
}

/* What stands in the table of this flow. enum reply_tuple. */
static __always_inline int settle_look(struct work *w, __u8 family)
{
	int result;

	/* A port is to be chosen: there is no tuple of the replies yet. */
	if (settle_chooses(w))
		return REPLY_TAKEN;
	result = pair_reply_tuple(w, 0, family);
	if (!(w->flags & WORK_REPLY))
		return result;
	if (result == REPLY_OURS &&
	    flow_lookup(&w->fwd.tuple, w->fwd.hash, &w->fwd.seen, family) == FLOW_BUSY)
		return REPLY_BUSY;
	return result;
}

/* Nothing but the generation changes: one word in each entry. SETTLE_SAME or PAIR_AGAIN. */
static __always_inline int settle_restamp(struct work *w, __u8 family)
{
	if (!flow_restamp(&w->rev.seen, w->generation, family) ||
	    !flow_restamp(&w->fwd.seen, w->generation, family))
		return PAIR_AGAIN;
	count_up(COUNTER_FLOWS_RESTAMPED);
	return SETTLE_SAME;
}

/* The content that was written, as a look-up would find it; `last` is that of before, 0 for a new
 * entry. */
static __always_inline void settle_tell(struct flow_side *side)
{
	side->content.set = side->place.set;
	side->content.way = side->place.way;
	side->content.seq = side->place.seq + 2;
	side->content.last = side->place.kind == PLACE_SAME ? side->seen.last : 0;
}

/* Both places are held: they are filled, the replies' first. `flow` gets what the packet's own
 * entry says now. */
__noinline int settle_fill(struct flow_copy *flow, __u8 family)
{
	struct judgement *j = judgement_get();
	struct work *w = work_get();

	if (!flow || !j || !w)
		return 0;
	flow_fill(&w->rev, j->egress_rule, j->ingress_rule, family);
	flow_fill(&w->fwd, j->egress_rule, j->ingress_rule, family);
	settle_tell(&w->rev);
	settle_tell(&w->fwd);
	if (family == FAMILY_V4)
		flow_copy_to(flow, w->flags & WORK_REPLY ? &w->rev.content : &w->fwd.content,
			     FAMILY_V4);
	else
		flow_copy_to(flow, w->flags & WORK_REPLY ? &w->rev.content : &w->fwd.content,
			     FAMILY_V6);
	return 0;
}

/* A pod that has more than its share of a table that is nearly full gets no further place. */
static __always_inline __u32 settle_own(struct work *w, __u8 family)
{
	const struct control *control = control_get();

	if (control && !w->fwd.seen.generation &&
	    flow_over_share(control, w->fwd.content.owner, family))
		w->flags |= WORK_OVER_SHARE;
	return w->flags & WORK_OVER_SHARE;
}

/* Of two CPUs with one flow only one gets the first place, and goes on. 0, -reason or PAIR_AGAIN.
 */
static __always_inline int settle_write(packet_context *ctx, struct work *w, struct flow_copy *flow,
					bool new_port, __u8 family)
{
	__u32 own = settle_own(w, family);
	/* Both sides of one flow may begin it at once: in one order, so that one of the two CPUs
	 * gets both places. */
	bool reply_first = !new_port && w->rev.hash < w->fwd.hash;
	struct flow_side *first = reply_first ? &w->rev : &w->fwd;
	int result = flow_take(first, own, family);

	if (result)
		return take_failed(result, own);
	if (new_port) {
		result = port_take(ctx, w, family);
	} else {
		result = flow_take(reply_first ? &w->fwd : &w->rev, own, family);
		if (result)
			result = take_failed(result, own);
	}
	if (result) {
		flow_leave(first, family);
		return result;
	}
	settle_fill(flow, family);
	return 0;
}

/*
 * Looks at what stands in the table of the flow in works[0]. enum settle_step, -reason or
 * PAIR_AGAIN.
 */
__noinline int settle_compare(__u32 reply, __u8 family)
{
	struct judgement *j = judgement_get();
	struct work *w = work_get();

	if (!w || !j)
		return -REASON_INTERNAL;
	if (reply == REPLY_BUSY)
		return -REASON_FLOW_BUSY;
	pair_keep_hop(&w->fwd);
	pair_keep_hop(&w->rev);
	if (w->old.generation && reply == REPLY_OURS && pair_same(w, j, family))
		return settle_restamp(w, family);
	if (reply != REPLY_TAKEN)
		return SETTLE_WRITE;
	return has_port_to_choose(&w->fwd.tuple, family) ? SETTLE_PORT : -REASON_NAT_PROTOCOL;
}

/* The contents but for their sums. `flow` is the packet's own entry (generation 0: none). 0 or
 * -reason. */
__noinline int settle_prepare(struct packet *p, struct flow_copy *flow)
{
	const struct control *control = control_get();
	struct judgement *j = judgement_get();
	struct work *w = work_get();
	int result;

	if (!p || !flow || !w || !j || !control)
		return -REASON_INTERNAL;
	result = pair_prepare(w, j, p, flow);
	if (result)
		return result;
	w->fwd.hash = tuple_hash(&w->fwd.tuple, p->family, control);
	if (w->flags & WORK_REPLY || !flow->generation)
		return 0;
	if (p->family == FAMILY_V4)
		flow_copy_to(&w->fwd.seen, flow, FAMILY_V4);
	else
		flow_copy_to(&w->fwd.seen, flow, FAMILY_V6);
	return 0;
}

/*
 * Puts what works[0] holds in force for the packet's flow. `flow` is the packet's own entry
 * (generation 0: none), and is what it says now afterwards. 0, -reason, or PAIR_AGAIN: the table
 * has changed meanwhile.
 */
static __always_inline int settle(packet_context *ctx, struct packet *p, struct flow_copy *flow,
				  struct work *w)
{
	int result = settle_prepare(p, flow);

	if (result)
		return result;
	pair_contents(p->family);
	result = settle_look(w, p->family);
	result = settle_compare(result, p->family);
	if (result == SETTLE_SAME)
		flow->generation = w->generation;
	if (result < SETTLE_WRITE)
		return result == SETTLE_SAME ? 0 : result;
	return settle_write(ctx, w, flow, result == SETTLE_PORT, p->family);
}
