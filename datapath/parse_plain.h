/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The short parser that TC and XDP share: TCP and UDP behind a plain header, all at once. */
#pragma once

#include "packet.h"

/*
 * 0 that the verifier does not know. Else it would carry each way through the parser through all
 * that follows; `unknown`: anything that it knows nothing of.
 */
static __always_inline __u8 zero_of(__u64 unknown)
{
	__u64 same = unknown;

	opaque(same);
	asm volatile("%0 ^= %1" : "+r"(unknown) : "r"(same));
	return unknown;
}

/*
 * What the IP header says is in order; the transport header begins with ports at `l4`. The first
 * word of the tuple is written at once: it is read at once, and a load that spans several smaller
 * stores waits for them.
 */
static __always_inline bool parse_plain_transport(struct cursor c, struct packet *p, __u8 proto,
						  __u32 l4)
{
	const __u32 *ports = c.data + l4;
	__u32 end = p->ip_length + ETH_HLEN;

	p->tcp_flags = p->icmp_type = zero_of(end);
	if (likely(proto == IPPROTO_TCP)) {
		if (c.data + l4 + 20 > c.end || end < l4 + 20)
			return false;
		p->tcp_flags = ((const __u8 *)ports)[13];
	} else if (proto != IPPROTO_UDP || end < l4 + 8) {
		return false;
	}
	p->tuple.words[0] = *ports | (__u64)proto << 32 | (__u64)p->tuple.zone << 40;
	p->l4 = l4;
	return true;
}

/* TCP or UDP behind a plain IPv4 header, no fragment. False: no such packet, or not in order. */
static __always_inline bool parse_plain4(struct cursor c, struct packet *p)
{
	const __u32 l4 = ETH_HLEN + sizeof(struct ipv4_header);
	const struct ipv4_header *ip = c.data + ETH_HLEN;
	const void *addrs = &ip->saddr_be;

	if (c.data + l4 + 8 > c.end || ip->version_ihl != 0x45)
		return false;
	if (ip->fragment_be & bpf_htons(IPV4_MORE_FRAGMENTS | IPV4_OFFSET_MASK))
		return false;
	p->ip_length = bpf_ntohs(ip->length_be);
	if (p->ip_length + ETH_HLEN > p->length)
		return false;
	p->family = FAMILY_V4;
	p->ttl = ip->ttl;
	p->flags = PACKET_HAS_PORTS |
		   (ip->fragment_be & bpf_htons(IPV4_DONT_FRAGMENT) ? PACKET_DONT_FRAGMENT : 0);
	p->tuple.words[1] = *(const __u64 *)addrs;
	return parse_plain_transport(c, p, ip->proto, l4);
}

/* The same behind an IPv6 header without extension headers. */
static __always_inline bool parse_plain6(struct cursor c, struct packet *p)
{
	const __u32 l4 = ETH_HLEN + sizeof(struct ipv6_header);
	const struct ipv6_header *ip = c.data + ETH_HLEN;
	const __u64 *addrs = (const void *)ip->saddr_be;
	__u32 length;

	if (c.data + l4 + 8 > c.end ||
	    (ip->version_class_label_be & bpf_htonl(0xf0000000)) != bpf_htonl(0x60000000))
		return false;
	length = bpf_ntohs(ip->payload_be) + sizeof(*ip);
	if (length > 0xffff || length + ETH_HLEN > p->length)
		return false;
	p->ip_length = length;
	p->family = FAMILY_V6;
	p->ttl = ip->hops;
	p->flags = PACKET_HAS_PORTS | PACKET_DONT_FRAGMENT;
	p->tuple.words[1] = addrs[0];
	p->tuple.words[2] = addrs[1];
	p->tuple.words[3] = addrs[2];
	p->tuple.words[4] = addrs[3];
	return parse_plain_transport(c, p, ip->next, l4);
}
