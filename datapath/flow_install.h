/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Puts an evaluation in force: the entries say it already, or both are written, or neither. */
#pragma once

#include "source_port.h"

/* What is to be done about an evaluation. */
enum install_step {
	INSTALL_SAME = 2,  /* nothing: the entries say it, and hold for this generation now */
	INSTALL_WRITE = 3, /* both entries have to be written */
	INSTALL_PORT = 4,  /* the same, with a source port that is to be chosen */
};

/* A new flow whose source is translated. */
static __always_inline bool install_chooses(const struct slow_path *path)
{
	return path->flags & (SLOW_PATH_MASQUERADE | SLOW_PATH_HAIRPIN) && !path->old.generation;
}

/* What stands in the table of this flow. enum reply_tuple. */
static __always_inline int install_look_up(struct slow_path *path, __u8 family)
{
	int result;

	/* A port is to be chosen: there is no tuple of the replies yet. */
	if (install_chooses(path))
		return REPLY_TAKEN;
	result = pair_reply_tuple(path, 0, family);
	if (!(path->flags & SLOW_PATH_REPLY))
		return result;
	if (result == REPLY_OURS &&
	    flow_lookup(&path->fwd.tuple, path->fwd.hash, &path->fwd.seen, family) == FLOW_BUSY)
		return REPLY_BUSY;
	return result;
}

/* Nothing but the generation changes: one word in each entry. INSTALL_SAME or PAIR_AGAIN. */
static __always_inline int install_restamp(struct slow_path *path, __u8 family)
{
	if (!flow_restamp(&path->rev.seen, path->generation, family) ||
	    !flow_restamp(&path->fwd.seen, path->generation, family))
		return PAIR_AGAIN;
	count_up(COUNTER_FLOWS_RESTAMPED);
	return INSTALL_SAME;
}

/* The content that was written, as a look-up would find it; `last` is that of before, 0 for a new
 * entry. */
static __always_inline void install_content(struct flow_side *side)
{
	side->content.set = side->place.set;
	side->content.way = side->place.way;
	side->content.seq = side->place.seq + 2;
	side->content.last = side->place.kind == PLACE_SAME ? side->seen.last : 0;
}

/* Both places are held: they are filled, the replies' first. `flow` gets what the packet's own
 * entry says now. */
__noinline int install_fill(struct flow_copy *flow, __u8 family)
{
	struct flow_verdict *verdict = flow_verdict_get();
	struct slow_path *path = slow_path_get();

	if (!flow || !verdict || !path)
		return 0;
	flow_fill(&path->rev, verdict->egress_rule, verdict->ingress_rule, family);
	flow_fill(&path->fwd, verdict->egress_rule, verdict->ingress_rule, family);
	install_content(&path->rev);
	install_content(&path->fwd);
	if (family == FAMILY_V4)
		flow_copy_to(flow,
			     path->flags & SLOW_PATH_REPLY ? &path->rev.content
							   : &path->fwd.content,
			     FAMILY_V4);
	else
		flow_copy_to(flow,
			     path->flags & SLOW_PATH_REPLY ? &path->rev.content
							   : &path->fwd.content,
			     FAMILY_V6);
	return 0;
}

/* A pod that has more than its share of a table that is nearly full gets no further place. */
static __always_inline __u32 install_over_share(struct slow_path *path, __u8 family)
{
	const struct control *control = control_get();

	if (control && !path->fwd.seen.generation &&
	    flow_over_share(control, path->fwd.content.owner, family))
		path->flags |= SLOW_PATH_OVER_SHARE;
	return path->flags & SLOW_PATH_OVER_SHARE;
}

/* Of two CPUs with one flow only one gets the first place, and goes on. 0, -reason or PAIR_AGAIN.
 */
static __always_inline int install_write(packet_context *ctx, struct slow_path *path,
					 struct flow_copy *flow, bool new_port, __u8 family)
{
	__u32 own = install_over_share(path, family);
	/* Both sides of one flow may begin it at once: in one order, so that one of the two CPUs
	 * gets both places. */
	bool reply_first = !new_port && path->rev.hash < path->fwd.hash;
	struct flow_side *first = reply_first ? &path->rev : &path->fwd;
	int result = flow_take(first, own, family);

	if (result)
		return take_failed(result, own);
	if (new_port) {
		result = port_take(ctx, path, family);
	} else {
		result = flow_take(reply_first ? &path->fwd : &path->rev, own, family);
		if (result)
			result = take_failed(result, own);
	}
	if (result) {
		flow_leave(first, family);
		return result;
	}
	install_fill(flow, family);
	return 0;
}

/*
 * Looks at what stands in the table of the flow in works[0]. enum install_step, -reason or
 * PAIR_AGAIN.
 */
__noinline int install_compare(__u32 reply, __u8 family)
{
	struct flow_verdict *verdict = flow_verdict_get();
	struct slow_path *path = slow_path_get();

	if (!path || !verdict)
		return -REASON_INTERNAL;
	if (reply == REPLY_BUSY)
		return -REASON_FLOW_BUSY;
	pair_keep_hop(&path->fwd, family);
	pair_keep_hop(&path->rev, family);
	if (path->old.generation && reply == REPLY_OURS && pair_same(path, verdict, family))
		return install_restamp(path, family);
	if (reply != REPLY_TAKEN)
		return INSTALL_WRITE;
	return has_port_to_choose(&path->fwd.tuple, family) ? INSTALL_PORT : -REASON_NAT_PROTOCOL;
}

/* The contents but for their sums. `flow` is the packet's own entry (generation 0: none). 0 or
 * -reason. */
__noinline int install_prepare(struct packet *p, struct flow_copy *flow)
{
	const struct control *control = control_get();
	struct flow_verdict *verdict = flow_verdict_get();
	struct slow_path *path = slow_path_get();
	int result;

	if (!p || !flow || !path || !verdict || !control)
		return -REASON_INTERNAL;
	result = pair_prepare(path, verdict, p, flow);
	if (result)
		return result;
	path->fwd.hash = tuple_hash(&path->fwd.tuple, p->family, control);
	if (path->flags & SLOW_PATH_REPLY || !flow->generation)
		return 0;
	if (p->family == FAMILY_V4)
		flow_copy_to(&path->fwd.seen, flow, FAMILY_V4);
	else
		flow_copy_to(&path->fwd.seen, flow, FAMILY_V6);
	return 0;
}

/*
 * Puts what works[0] holds in force for the packet's flow. `flow` is the packet's own entry
 * (generation 0: none), and is what it says now afterwards. 0, -reason, or PAIR_AGAIN: the table
 * has changed meanwhile.
 */
static __always_inline int flow_install(packet_context *ctx, struct packet *p,
					struct flow_copy *flow, struct slow_path *path)
{
	int result = install_prepare(p, flow);

	if (result)
		return result;
	pair_contents(p->family);
	result = install_look_up(path, p->family);
	result = install_compare(result, p->family);
	if (result == INSTALL_SAME)
		flow->generation = path->generation;
	if (result < INSTALL_WRITE)
		return result == INSTALL_SAME ? 0 : result;
	return install_write(ctx, path, flow, result == INSTALL_PORT, p->family);
}
