// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* XDP, uplink: what can never be right is dropped before the kernel makes a socket buffer of it. */
#include "event.h"
#include "source_wire.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Global: verified once. */
__noinline int parse_xdp(struct xdp_md *xdp, struct packet *p)
{
	struct cursor c = CURSOR(xdp);

	if (!p || c.data + ETH_HLEN > c.end)
		return -REASON_SHORT;
	if (frame_kind(c.data) == bpf_htons(ETH_P_IP))
		return parse_ipv4(c, p);
	return parse_ipv6(c, p);
}

static __always_inline int handle(struct xdp_md *xdp, struct packet *p)
{
	struct cursor c = CURSOR(xdp);
	struct ethhdr *eth = c.data;
	int result;

	if ((void *)(eth + 1) > c.end)
		return -REASON_SHORT;
	if (eth->h_proto != bpf_htons(ETH_P_IP) && eth->h_proto != bpf_htons(ETH_P_IPV6))
		return 0;
	result = parse_xdp(xdp, p);
	if (unlikely(result == -REASON_SHORT) && p->length < bpf_xdp_get_buff_len(xdp)) {
		p->length = bpf_xdp_get_buff_len(xdp);
		p->flags = 0;
		result = parse_xdp(xdp, p);
	}
	/* A routing header that leads elsewhere may be meant for the node's own stack: the TC
	 * program knows. */
	return result && result != -REASON_IP_OPTIONS ? result : check_wire_source(p, p->family);
}

/* In a driver it is loaded for frames in several buffers (BPF_F_XDP_HAS_FRAGS), so that the link
 * may have a larger MTU than a page. The headers are in the first one. */
SEC("xdp")
int wire_xdp(struct xdp_md *xdp)
{
	struct packet p = {.length = xdp->data_end - xdp->data, .hook = DROP_FROM_WIRE};
	int result;

	p.tuple.zone = ZONE_WIRE;
	result = handle(xdp, &p);
	if (likely(!result))
		return XDP_PASS;
	drop_count(xdp->ingress_ifindex, &p, -result, VERDICT_DROP);
	return XDP_DROP;
}
