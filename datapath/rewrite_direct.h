/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A flow's translation by direct writes, which TC and XDP share: ports and sums of TCP and UDP. */
#pragma once

#include "flow.h"

/* Frames up to this size are no GSO packets, or such as carry their sum like others. */
#define WHOLE_FRAME_MAX (ETH_HLEN + 1500)

/*
 * Is the transport's checksum in the packet complete? One that is left to a device holds the sum of
 * the pseudo header instead (CHECKSUM_PARTIAL), and only the helpers can tell the two apart where
 * it happens to look like that.
 */
static __always_inline bool check_is_whole(const struct packet *p, __u16 check, __u8 family)
{
	__u64 sum = bpf_htons(p->tuple.proto) + bpf_htons(p->ip_length + ETH_HLEN - p->l4) +
		    (__u64)(__u16)~check;
	int i;

	if (family == FAMILY_V4)
		sum += (__u64)p->tuple.v4.saddr_be + p->tuple.v4.daddr_be;
	else
		for (i = 0; i < 4; i++)
			sum += (__u64)p->tuple.v6.saddr_be[i] + p->tuple.v6.daddr_be[i];
	return !csum_is_ones(sum);
}

/*
 * Ports and checksum of TCP and UDP by direct writes, where the transport header stands in its
 * usual place and its sum is complete: two calls less. What will be segmented has another sum.
 * False: nothing was written.
 */
static __always_inline bool rewrite_transport_direct(struct cursor c, const struct packet *p,
						     const struct flow_copy *f, bool segmented,
						     __u8 family)
{
	const __u32 l4 = ETH_HLEN + (family == FAMILY_V4 ? sizeof(struct ipv4_header)
							 : sizeof(struct ipv6_header));
	__be16 *ports = c.data + l4;
	__u16 *check, new;

	if (unlikely(p->l4 != l4 || p->length > WHOLE_FRAME_MAX || segmented))
		return false;
	if (p->tuple.proto == IPPROTO_TCP) {
		check = c.data + l4 + 16;
	} else if (p->tuple.proto == IPPROTO_UDP) {
		check = c.data + l4 + 6;
	} else {
		return false;
	}
	if ((void *)(check + 1) > c.end || !check_is_whole(p, *check, family))
		return false;
	if (*check || p->tuple.proto == IPPROTO_TCP) {
		new = ~csum_fold32((__u16) ~*check + f->addr_diff + f->port_diff);
		*check = new || p->tuple.proto == IPPROTO_TCP
				 ? new
				 : 0xffff; /* UDP: 0 means none (RFC 768) */
	}
	ports[0] = f->new_sport_be;
	ports[1] = f->new_dport_be;
	return true;
}

/* Are there ports to be rewritten? */
static __always_inline bool ports_rewritten(const struct packet *p)
{
	return (p->flags & (PACKET_HAS_PORTS | PACKET_LATER_FRAGMENT)) == PACKET_HAS_PORTS;
}
