// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* TC, uplink, ingress: what comes from outside, for pods or for the node's own stack. */
#include "context_tc.h"
#include "capture_tc.h"
#include "announce.h"
#include "fragment.h"
#include "icmp_error.h"
#include "parse.h"
#include "source.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

static __always_inline int follow_wire(struct __sk_buff *skb, struct packet *p,
				       struct flow_copy *flow, __u8 family)
{
	struct flow_head *head;
	int result, outcome;

	if (is_tunnelled(p) && to_node(p, family))
		return TC_ACT_OK;
	if (family == FAMILY_V4 && unlikely(is_router_message4(p))) {
		result = for_a_pod(skb, p);
		/* Nobody is told about such a message. */
		if (result > 0 || result == -REASON_NO_SERVICE_PORT)
			return -REASON_ROUTER_MESSAGE;
		return result ? result : TC_ACT_OK;
	}
	if (unlikely(p->flags & PACKET_LATER_FRAGMENT)) {
		result = fragment_complete(p);
		if (result)
			return for_a_pod(skb, p) ? result : TC_ACT_OK;
	}
	if (unlikely(p->flags & PACKET_ICMP_ERROR)) {
		result = follow_icmp_error(skb, p, flow, ZONE_WIRE, family);
		if (result != -REASON_ICMP_NO_FLOW && result != -REASON_SHORT)
			return result;
		return for_a_pod(skb, p) ? result : TC_ACT_OK;
	}
	outcome = flow_of(p, flow, &head, family);
	if (unlikely(outcome == FLOW_FOUND))
		outcome = follow_alive(p, flow);
	if (unlikely(outcome == FLOW_ABSENT)) {
		result = for_a_pod(skb, p);
		if (result <= 0)
			return result ? result : TC_ACT_OK;
	}
	return fragment_follow(skb, p,
			       follow_entry(skb, p, outcome, flow, head, ZONE_WIRE, family));
}

static __always_inline int follow(struct __sk_buff *skb, struct packet *p, struct flow_copy *flow,
				  __u8 family)
{
	int result = check_wire_source(p, family);

	if (unlikely(result))
		return result;
	if (family == FAMILY_V4 && (is_multicast4(p->tuple.v4.daddr_be) || !p->tuple.v4.daddr_be))
		return TC_ACT_OK;
	if (family == FAMILY_V6 && unlikely(p->flags & PACKET_ND))
		return answer_announced_nd(skb, p);
	if (family == FAMILY_V6 &&
	    (is_multicast6(p->tuple.v6.daddr_be) || is_link_local6(p->tuple.v6.daddr_be)))
		return TC_ACT_OK;
	if (family == FAMILY_V4 && unlikely(p->flags & PACKET_IP_OPTIONS)) {
		result = ipv4_options_check(skb, p);
		if (result)
			return result;
	}
	return follow_wire(skb, p, flow, family);
}

/* A routing header with segments left: what the node's own stack does with its own is its business
 * (SRv6). */
static __always_inline int routed_by_header(struct __sk_buff *skb, struct packet *p)
{
	int result = check_wire_source(p, FAMILY_V6);

	if (result)
		return result;
	return for_a_pod(skb, p) ? -REASON_IP_OPTIONS : TC_ACT_OK;
}

static __always_inline int handle(struct __sk_buff *skb, struct packet *p, struct flow_copy *flow)
{
	struct cursor c = CURSOR(skb);
	struct ethhdr *eth = c.data;
	__be16 kind;
	int result;

	if ((void *)(eth + 1) > c.end)
		return -REASON_SHORT;
	/* Another network. VLAN 0 is none: it carries a priority only, and the stack takes such a
	 * frame for an untagged one. */
	if (skb->vlan_present && skb->vlan_tci & VLAN_ID_MASK)
		return TC_ACT_OK;
	kind = frame_kind(eth);
	if (likely(kind == bpf_htons(ETH_P_IP))) {
		result = parse(skb, p, c, FAMILY_V4);
		return unlikely(result) ? result : follow(skb, p, flow, FAMILY_V4);
	}
	if (kind != bpf_htons(ETH_P_IPV6))
		return kind == bpf_htons(ETH_P_ARP) ? answer_announced_arp(skb) : TC_ACT_OK;
	result = parse(skb, p, c, FAMILY_V6);
	if (unlikely(result == -REASON_IP_OPTIONS))
		return routed_by_header(skb, p);
	return unlikely(result) ? result : follow(skb, p, flow, FAMILY_V6);
}

static __always_inline int run(struct __sk_buff *skb, const bool captures)
{
	struct packet p = {.length = skb->len, .link = skb->ifindex, .hook = DROP_FROM_WIRE};
	struct flow_copy flow;
	int result;

	capture_begin(skb, DROP_FROM_WIRE, 0, captures);
	p.tuple.zone = ZONE_WIRE;
	result = handle(skb, &p, &flow);
	if (likely(result >= 0))
		return capture_passed(skb, &p, result, captures);
	return capture_refused(skb, &p, refuse(skb, &p, -result), -result, captures);
}

SEC("tc")
int from_wire(struct __sk_buff *skb)
{
	return run(skb, false);
}

/* While somebody captures: capture.h. */
SEC("tc")
int from_wire_capture(struct __sk_buff *skb)
{
	return run(skb, true);
}
