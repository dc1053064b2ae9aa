// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * TC, the tunnel's device, ingress: what other nodes send, taken out of its outer headers. Who sent
 * it is known by the outer source; inside nothing else is believed. See docs/architecture.md, "Pod
 * to a pod of another node".
 */
#include "context_tc.h"
#include "capture_tc.h"
#include "fragment.h"
#include "icmp_error.h"
#include "parse.h"
#include "source.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* To this node itself: left to the stack, if it is from who it says. TC_ACT_OK or -reason. */
static __always_inline int to_this_node(const struct packet *p)
{
	struct polder_addr source = tuple_saddr(&p->tuple, p->family);
	const struct address_entry *from = address_find(&source);
	__u32 flags = 0, behind = 0;
	int result;

	if (from) {
		flags = from->flags;
		behind = from->peer;
	}
	barrier();
	result = peer_sends(p->tuple.peer, &source, flags, behind);
	return result ? result : TC_ACT_OK;
}

/* Is the source none that the cluster has? */
static __always_inline bool is_from_outside(const struct packet *p)
{
	struct polder_addr source = tuple_saddr(&p->tuple, p->family);
	const struct address_entry *from = address_find(&source);

	return !from ||
	       !(from->flags & (ADDRESS_POD | ADDRESS_POD_RANGE | ADDRESS_NODE | ADDRESS_LOCAL));
}

#define FOR_A_CLIENT 2

/*
 * For no address of this node: a packet of a client outside that another node has handed on to an
 * endpoint of this one (DSR). `flags`: of the destination's address. FOR_A_CLIENT or -reason.
 */
static __always_inline int handed_on(const struct packet *p, const struct polder_addr *to,
				     __u32 flags)
{
	const struct service_entry *service = NULL;

	if (has_service_ports(p->tuple.proto) && !(flags & (ADDRESS_POD | ADDRESS_POD_RANGE)))
		service = frontend_find(to, p->tuple.dport_be, p->tuple.proto, flags, true);
	if (!service || !(service->flags & SERVICE_DSR))
		return -REASON_TUNNEL_DESTINATION;
	return is_from_outside(p) ? FOR_A_CLIENT : -REASON_PEER_SOURCE;
}

/* Not of a known flow. 1: for a pod of this node or a Service, to be evaluated; FOR_A_CLIENT;
 * TC_ACT_OK: for the node itself; or -reason. */
__noinline int for_this_node(packet_context *ctx, struct packet *p)
{
	const struct address_entry *entry;
	struct polder_addr to;
	__u32 flags = 0;
	int result;

	if (!p)
		return -REASON_INTERNAL;
	to = tuple_daddr(&p->tuple, p->family);
	entry = address_find(&to);
	if (entry)
		flags = entry->flags;
	barrier();
	if (!(flags & ADDRESS_LOCAL))
		return handed_on(p, &to, flags);
	if (flags & ADDRESS_POD)
		return 1;
	if (!(flags & ADDRESS_NODE))
		return -REASON_UNKNOWN_POD;
	result = to_this_node(p);
	return result ? result : frontend_from_outside(ctx, p, &to, flags);
}

/* An error about what this node has answered a client by itself comes by the node that handed on
 * the client's packets: it is for a Service's address. 1: yes. */
__noinline int error_handed_on(struct packet *p)
{
	const struct address_entry *entry;
	struct polder_addr to;
	__u32 flags = 0;

	if (!p)
		return 0;
	to = tuple_daddr(&p->tuple, p->family);
	entry = address_find(&to);
	if (entry)
		flags = entry->flags;
	barrier();
	if (flags & ADDRESS_LOCAL || !is_from_outside(p))
		return 0;
	return flags & ADDRESS_NODE_PORTS || service_has_address(&to);
}

/* A client's packets have one flow, whichever way they come. */
static __always_inline void as_from_wire(struct packet *p)
{
	p->tuple.zone = ZONE_WIRE;
	p->tuple.peer = 0;
}

/* The flow of a client's packet that was handed on. enum flow_outcome or -reason. */
__noinline int client_flow(struct packet *p, struct flow_copy *flow)
{
	const struct control *control = control_get();
	int outcome;

	if (!p || !flow || !control)
		return -REASON_INTERNAL;
	outcome =
		flow_lookup(&p->tuple, tuple_hash(&p->tuple, p->family, control), flow, p->family);
	if (outcome == FLOW_ABSENT && p->tuple.proto == IPPROTO_TCP && !is_syn(p))
		return -REASON_SERVICE_NO_FLOW;
	p->frontend = 1;
	return outcome;
}

/* What the flow look-up does not find belongs to the node's stack only if it is for the node. */
static __always_inline int unless_for_node(packet_context *ctx, struct packet *p, int reason)
{
	int result = for_this_node(ctx, p);

	return result > 0 ? reason : result;
}

static __always_inline int follow_inner(struct __sk_buff *skb, struct packet *p,
					struct flow_copy *flow, __u8 family)
{
	__u16 peer = p->tuple.peer;
	struct flow_head *head;
	int result, outcome;

	if (unlikely(p->flags & PACKET_LATER_FRAGMENT)) {
		result = fragment_complete(p);
		if (result)
			return unless_for_node(skb, p, result);
	}
	if (unlikely(p->flags & PACKET_ICMP_ERROR)) {
		if (error_handed_on(p))
			as_from_wire(p);
		result = follow_icmp_error(skb, p, flow, ZONE_TUNNEL, family);
		if (result != -REASON_ICMP_NO_FLOW && result != -REASON_SHORT)
			return result;
		return unless_for_node(skb, p, result);
	}
	outcome = flow_of(p, flow, &head, family);
	if (unlikely(outcome == FLOW_FOUND))
		outcome = follow_alive(p, flow);
	if (unlikely(outcome == FLOW_ABSENT)) {
		result = for_this_node(skb, p);
		if (result <= 0)
			return result;
		if (result == FOR_A_CLIENT) {
			as_from_wire(p);
			outcome = client_flow(p, flow);
			if (outcome < 0)
				return outcome;
		}
	}
	result = follow_entry(skb, p, outcome, flow, head, ZONE_TUNNEL, family);
	if (result >= 0 && p->flags & PACKET_FIRST_FRAGMENT) { /* by which the later ones ask */
		p->tuple.zone = ZONE_TUNNEL;
		p->tuple.peer = peer;
	}
	return fragment_follow(skb, p, result);
}

/* Nothing that has to do with a link crosses the tunnel. */
static __always_inline int check_inner(struct __sk_buff *skb, struct packet *p, __u8 family)
{
	int result = check_wire_source(p, family);

	if (unlikely(result))
		return result;
	if (family == FAMILY_V4) {
		if (is_multicast4(p->tuple.v4.daddr_be) || !p->tuple.v4.daddr_be)
			return -REASON_MULTICAST;
		if (unlikely(is_router_message4(p)))
			return -REASON_ROUTER_MESSAGE;
		return unlikely(p->flags & PACKET_IP_OPTIONS) ? ipv4_options_check(skb, p) : 0;
	}
	if (is_multicast6(p->tuple.v6.daddr_be) || is_link_local6(p->tuple.v6.daddr_be) ||
	    is_zero6(p->tuple.v6.daddr_be))
		return -REASON_MULTICAST;
	return unlikely(p->flags & PACKET_ND) ? -REASON_ND_OTHER : 0;
}

static __always_inline int follow(struct __sk_buff *skb, struct packet *p, struct flow_copy *flow,
				  __u8 family)
{
	int result = check_inner(skb, p, family);

	return unlikely(result) ? result : follow_inner(skb, p, flow, family);
}

/* The sender is part of the packet's flow: one node's pods never meet another's flows. The parser
 * writes the word of the tuple that it stands in. */
static __always_inline int handle(struct __sk_buff *skb, struct packet *p, struct flow_copy *flow)
{
	__u32 peer = tunnel_key_peer(skb, 0);
	struct cursor c = CURSOR(skb);
	__be16 kind;
	int result;

	if (c.data + ETH_HLEN > c.end)
		return -REASON_SHORT;
	kind = frame_kind(c.data);
	if (unlikely((kind != bpf_htons(ETH_P_IP) && kind != bpf_htons(ETH_P_IPV6)) ||
		     skb->vlan_present))
		return peer ? -REASON_L2_UNKNOWN : -REASON_TUNNEL_PEER;
	result = kind == bpf_htons(ETH_P_IP) ? parse(skb, p, c, FAMILY_V4)
					     : parse(skb, p, c, FAMILY_V6);
	if (unlikely(!peer))
		return -REASON_TUNNEL_PEER;
	p->tuple.peer = peer;
	if (unlikely(result))
		return result;
	return kind == bpf_htons(ETH_P_IP) ? follow(skb, p, flow, FAMILY_V4)
					   : follow(skb, p, flow, FAMILY_V6);
}

static __always_inline int run(struct __sk_buff *skb, const bool captures)
{
	struct packet p = {.length = skb->len, .link = skb->ifindex, .hook = DROP_FROM_TUNNEL};
	struct flow_copy flow;
	int result;

	capture_begin(skb, DROP_FROM_TUNNEL, 0, captures);
	p.tuple.zone = ZONE_TUNNEL;
	result = handle(skb, &p, &flow);
	/* The frame's address is that of no device, and says nothing: the stack would take it for
	 * another's. */
	if (unlikely(result == TC_ACT_OK))
		bpf_skb_change_type(skb, 0 /* PACKET_HOST */);
	if (likely(result >= 0))
		return capture_passed(skb, &p, result, captures);
	return capture_refused(skb, &p, refuse(skb, &p, -result), -result, captures);
}

SEC("tc")
int from_tunnel(struct __sk_buff *skb)
{
	return run(skb, false);
}

/* While somebody captures: capture.h. */
SEC("tc")
int from_tunnel_capture(struct __sk_buff *skb)
{
	return run(skb, true);
}
