/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * From a flow's entry back to the wire, in XDP: what came by the link and leaves by it. All that
 * takes a socket buffer is left to TC, which finds the packet as it came.
 */
#pragma once

#include "follow.h"
#include "rewrite_direct.h"

/*
 * The next hop, if a packet of the flow leaves by the link that it came in by; NULL: it is TC's, as
 * is one packet to each neighbour in each tick, by which the kernel sees that it is in use. A new
 * flow's way is asked for here.
 */
static __always_inline const struct next_hop *hop_back(struct xdp_md *xdp, struct packet *p,
						       struct flow_copy *f)
{
	const struct next_hop *hop;

	if (f->action != FLOW_TO_WIRE || p->ttl <= 1)
		return NULL;
	if (unlikely(!next_hop_is_known(f->hop)) &&
	    (next_hop_follow(xdp, p, f) || !next_hop_is_known(f->hop)))
		return NULL;
	hop = next_hop_at(f->hop);
	if (!hop || hop->ifindex != xdp->ingress_ifindex || p->length - ETH_HLEN > hop->mtu ||
	    hop->told != (__u16)now_ticks())
		return NULL;
	return hop;
}

/* RFC 1624 for the header's sum; the time to live is one less. */
static __always_inline void rewrite_header4(struct ipv4_header *ip, const struct flow_copy *f)
{
	__u32 sum = (__u16)~ip->check + (__u16)~bpf_htons(0x0100);

	ip->ttl--;
	if (f->state & FLOW_TRANSLATED) {
		ip->saddr_be = f->new_saddr_be[0];
		ip->daddr_be = f->new_daddr_be[0];
		sum += f->addr_diff;
	}
	ip->check = ~csum_fold32(sum);
}

static __always_inline void rewrite_header6(struct ipv6_header *ip, const struct flow_copy *f)
{
	__u64 *addrs = (void *)ip->saddr_be;

	ip->hops--;
	if (!(f->state & FLOW_TRANSLATED))
		return;
	addrs[0] = f->addr_words[0];
	addrs[1] = f->addr_words[1];
	addrs[2] = f->addr_words[2];
	addrs[3] = f->addr_words[3];
}

/* Is the transport's sum in the packet? What is sent from XDP is completed by nobody. */
static __always_inline bool frame_is_whole(struct cursor c, const struct packet *p, __u8 family)
{
	const __u32 l4 = ETH_HLEN + (family == FAMILY_V4 ? sizeof(struct ipv4_header)
							 : sizeof(struct ipv6_header));
	const __u16 *check = c.data + l4 + (p->tuple.proto == IPPROTO_TCP ? 16 : 6);

	return (const void *)(check + 1) <= c.end && check_is_whole(p, *check, family);
}

/* Writes the flow's translation, and the frame's new addresses. False: nothing was written, and the
 * packet is TC's. */
static __always_inline bool rewrite_frame(struct cursor c, const struct packet *p,
					  const struct flow_copy *f, const struct next_hop *hop,
					  __u8 family)
{
	const __u32 header =
		family == FAMILY_V4 ? sizeof(struct ipv4_header) : sizeof(struct ipv6_header);
	struct ethhdr *eth = c.data;

	if (c.data + ETH_HLEN + header > c.end)
		return false;
	/* First what may have to be left to the helpers: a sum that is for a device to complete. */
	if (!(f->state & FLOW_TRANSLATED ? rewrite_transport_direct(c, p, f, false, family)
					 : frame_is_whole(c, p, family)))
		return false;
	if (family == FAMILY_V4)
		rewrite_header4(c.data + ETH_HLEN, f);
	else
		rewrite_header6(c.data + ETH_HLEN, f);
	copy_mac(eth->h_dest, hop->mac);
	copy_mac(eth->h_source, hop->source_mac);
	return true;
}
