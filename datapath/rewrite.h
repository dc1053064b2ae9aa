/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A flow's translation applied to a packet: addresses, ports, TTL and the sums that cover them. */
#pragma once

#include "rewrite_direct.h"
#include "sctp.h"

/* No checksum that an address or a port changes. */
#define L4_CHECK_NONE 0xffff

static __always_inline __u32 l4_check_offset(const struct packet *p)
{
	switch (p->tuple.proto) {
	case IPPROTO_TCP:
		return p->l4 + 16;
	case IPPROTO_UDP:
		return p->l4 + 6;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return p->l4 + 2;
	default:
		return L4_CHECK_NONE;
	}
}

/*
 * SCTP's ports. Where the sum is left to a device the field holds nothing that counts, before and
 * afterwards. Of a fragment nobody knows how long the whole is. 0 or -reason.
 */
__noinline int rewrite_sctp(struct __sk_buff *skb, struct packet *p, struct flow_copy *f)
{
	__u32 before, after, check;

	if (!p || !f)
		return -REASON_INTERNAL;
	before = (__u32)p->tuple.dport_be << 16 | p->tuple.sport_be;
	after = (__u32)f->new_dport_be << 16 | f->new_sport_be;
	if (before == after)
		return 0;
	if (p->flags & (PACKET_FIRST_FRAGMENT | PACKET_LATER_FRAGMENT))
		return -REASON_NAT_PROTOCOL;
	if (bpf_skb_load_bytes(skb, p->l4 + SCTP_CHECK_OFFSET, &check, sizeof(check)))
		return -REASON_SHORT;
	check ^= sctp_check_difference(before ^ after, p->ip_length + ETH_HLEN - p->l4);
	return bpf_skb_store_bytes(skb, p->l4, &after, sizeof(after), BPF_F_RECOMPUTE_CSUM) ||
			       bpf_skb_store_bytes(skb, p->l4 + SCTP_CHECK_OFFSET, &check,
						   sizeof(check), BPF_F_RECOMPUTE_CSUM)
		       ? -REASON_REWRITE
		       : 0;
}

/* Ports and checksum by helpers, which know about offloads, and for ICMP's identifier. 0 or
 * -reason. */
__noinline int rewrite_transport(struct __sk_buff *skb, struct packet *p, struct flow_copy *f)
{
	__u64 flags;
	__be16 ports[2];
	__u32 check;

	if (!p || !f)
		return -REASON_INTERNAL;
	flags = p->tuple.proto == IPPROTO_UDP ? BPF_F_MARK_MANGLED_0 : 0;
	check = l4_check_offset(p);
	ports[0] = f->new_sport_be;
	ports[1] = f->new_dport_be;
	if (p->tuple.proto == IPPROTO_SCTP)
		return rewrite_sctp(skb, p, f);
	if (p->tuple.proto == IPPROTO_ICMP || p->tuple.proto == IPPROTO_ICMPV6) {
		if (bpf_skb_store_bytes(skb, p->l4 + 4, ports, 2, 0))
			return -REASON_REWRITE;
	} else if (bpf_skb_store_bytes(skb, p->l4, ports, 4, 0)) {
		return -REASON_REWRITE;
	}
	/* ICMP's sum does not cover the addresses. */
	if (p->tuple.proto != IPPROTO_ICMP &&
	    bpf_l4_csum_replace(skb, check, 0, f->addr_diff, BPF_F_PSEUDO_HDR | flags))
		return -REASON_REWRITE;
	if (f->port_diff && bpf_l4_csum_replace(skb, check, 0, f->port_diff, flags))
		return -REASON_REWRITE;
	return 0;
}

/* A sum over the frame that the hardware gave (CHECKSUM_COMPLETE) comes from the wire only, or
 * through the tunnel; the stack gives it up when it forwards. */
static __always_inline void frame_sum_update(struct __sk_buff *skb, __u8 zone, __u64 diff)
{
	if (zone == ZONE_WIRE || zone == ZONE_TUNNEL)
		bpf_csum_update(skb, csum_fold16(diff));
}

/* Addresses and TTL, then what the transport carries. 0 or -reason. `zone` and `family` are
 * constants of the caller. */
static __always_inline int rewrite4(struct __sk_buff *skb, struct cursor c, struct packet *p,
				    struct flow_copy *f, bool hop, __u8 zone)
{
	struct ipv4_header *ip = c.data + ETH_HLEN;
	__u32 sum = (__u16)~ip->check;

	if (hop) {
		ip->ttl--;
		sum += (__u16)~bpf_htons(0x0100);
	}
	if (!(f->state & FLOW_TRANSLATED)) {
		if (hop)
			ip->check = ~csum_fold32(sum);
		return 0;
	}
	ip->saddr_be = f->new_saddr_be[0];
	ip->daddr_be = f->new_daddr_be[0];
	ip->check = ~csum_fold32(sum + f->addr_diff);
	if (!ports_rewritten(p))
		return 0;
	if (likely(rewrite_transport_direct(c, p, f, skb->gso_size, FAMILY_V4))) {
		/* The header's own sum balances the header; the transport's has the addresses'
		 * difference as well. */
		frame_sum_update(skb, zone, (__u16)~f->addr_diff);
		return 0;
	}
	return rewrite_transport(skb, p, f);
}

static __always_inline int rewrite6(struct __sk_buff *skb, struct cursor c, struct packet *p,
				    struct flow_copy *f, bool hop, __u8 zone)
{
	struct ipv6_header *ip = c.data + ETH_HLEN;
	__u64 hop_diff = hop ? (__u16)~bpf_htons(1) : 0;
	__u64 *addrs = (void *)ip->saddr_be;

	if (hop)
		ip->hops--;
	if (!(f->state & FLOW_TRANSLATED)) {
		frame_sum_update(skb, zone, hop_diff);
		return 0;
	}
	addrs[0] = f->addr_words[0];
	addrs[1] = f->addr_words[1];
	addrs[2] = f->addr_words[2];
	addrs[3] = f->addr_words[3];
	if (ports_rewritten(p) &&
	    unlikely(!rewrite_transport_direct(c, p, f, skb->gso_size, FAMILY_V6))) {
		/* There is no header checksum to balance the addresses: the helper takes them off
		 * for the transport's. */
		bpf_csum_update(skb, csum_fold16(hop_diff + f->addr_diff));
		return rewrite_transport(skb, p, f);
	}
	frame_sum_update(skb, zone, ports_rewritten(p) ? hop_diff : hop_diff + f->addr_diff);
	return 0;
}
