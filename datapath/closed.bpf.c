// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * TC, both directions of a pod's host-side link, behind from_pod and to_pod, and of the tunnel's
 * device, behind from_tunnel and to_tunnel. Their verdicts end the link's list of programs, so
 * these run only when somebody took those away: nothing passes until the agent has put them back.
 */
#include "event.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

static __always_inline int drop(struct __sk_buff *skb, __u8 hook)
{
	struct packet p = {.length = skb->len, .hook = hook};
	struct cursor c = CURSOR(skb);
	struct ethhdr *eth = c.data;

	/* For who listens: what it was, as far as it can be read. */
	if ((void *)(eth + 1) <= c.end) {
		if (eth->h_proto == bpf_htons(ETH_P_IP))
			parse_ipv4(c, &p);
		else if (eth->h_proto == bpf_htons(ETH_P_IPV6))
			parse_ipv6(c, &p);
	}
	drop_count(skb->ifindex, &p, REASON_NO_PROGRAM, VERDICT_DROP);
	return TC_ACT_SHOT;
}

SEC("tc")
int closed_from_pod(struct __sk_buff *skb)
{
	return drop(skb, DROP_FROM_POD);
}

SEC("tc")
int closed_to_pod(struct __sk_buff *skb)
{
	return drop(skb, DROP_TO_POD);
}

SEC("tc")
int closed_from_tunnel(struct __sk_buff *skb)
{
	return drop(skb, DROP_FROM_TUNNEL);
}

SEC("tc")
int closed_to_tunnel(struct __sk_buff *skb)
{
	return drop(skb, DROP_TO_TUNNEL);
}
