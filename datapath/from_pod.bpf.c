// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* TC, host side of a pod's link, ingress: every packet that a pod sends. */
#include "context_tc.h"
#include "capture_tc.h"
#include "fragment.h"
#include "icmp_error.h"
#include "parse.h"
#include "source.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Of a later fragment, and of IP options, before the flow is looked up. 0 or -reason. */
static __always_inline int follow_rare(struct __sk_buff *skb, struct packet *p, __u8 family)
{
	int result = p->flags & PACKET_LATER_FRAGMENT ? fragment_complete(p) : 0;

	if (!result && family == FAMILY_V4 && p->flags & PACKET_IP_OPTIONS)
		result = ipv4_options_check(skb, p);
	return result;
}

static __always_inline int follow(struct __sk_buff *skb, struct packet *p, struct flow_copy *flow,
				  const struct pod_entry *pod, __u8 family)
{
	int result;

	if (family == FAMILY_V6 && unlikely(p->flags & PACKET_ND))
		return answer_nd(skb, p, pod);
	result = check_pod_source(p, pod, family);
	if (unlikely(result))
		return result;
	if (unlikely(p->flags & (PACKET_LATER_FRAGMENT | PACKET_IP_OPTIONS | PACKET_ICMP_ERROR))) {
		result = follow_rare(skb, p, family);
		if (result)
			return result;
		if (p->flags & PACKET_ICMP_ERROR) {
			result = follow_icmp_error(skb, p, flow, ZONE_POD, family);
			goto marked;
		}
	}
	result = fragment_follow(skb, p, follow_flow(skb, p, flow, ZONE_POD, family));
marked:
	/* The node's stack forwards nothing from a pod but what was evaluated here. */
	if (result == TC_ACT_OK)
		skb->mark |= config.stack_mark;
	return result;
}

static __always_inline int handle(struct __sk_buff *skb, struct packet *p, struct flow_copy *flow)
{
	struct cursor c = CURSOR(skb);
	const struct pod_entry *pod;
	struct ethhdr *eth = c.data;
	__be16 kind;
	int result;

	if ((void *)(eth + 1) > c.end)
		return -REASON_SHORT;
	pod = pod_of_link(skb->ifindex);
	if (unlikely(!pod))
		return -REASON_NOT_A_POD;
	if (unlikely(!mac_equal(eth->h_source, pod->mac)))
		return -REASON_SOURCE_MAC;
	/* A priority tag (VLAN 0) as well: pods have no use for one, and it would leave on the wire
	 * as it came. */
	if (unlikely(skb->vlan_present))
		return -REASON_L2_UNKNOWN;
	kind = frame_kind(eth);
	if (likely(kind == bpf_htons(ETH_P_IP))) {
		result = parse(skb, p, c, FAMILY_V4);
		return unlikely(result) ? result : follow(skb, p, flow, pod, FAMILY_V4);
	}
	if (likely(kind == bpf_htons(ETH_P_IPV6))) {
		result = parse(skb, p, c, FAMILY_V6);
		return unlikely(result) ? result : follow(skb, p, flow, pod, FAMILY_V6);
	}
	return kind == bpf_htons(ETH_P_ARP) ? answer_arp(skb, pod) : -REASON_L2_UNKNOWN;
}

static __always_inline int run(struct __sk_buff *skb, const bool captures)
{
	struct packet p = {.length = skb->len, .link = skb->ifindex, .hook = DROP_FROM_POD};
	struct flow_copy flow;
	int result;

	capture_begin(skb, DROP_FROM_POD, 0, captures);
	p.tuple.zone = ZONE_POD;
	result = handle(skb, &p, &flow);
	if (likely(result >= 0))
		return capture_passed(skb, &p, result, captures);
	return capture_refused(skb, &p, refuse(skb, &p, -result), -result, captures);
}

SEC("tc")
int from_pod(struct __sk_buff *skb)
{
	return run(skb, false);
}

/* While somebody captures: capture.h. */
SEC("tc")
int from_pod_capture(struct __sk_buff *skb)
{
	return run(skb, true);
}
