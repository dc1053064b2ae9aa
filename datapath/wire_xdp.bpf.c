// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * XDP, uplink: what can never be right is dropped before the kernel makes a socket buffer of it,
 * and what goes from the wire back to the wire by a flow that is known leaves at once: packets for
 * Services with endpoints on other nodes, and their answers. All else is TC's (from_wire), which
 * does the same by the same flow table.
 */
#include "context_xdp.h"
#include "capture.h"
#include "forward_xdp.h"
#include "parse_plain.h"
#include "source_wire.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Global: verified once. */
__noinline int parse_xdp(struct xdp_md *xdp, struct packet *p)
{
	struct cursor c = CURSOR(xdp);

	if (!p || c.data + ETH_HLEN > c.end)
		return -REASON_SHORT;
	p->flags = 0;
	if (frame_kind(c.data) == bpf_htons(ETH_P_IP))
		return parse_ipv4(c, p);
	return parse_ipv6(c, p);
}

/* Of what is not plain only the sender is looked at. 0 or -reason. */
__noinline int check_any(struct xdp_md *xdp, struct packet *p)
{
	int result = parse_xdp(xdp, p);

	if (!p)
		return -REASON_INTERNAL;
	if (unlikely(result == -REASON_SHORT) && p->length < bpf_xdp_get_buff_len(xdp)) {
		p->length = bpf_xdp_get_buff_len(xdp);
		result = parse_xdp(xdp, p);
	}
	/* A routing header that leads elsewhere may be meant for the node's own stack: the TC
	 * program knows. */
	if (result && result != -REASON_IP_OPTIONS)
		return result;
	return p->family == FAMILY_V4 ? check_wire_source(p, FAMILY_V4)
				      : check_wire_source(p, FAMILY_V6);
}

/*
 * Addresses of Services that packets came for, by their hash: who comes again is looked for among
 * the flows at once. What stands here wrongly, because a Service went or two addresses have one
 * hash, costs its packets one look-up more.
 */
#define SERVICE_ADDRESSES_SEEN 1024
__u32 service_addresses_seen[SERVICE_ADDRESSES_SEEN];

/* Global: verified once, and its address and key stand on a stack of its own. 1: a Service's. */
__noinline int is_a_services(struct packet *p, __u32 hash)
{
	struct polder_addr to;

	if (!p)
		return 0;
	to = tuple_daddr(&p->tuple, p->family);
	if (!service_has_address(&to))
		return 0;
	WRITE_ONCE(service_addresses_seen[hash % SERVICE_ADDRESSES_SEEN], hash);
	return 1;
}

static __always_inline bool may_be_a_services(struct packet *p, __u8 family)
{
	__u32 hash;

	if (family == FAMILY_V4)
		hash = p->tuple.v4.daddr_be * 0x9e3779b1u;
	else
		hash = (p->tuple.v6.daddr_be[3] * 0x9e3779b1u) ^
		       (p->tuple.v6.daddr_be[0] + p->tuple.v6.daddr_be[1] * 3 +
			p->tuple.v6.daddr_be[2] * 5) *
			       0x85ebca6bu;
	hash ^= hash >> 15;
	if (likely(hash &&
		   READ_ONCE(service_addresses_seen[hash % SERVICE_ADDRESSES_SEEN]) == hash))
		return true;
	return is_a_services(p, hash);
}

/*
 * May the packet be of a flow that goes back to the wire? Then it is for an address of a Service,
 * or for the node's own and a port that Services or translated flows have there. Pods' packets, the
 * most, are told by constants.
 */
static __always_inline bool may_go_back(struct packet *p, __u8 family)
{
	struct polder_addr to = tuple_daddr(&p->tuple, family);
	__u16 port = bpf_ntohs(p->tuple.dport_be);

	if (in_pod_range(&to, family == FAMILY_V4))
		return false;
	if (to_node(p, family))
		return !is_tunnelled(p) &&
		       ((port >= config.node_port_min && port <= config.node_port_max) ||
			(port >= config.masquerade_port_min && port <= config.masquerade_port_max));
	return may_be_a_services(p, family);
}

/*
 * All that is not one packet more of an established flow: is it evaluated here? 0: it is TC's.
 * Global: verified once; what evaluates is called from outside of it, the stack is small.
 */
__noinline int may_leave(struct xdp_md *xdp, struct packet *p, struct flow_copy *flow, int outcome)
{
	if (!p || !flow)
		return 0;
	if (outcome == FLOW_ABSENT)
		return for_a_pod(xdp, p) > 0 && p->frontend;
	return outcome == FLOW_FOUND && flow->action == FLOW_TO_WIRE &&
	       flow_age(now_ticks(), flow->last) <= FLOW_TIMEOUT_LEAST;
}

/* True: `flow` holds what applies to the packet, which is counted. */
static __always_inline bool follow_here(struct xdp_md *xdp, struct packet *p,
					struct flow_copy *flow, int outcome, __u8 family)
{
	return may_leave(xdp, p, flow, outcome) &&
	       !follow_found(xdp, p, flow, outcome, NULL, family);
}

/* TC counts the packet. Global: verified once. */
__noinline int take_back_count(struct packet *p, struct flow_copy *flow)
{
	struct flow_head *head =
		p && flow ? flow_head_anywhere(flow->set, flow->way, p->family) : NULL;

	if (!p || !head)
		return 0;
	head->packets--;
	head->bytes -= p->length;
	return 0;
}

/* By which way frames go back: a constant of each program. */
enum way_back {
	WAY_NONE,     /* all is TC's */
	WAY_TRANSMIT, /* the driver's own */
	WAY_REDIRECT, /* what is transmitted on a veth device waits for its other side to wake up */
};

/* A plain packet whose sender is right. An XDP action. */
static __always_inline int go_back(struct xdp_md *xdp, struct packet *p, struct flow_copy *flow,
				   enum way_back way, __u8 family)
{
	const struct next_hop *hop;
	struct flow_head *head;
	int outcome;

	if (likely(!may_go_back(p, family)))
		return XDP_PASS;
	outcome = flow_of(p, flow, &head, family);
	if (unlikely(outcome != FLOW_PLAIN) && !follow_here(xdp, p, flow, outcome, family))
		return XDP_PASS;
	hop = hop_back(xdp, p, flow);
	opaque(xdp); /* the context is read at fixed offsets only */
	if (unlikely(!hop || !rewrite_frame((struct cursor)CURSOR(xdp), p, flow, hop, family))) {
		if (outcome != FLOW_PLAIN)
			take_back_count(p, flow);
		return XDP_PASS;
	}
	if (unlikely(outcome != FLOW_PLAIN))
		goto out;
	if (!head)
		head = flow_head_at(flow->set, flow->way, family);
	if (head) {
		head->packets++;
		head->bytes += p->length;
	}
out:
	return way == WAY_TRANSMIT ? XDP_TX : bpf_redirect(p->link, 0);
}

/* An XDP action, or -reason. */
static __always_inline int handle(struct xdp_md *xdp, struct packet *p, struct flow_copy *flow,
				  enum way_back way)
{
	struct cursor c = CURSOR(xdp);
	int result;
	__be16 kind;

	if (c.data + ETH_HLEN > c.end)
		return -REASON_SHORT;
	kind = frame_kind(c.data);
	if (kind != bpf_htons(ETH_P_IP) && kind != bpf_htons(ETH_P_IPV6))
		return XDP_PASS;
	if (likely(kind == bpf_htons(ETH_P_IP)) && likely(parse_plain4(c, p))) {
		result = check_wire_source(p, FAMILY_V4);
		if (unlikely(result))
			return result;
		return way ? go_back(xdp, p, flow, way, FAMILY_V4) : XDP_PASS;
	}
	if (kind == bpf_htons(ETH_P_IPV6) && likely(parse_plain6(c, p))) {
		result = check_wire_source(p, FAMILY_V6);
		if (unlikely(result))
			return result;
		return way ? go_back(xdp, p, flow, way, FAMILY_V6) : XDP_PASS;
	}
	result = check_any(xdp, p);
	return result ? result : XDP_PASS;
}

static __always_inline __u32 xdp_length(struct xdp_md *xdp)
{
	return bpf_xdp_get_buff_len(xdp);
}

static __always_inline int run(struct xdp_md *xdp, enum way_back way, const bool captures)
{
	struct packet p = {.length = xdp->data_end - xdp->data,
			   .link = xdp->ingress_ifindex,
			   .hook = DROP_FROM_WIRE};
	struct flow_copy flow;
	int result;

	if (captures)
		capture_came(xdp, xdp->ingress_ifindex, xdp_length(xdp), DROP_FROM_WIRE,
			     CAPTURE_XDP);
	p.tuple.zone = ZONE_WIRE;
	result = handle(xdp, &p, &flow, way);
	if (likely(result >= 0)) {
		/* What is passed TC has next, and tells. */
		if (captures && result != XDP_PASS)
			capture_left(xdp, &p, xdp_length(xdp), result,
				     CAPTURE_OUTCOME(VERDICT_ALLOW, REASON_NONE));
		return result;
	}
	drop_count(xdp->ingress_ifindex, &p, -result, VERDICT_DROP);
	if (captures)
		capture_left(xdp, &p, xdp_length(xdp), XDP_DROP,
			     CAPTURE_OUTCOME(VERDICT_DROP, -result));
	return XDP_DROP;
}

/* In a driver they are loaded for frames in several buffers (BPF_F_XDP_HAS_FRAGS), so that the link
 * may have a larger MTU than a page. The headers are in the first one. */
SEC("xdp")
int wire_xdp(struct xdp_md *xdp)
{
	return run(xdp, WAY_TRANSMIT, false);
}

/* For a veth device. */
SEC("xdp")
int wire_xdp_veth(struct xdp_md *xdp)
{
	return run(xdp, WAY_REDIRECT, false);
}

/* For a link that cannot send from XDP. */
SEC("xdp")
int wire_xdp_check(struct xdp_md *xdp)
{
	return run(xdp, WAY_NONE, false);
}

/* The same while somebody captures: capture.h. */
SEC("xdp")
int wire_xdp_capture(struct xdp_md *xdp)
{
	return run(xdp, WAY_TRANSMIT, true);
}

SEC("xdp")
int wire_xdp_veth_capture(struct xdp_md *xdp)
{
	return run(xdp, WAY_REDIRECT, true);
}

SEC("xdp")
int wire_xdp_check_capture(struct xdp_md *xdp)
{
	return run(xdp, WAY_NONE, true);
}
