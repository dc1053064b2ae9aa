// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * TC, host side of a pod's link, egress: what the node's own stack sends to the pod. Packets of
 * other pods and of the wire do not come by here: they are redirected into the pod's namespace.
 */
#include "context_tc.h"
#include "capture_tc.h"
#include "fragment.h"
#include "icmp_error.h"
#include "parse.h"
#include "source.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/*
 * The flow of a packet to the pod. What the node's stack forwards may be the answer to what the pod
 * sent to the node, if the node translates that: it is the reply of a flow with the node.
 */
static __always_inline int flow_to_pod(struct packet *p, struct flow_copy *flow,
				       struct flow_head **ret_head, __u8 family)
{
	int outcome = flow_of(p, flow, ret_head, family);

	if (likely(outcome != FLOW_ABSENT || p->tuple.zone != ZONE_WIRE))
		return outcome;
	p->tuple.zone = ZONE_HOST;
	outcome = flow_of(p, flow, ret_head, family);
	if (outcome == FLOW_BUSY || (outcome != FLOW_ABSENT && flow->state & FLOW_REPLY))
		return outcome;
	p->tuple.zone = ZONE_WIRE;
	return FLOW_ABSENT;
}

static __always_inline int follow(struct __sk_buff *skb, struct packet *p, struct flow_copy *flow,
				  __u8 family)
{
	__u8 zone = p->tuple.zone;
	struct flow_head *head;
	int result;

	result = check_addresses(p, family);
	/* What came in by a link that is no pod's has no pod's address. The node's own it may have:
	 * the node may translate. */
	if (!result && p->tuple.zone == ZONE_WIRE && source_is_own_pod(p, family) &&
	    !pod_of_link(p->link))
		result = -REASON_MARTIAN;
	if (result)
		return result;
	if (family == FAMILY_V4 && unlikely(is_router_message4(p)))
		return -REASON_ROUTER_MESSAGE;
	if (unlikely(p->flags & PACKET_LATER_FRAGMENT)) {
		result = fragment_complete(p);
		if (result)
			return result;
	}
	if (unlikely(p->flags & PACKET_ICMP_ERROR))
		return follow_icmp_error(skb, p, flow, ZONE_HOST, family);
	result = flow_to_pod(p, flow, &head, family);
	result = follow_entry(skb, p, result, flow, head, ZONE_HOST, family);
	p->tuple.zone = zone; /* by which the later fragments ask */
	return fragment_follow(skb, p, result);
}

static __always_inline int handle(struct __sk_buff *skb, struct packet *p, struct flow_copy *flow)
{
	struct cursor c = CURSOR(skb);
	struct ethhdr *eth = c.data;
	int result;

	if ((void *)(eth + 1) > c.end)
		return -REASON_SHORT;
	/* What the stack forwards has come in by a link; what it made itself has not. */
	if (skb->ingress_ifindex)
		p->tuple.zone = ZONE_WIRE;
	switch (frame_kind(eth)) {
	case bpf_htons(ETH_P_IP):
		result = parse(skb, p, c, FAMILY_V4);
		return result ? result : follow(skb, p, flow, FAMILY_V4);
	case bpf_htons(ETH_P_IPV6):
		result = parse(skb, p, c, FAMILY_V6);
		if (result)
			return result;
		/* Neighbour discovery is between the node itself and the pod; the stack never
		 * forwards it. */
		if (p->flags & PACKET_ND && is_router_message6(p))
			return -REASON_ROUTER_MESSAGE;
		if (p->flags & PACKET_ND)
			return p->tuple.zone == ZONE_HOST ? TC_ACT_OK : -REASON_ND_OTHER;
		return follow(skb, p, flow, FAMILY_V6);
	case bpf_htons(ETH_P_ARP):
		return TC_ACT_OK;
	default:
		return -REASON_L2_UNKNOWN;
	}
}

/* What Polder itself sends by the link's queue has had its verdict. */
static __always_inline bool is_limited(struct __sk_buff *skb)
{
	if (skb->mark != POD_LIMITED_MARK || !skb->ingress_ifindex)
		return false;
	skb->mark = 0;
	return true;
}

static __always_inline int run(struct __sk_buff *skb, const bool captures)
{
	struct packet p = {.length = skb->len, .link = skb->ingress_ifindex, .hook = DROP_TO_POD};
	struct flow_copy flow;
	int result;

	if (unlikely(is_limited(skb)))
		return capture_told(skb, &p, DROP_TO_POD, captures);
	capture_begin(skb, DROP_TO_POD, 0, captures);
	p.tuple.zone = ZONE_HOST;
	result = handle(skb, &p, &flow);
	if (result >= 0)
		return capture_passed(skb, &p, result, captures);
	drop_count(skb->ifindex, &p, -result, VERDICT_DROP);
	return capture_refused(skb, &p, TC_ACT_SHOT, -result, captures);
}

SEC("tc")
int to_pod(struct __sk_buff *skb)
{
	return run(skb, false);
}

/* While somebody captures: capture.h. */
SEC("tc")
int to_pod_capture(struct __sk_buff *skb)
{
	return run(skb, true);
}
