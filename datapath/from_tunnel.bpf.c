// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * TC, the tunnel's device, ingress: what other nodes send, taken out of its outer headers. Who sent
 * it is known by the outer source; inside nothing else is believed. See docs/architecture.md, "Pod
 * to a pod of another node".
 */
#include "context_tc.h"
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

/* Not of a known flow. 1: for a pod of this node, to be evaluated; TC_ACT_OK: for the node itself;
 * or -reason. */
__noinline int for_this_node(struct packet *p)
{
	const struct address_entry *entry;
	struct polder_addr to;

	if (!p)
		return -REASON_INTERNAL;
	to = tuple_daddr(&p->tuple, p->family);
	entry = address_find(&to);
	if (!entry || !(entry->flags & ADDRESS_LOCAL))
		return -REASON_TUNNEL_DESTINATION;
	if (entry->flags & ADDRESS_POD)
		return 1;
	return entry->flags & ADDRESS_NODE ? to_this_node(p) : -REASON_UNKNOWN_POD;
}

/* What the flow look-up does not find belongs to the node's stack only if it is for the node. */
static __always_inline int unless_for_node(struct packet *p, int reason)
{
	int result = for_this_node(p);

	return result > 0 ? reason : result;
}

static __always_inline int follow_inner(struct __sk_buff *skb, struct packet *p,
					struct flow_copy *flow, __u8 family)
{
	struct flow_head *head;
	int result, outcome;

	if (unlikely(p->flags & PACKET_LATER_FRAGMENT)) {
		result = fragment_complete(p);
		if (result)
			return unless_for_node(p, result);
	}
	if (unlikely(p->flags & PACKET_ICMP_ERROR)) {
		result = follow_icmp_error(skb, p, flow, ZONE_TUNNEL, family);
		if (result != -REASON_ICMP_NO_FLOW && result != -REASON_SHORT)
			return result;
		return unless_for_node(p, result);
	}
	outcome = flow_of(p, flow, &head, family);
	if (unlikely(outcome == FLOW_ABSENT)) {
		result = for_this_node(p);
		if (result <= 0)
			return result;
	}
	return fragment_follow(skb, p,
			       follow_entry(skb, p, outcome, flow, head, ZONE_TUNNEL, family));
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

SEC("tc")
int from_tunnel(struct __sk_buff *skb)
{
	struct packet p = {.length = skb->len, .link = skb->ifindex, .hook = DROP_FROM_TUNNEL};
	struct flow_copy flow;
	int result;

	p.tuple.zone = ZONE_TUNNEL;
	result = handle(skb, &p, &flow);
	/* The frame's address is that of no device, and says nothing: the stack would take it for
	 * another's. */
	if (unlikely(result == TC_ACT_OK))
		bpf_skb_change_type(skb, 0 /* PACKET_HOST */);
	if (likely(result >= 0))
		return result;
	return refuse(skb, &p, -result);
}
