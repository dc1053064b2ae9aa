// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* XDP, uplink: what can never be right is dropped before the kernel makes a socket buffer of it. */
#include "event.h"
#include "source_wire.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

static __always_inline int handle(struct xdp_md *xdp, struct packet *p)
{
	struct cursor c = CURSOR(xdp);
	struct ethhdr *eth = c.data;
	int result;

	if ((void *)(eth + 1) > c.end)
		return -REASON_SHORT;
	switch (eth->h_proto) {
	case bpf_htons(ETH_P_IP):
		result = parse_ipv4(c, p);
		return result ? result : check_wire_source(p);
	case bpf_htons(ETH_P_IPV6):
		result = parse_ipv6(c, p);
		return result ? result : check_wire_source(p);
	default:
		return 0;
	}
}

SEC("xdp")
int wire_xdp(struct xdp_md *xdp)
{
	struct packet p = {.length = xdp->data_end - xdp->data, .direction = DROP_FROM_WIRE};
	int result;

	p.tuple.zone = ZONE_WIRE;
	result = handle(xdp, &p);
	if (likely(!result))
		return XDP_PASS;
	drop_count(xdp->ingress_ifindex, &p, -result, VERDICT_DROP);
	return XDP_DROP;
}
