// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * TC, host side of a pod's link, egress: what the node's own stack sends to the pod. Packets of other pods and of the wire
 * do not come by here: they are redirected into the pod's namespace.
 */
#include "fragment.h"
#include "icmp_error.h"
#include "source.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

static __always_inline int follow(struct __sk_buff *skb, struct packet *p, struct flow_copy *flow, __u8 family)
{
	int result;

	/* What came in by a link that is no pod's is as little to be believed as what comes by an uplink. */
	if (p->tuple.zone == ZONE_WIRE && !pod_of_link(skb->ingress_ifindex))
		result = check_wire_source(p);
	else
		result = check_addresses(p);
	if (result)
		return result;
	if (unlikely(p->flags & (PACKET_FIRST_FRAGMENT | PACKET_LATER_FRAGMENT))) {
		result = fragment_track(p);
		if (result)
			return result;
	}
	if (unlikely(p->flags & PACKET_ICMP_ERROR))
		return follow_icmp_error(skb, p, flow, ZONE_HOST, family);
	return follow_flow(skb, p, flow, ZONE_HOST, family);
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
	switch (eth->h_proto) {
	case bpf_htons(ETH_P_IP):
		result = parse_ipv4(c, p);
		return result ? result : follow(skb, p, flow, FAMILY_V4);
	case bpf_htons(ETH_P_IPV6):
		result = parse_ipv6(c, p);
		if (result)
			return result;
		/* Neighbour discovery is between the node itself and the pod; the stack never forwards it. */
		if (p->flags & PACKET_ND)
			return p->tuple.zone == ZONE_HOST ? TC_ACT_OK : -REASON_ND_OTHER;
		return follow(skb, p, flow, FAMILY_V6);
	case bpf_htons(ETH_P_ARP):
		return TC_ACT_OK;
	default:
		return -REASON_L2_UNKNOWN;
	}
}

SEC("tc")
int to_pod(struct __sk_buff *skb)
{
	struct packet p = {.length = skb->len, .direction = DROP_TO_POD};
	struct flow_copy flow;
	int result;

	p.tuple.zone = ZONE_HOST;
	headers_pull(skb);
	result = handle(skb, &p, &flow);
	if (result >= 0)
		return result;
	drop_count(skb->ifindex, &p, -result, VERDICT_DROP);
	return TC_ACT_SHOT;
}
