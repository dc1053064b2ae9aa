/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * From a packet whose source has been checked to its flow's entry: found, or evaluated. What nearly
 * all packets need is inlined; what some need now and then is follow_with_care().
 */
#pragma once

#include "flow_install.h"

/* How often an evaluation is begun again because the table changed under it. */
#define FOLLOW_TRIES 4

/*
 * Sets and clears state bits on both entries of a flow, each if it is still what was seen. Rare:
 * opening, closing, first answer. What the other side's entry could not be told, since a writer was
 * at it, this one is not told either, so that the next packet tries again; nor that a flow without
 * its opener's entry was answered. enum flow_outcome of the other side.
 */
__noinline int follow_mark(struct flow_tuple *t, struct flow_copy *flow, __u32 bits, __u8 family)
{
	struct slow_path *path = slow_path_get();
	struct flow_head *head;
	int outcome;

	if (!t || !flow || !path)
		return FLOW_BUSY;
	outcome = flow_other_side(t, flow, &path->other, family);
	if (outcome == FLOW_BUSY || (outcome == FLOW_ABSENT && bits & FLOW_REPLIED))
		return outcome;
	if (outcome == FLOW_FOUND) {
		head = flow_head_anywhere(path->other.set, path->other.way, family);
		if (!head || READ_ONCE(head->seq) != path->other.seq)
			return FLOW_BUSY;
		flow_mark(head, bits & 0xffff, bits >> 16);
	}
	head = flow_head_anywhere(flow->set, flow->way, family);
	if (head && READ_ONCE(head->seq) == flow->seq)
		flow_mark(head, bits & 0xffff, bits >> 16);
	return outcome;
}

#define CLEARS(bits) ((__u32)(bits) << 16)

/* What a TCP segment adds to its flow's state, and takes from it: CLEARS(). */
static __always_inline __u32 track_tcp(const struct packet *p, __u16 state)
{
	bool reply = state & FLOW_REPLY;
	__u32 bits = 0;

	if (reply)
		bits |= FLOW_REPLIED;
	if (!reply && state & FLOW_REPLIED && (p->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_ACK)
		bits |= FLOW_ESTABLISHED;
	if (p->tcp_flags & TCP_FIN)
		bits |= reply ? FLOW_FIN_REPLY : FLOW_FIN_ORIG;
	if (p->tcp_flags & TCP_RST)
		bits |= FLOW_RESET;
	bits &= ~state;
	/* Who goes on was not reset: anybody can forge an RST (RFC 5961). */
	if (state & FLOW_RESET && !(p->tcp_flags & (TCP_RST | TCP_SYN)))
		bits |= CLEARS(FLOW_RESET);
	return bits;
}

/*
 * The same for all others. Datagrams are a stream when the originator goes on for a while after the
 * first answer: in a second tick, or after two; a question and its answer are none (as in
 * net/netfilter/nf_conntrack_proto_udp.c).
 */
static __always_inline __u32 track_datagram(const struct packet *p, const struct flow_copy *flow,
					    __u32 now)
{
	__u16 state = flow->state;

	if (p->flags & PACKET_ICMP_ERROR)
		return 0;
	if (state & FLOW_REPLY)
		return FLOW_REPLIED & ~state;
	if (!(state & FLOW_REPLIED) || state & FLOW_ESTABLISHED || p->tuple.proto == IPPROTO_ICMP ||
	    p->tuple.proto == IPPROTO_ICMPV6)
		return 0;
	if (p->tuple.proto != IPPROTO_UDP)
		return FLOW_ESTABLISHED;
	if (flow->last == now)
		return 0;
	return state & FLOW_AGAIN || flow_age(now, flow->last) >= 2 ? FLOW_ESTABLISHED : FLOW_AGAIN;
}

/*
 * A new connection on the ports of one that is closed is a new flow; from a source that cannot be
 * forged also on those of one that was not used for longer than a SYN may wait.
 */
static __always_inline bool flow_reopened(const struct packet *p, const struct flow_copy *flow,
					  __u32 now)
{
	if (!is_syn(p))
		return false;
	return flow_closed(flow->state) ||
	       (p->tuple.zone != ZONE_WIRE && !(flow->state & FLOW_REPLY) &&
		flow_age(now, flow->last) > FLOW_TIMEOUT_TCP_NEW);
}

/* Is the entry that was found the packet's flow no more? Then it goes, with the other direction's.
 */
static __always_inline bool follow_ended(struct packet *p, struct flow_copy *flow,
					 struct slow_path *path, __u32 now)
{
	if (!flow_reopened(p, flow, now) &&
	    (flow_age(now, flow->last) <= FLOW_TIMEOUT_LEAST ||
	     !flow_idle(&p->tuple, flow, &path->other, flow_timeout(p->tuple.proto, flow->state),
			p->family)))
		return false;
	flow_end(&p->tuple, flow, &path->other, p->family);
	flow->generation = 0;
	return true;
}

/*
 * Nobody has answered yet: a flood of new flows may have evicted the entry that the answer needs,
 * while this one is used again and again. Once a tick it is looked for.
 */
static __always_inline bool follow_half_gone(struct packet *p, struct flow_copy *flow,
					     struct slow_path *path, __u32 now)
{
	return !(flow->state & (FLOW_REPLY | FLOW_REPLIED)) && flow->last != now &&
	       flow_other_side(&p->tuple, flow, &path->other, p->family) == FLOW_ABSENT;
}

static __always_inline bool denied_by_policy(int reason)
{
	return reason == REASON_POLICY_EGRESS || reason == REASON_POLICY_INGRESS ||
	       reason == REASON_NOT_READY || reason == REASON_POLICY_CAPACITY;
}

/* A way out that is gone, or is another one for the other side yet, may come back, and the flow
 * with it. */
static __always_inline bool has_no_way(int reason)
{
	return reason == REASON_NO_ROUTE || reason == REASON_NO_NODE_ADDRESS ||
	       reason == REASON_ROUTE_UNREACHABLE || reason == REASON_ROUTE_PROHIBITED ||
	       reason == REASON_ROUTE_BLACKHOLE || reason == REASON_PEER_SOURCE;
}

/* What becomes of a flow that may not pass. Its packets count for the rules that would have let it.
 */
__noinline int follow_refused(struct packet *p, struct flow_copy *flow, int reason)
{
	struct flow_verdict *verdict = flow_verdict_get();
	struct slow_path *path = slow_path_get();

	if (!p || !flow || !verdict || !path)
		return 0;
	if (reason != REASON_POLICY_EGRESS && verdict->egress_rule)
		policy_count(verdict->egress_rule, 1, p->length);
	if (reason != REASON_POLICY_INGRESS && verdict->ingress_rule)
		policy_count(verdict->ingress_rule, 1, p->length);
	/* What policy denies now it may allow again: the flow stays known, to be evaluated at every
	 * packet. Nobody ends it by forging one; what a pod sends is not forged. */
	if (flow->generation && !denied_by_policy(reason) && !has_no_way(reason) &&
	    reason != REASON_FLOW_BUSY && (reason != REASON_MARTIAN || p->tuple.zone == ZONE_POD))
		flow_end(&p->tuple, flow, &path->other, p->family);
	return 0;
}

/* Tells of a new flow, where somebody listens. */
__noinline int follow_event(struct packet *p)
{
	const struct control *control = control_get();

	if (p && control)
		event_send(control, p->link, p, EVENT_FLOW, VERDICT_ALLOW, REASON_NONE);
	return 0;
}

/*
 * Evaluates the packet's flow. `flow` holds the entry that was found and is out of date (generation
 * 0: none); on success it holds what applies to this packet. 0, -reason or PAIR_AGAIN;
 * flow_verdicts[0] tells what was found.
 */
static __always_inline int slow_path(packet_context *ctx, struct packet *p, struct flow_copy *flow,
				     const struct control *control)
{
	struct flow_verdict *verdict = flow_verdict_get();
	struct slow_path *path = slow_path_get();
	int result;

	if (!verdict || !path)
		return -REASON_INTERNAL;
	/*
	 * Before any other map: what is evaluated by what was there before is out of date at once.
	 * Generation and slot by one load: a slot of before is never evaluated under the generation
	 * that came with the next one.
	 */
	path->in_force = READ_ONCE(control->in_force);
	load_barrier();
	result = slow_path_orient(p, flow);
	if (!result)
		result = slow_path_decide(p);
	if (!result && path->flags & (SLOW_PATH_NATIVE | SLOW_PATH_HAND_ON))
		result = peer_mac_check(ctx, p, path);
	if (!result)
		result = flow_install(ctx, p, flow, path);
	if (result == PAIR_AGAIN)
		return result;
	p->evaluated = 1;
	if (path->flags & SLOW_PATH_SERVICE) {
		verdict->backend = path->new_dst;
		verdict->backend_port_be = path->new_dport_be;
	}
	verdict->reason = -result;
	if (result) {
		if (PACKET_ENDS_REFUSED)
			follow_refused(p, flow, -result);
		return result;
	}
	count_up(path->flags & SLOW_PATH_KNOWN ? COUNTER_FLOWS_REEVALUATED : COUNTER_FLOWS_CREATED);
	if (!(path->flags & SLOW_PATH_KNOWN) && control->events & EVENT_MASK_FLOWS)
		follow_event(p);
	return 0;
}

/* A client stays with its endpoint as long as it uses it: told once a tick by each of its flows. */
__noinline int follow_affinity(struct packet *p, struct flow_copy *flow)
{
	const struct address_entry *entry;
	const struct service_entry *service;
	struct polder_addr client, address, endpoint;
	__u32 flags = 0;

	if (!p || !flow)
		return 0;
	client = tuple_saddr(&p->tuple, p->family);
	address = tuple_daddr(&p->tuple, p->family);
	service = service_find(&address, p->tuple.dport_be, p->tuple.proto);
	if (!service) {
		entry = address_find(&address);
		if (entry)
			flags = entry->flags;
		barrier();
		service = frontend_find(&address, p->tuple.dport_be, p->tuple.proto, flags, true);
	}
	if (!service)
		return 0;
	endpoint = p->family == FAMILY_V4 ? addr_from4(flow->new_daddr_be[0])
					  : addr_from6(flow->new_daddr_be);
	affinity_renew(service, &client, &endpoint, flow->new_dport_be);
	return 0;
}

/* The packet is one of this entry's: it is counted there, and the flow's state and way followed. 0
 * or -reason. */
__noinline int follow_count(packet_context *ctx, struct packet *p, struct flow_copy *flow)
{
	struct flow_head *head =
		p && flow ? flow_head_anywhere(flow->set, flow->way, p->family) : NULL;
	__u32 now = now_ticks(), bits;
	int result = 0;

	if (!p || !flow || !head)
		return -REASON_INTERNAL;
	bits = p->tuple.proto == IPPROTO_TCP ? track_tcp(p, flow->state)
					     : track_datagram(p, flow, now);
	/*
	 * The opener's entry had to make room before the answer came. The opener would take its
	 * connection for open, and its next segment would find no flow: so it gets no answer, and
	 * asks again.
	 */
	if (bits && follow_mark(&p->tuple, flow, bits, p->family) == FLOW_ABSENT &&
	    bits & FLOW_REPLIED && p->tuple.proto == IPPROTO_TCP)
		return -REASON_NO_FLOW;
	if (flow->last != now && (flow->state & (FLOW_AFFINITY | FLOW_REPLY)) == FLOW_AFFINITY)
		follow_affinity(p, flow);
	if (flow->last != now && (flow->action == FLOW_TO_WIRE || flow->action == FLOW_TO_TUNNEL))
		result = flow->last || PACKET_FINDS_NEXT_HOP ? next_hop_follow(ctx, p, flow)
							     : next_hop_begin(ctx, flow);
	/* Forbidden by a route, or the link is gone: the next packet asks again, it does not leave
	 * by the way of before.
	 */
	if (result)
		return result;
	head->last = now;
	head->packets++;
	head->bytes += p->length;
	return 0;
}

/*
 * All that is not one packet more of an established flow. `flow` and `outcome`: what the look-up
 * gave; FLOW_BUSY: it is to be made again. 0: `flow` holds what applies to the packet; -reason; or
 * PAIR_AGAIN: the table changed under the verdict.
 */
__noinline int follow_with_care(packet_context *ctx, struct packet *p, struct flow_copy *flow,
				int outcome)
{
	const struct control *control = control_get();
	struct slow_path *path = slow_path_get();
	int result;

	if (!p || !flow || !control || !path)
		return -REASON_INTERNAL;
	if (outcome == FLOW_BUSY)
		outcome = flow_lookup(&p->tuple, tuple_hash(&p->tuple, p->family, control), flow,
				      p->family);
	if (outcome == FLOW_BUSY)
		return -REASON_FLOW_BUSY;
	if (outcome == FLOW_ABSENT)
		flow->generation = 0;
	else if (!follow_ended(p, flow, path, now_ticks()) &&
		 flow->generation == READ_ONCE(control->generation) &&
		 !follow_half_gone(p, flow, path, now_ticks()))
		return follow_count(ctx, p, flow);
	result = slow_path(ctx, p, flow, control);
	return result ? result : follow_count(ctx, p, flow);
}

/* The outcome of a look-up that found a flow, once one that is over has gone: then the packet may
 * be the node's own. */
__noinline int follow_alive(struct packet *p, struct flow_copy *flow)
{
	struct slow_path *path = slow_path_get();

	return p && flow && path && follow_ended(p, flow, path, now_ticks()) ? FLOW_ABSENT
									     : FLOW_FOUND;
}

/*
 * Handed on to the endpoint's node (DSR), which answers by itself: nothing tells whether it did, so
 * the flow is never established here, and a flood may take its place. The table leads the next
 * packet to the same node.
 */
static __always_inline bool follow_hands_on(const struct flow_copy *flow)
{
	return (flow->state & (FLOW_SERVICE | FLOW_TRANSLATED | FLOW_REPLY)) == FLOW_SERVICE &&
	       (flow->action == FLOW_TO_WIRE || flow->action == FLOW_TO_TUNNEL);
}

/* One packet more of a flow that nothing changes for: evaluated, used in this tick already, past
 * its opening and before its end. */
static __always_inline bool follow_plainly(const struct packet *p, const struct flow_copy *flow,
					   __u32 generation, __u32 now)
{
	if (unlikely(flow->generation != generation || flow->last != now))
		return false;
	if (likely(p->tuple.proto == IPPROTO_TCP))
		return ((flow->state & (FLOW_ESTABLISHED | FLOW_RESET)) == FLOW_ESTABLISHED ||
			follow_hands_on(flow)) &&
		       !flow_closed(flow->state) && !(p->tcp_flags & (TCP_FIN | TCP_SYN | TCP_RST));
	return flow->state & FLOW_ESTABLISHED ||
	       (p->tuple.proto == IPPROTO_UDP &&
		(!(flow->state & FLOW_REPLY) || flow->state & FLOW_REPLIED));
}

/*
 * Counts a packet in its flow's entry, once the flow is evaluated. `flow` is room for a copy: one
 * for the whole program, the stack is small. `outcome` and `head` (may be NULL): what flow_of()
 * gave. 0 or -reason.
 */
static __always_inline int follow_found(packet_context *ctx, struct packet *p,
					struct flow_copy *flow, int outcome, struct flow_head *head,
					__u8 family)
{
	int result, i;

	if (unlikely(outcome != FLOW_PLAIN)) {
		result = follow_with_care(ctx, p, flow, outcome);
		for (i = 1; i < FOLLOW_TRIES && unlikely(result == PAIR_AGAIN); i++)
			result = follow_with_care(ctx, p, flow, FLOW_BUSY);
		return result == PAIR_AGAIN ? -REASON_FLOW_BUSY : result;
	}
	if (!head)
		head = flow_head_at(flow->set, flow->way, family);
	if (!head)
		return -REASON_INTERNAL;
	head->packets++;
	head->bytes += p->length;
	return 0;
}

/* enum flow_outcome of the packet's flow; FLOW_PLAIN: all that is to be done is to count the
 * packet. */
static __always_inline int flow_of(struct packet *p, struct flow_copy *flow,
				   struct flow_head **ret_head, __u8 family)
{
	const struct control *control = control_get();
	__u64 hash;
	int outcome;

	*ret_head = NULL;
	if (unlikely(!control)) {
		__builtin_memset(flow, 0, sizeof(*flow)); /* others read it */
		return FLOW_ABSENT;
	}
	hash = flow_hash(&p->tuple, family, control);
	outcome = flow_find(&p->tuple, hash, family, flow, ret_head);
	if (likely(outcome == FLOW_FOUND &&
		   follow_plainly(p, flow, READ_ONCE(control->generation), now_ticks())))
		return FLOW_PLAIN;
	return outcome;
}
