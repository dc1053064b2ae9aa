/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A parsed packet, and the parser that TC and XDP share. */
#pragma once

#include "flow_math.h"
#include "maps.h"

#define IPV4_MORE_FRAGMENTS 0x2000
#define IPV4_DONT_FRAGMENT  0x4000
#define IPV4_OFFSET_MASK    0x1fff
#define IPV6_MAX_EXTENSIONS 8
#define IPV6_MAX_OFFSET	    400 /* of the transport header in the frame */

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

struct ipv4_header {
	__u8 version_ihl;
	__u8 tos;
	__be16 length_be;
	__be16 id_be;
	__be16 fragment_be;
	__u8 ttl;
	__u8 proto;
	__u16 check;
	__be32 saddr_be;
	__be32 daddr_be;
};

struct ipv6_header {
	__be32 version_class_label_be;
	__be16 payload_be;
	__u8 next;
	__u8 hops;
	__be32 saddr_be[4];
	__be32 daddr_be[4];
};

enum packet_flag {
	PACKET_FIRST_FRAGMENT = 1 << 0,
	PACKET_LATER_FRAGMENT = 1 << 1, /* has no transport header */
	PACKET_ICMP_ERROR = 1 << 2,
	PACKET_ND = 1 << 3, /* neighbour discovery and other link-local ICMPv6 (types 130 to 143) */
	PACKET_DONT_FRAGMENT = 1 << 4,
	PACKET_HAS_PORTS = 1 << 5, /* TCP, UDP, SCTP, ICMP echo: the tuple's ports mean something */
	PACKET_IP_OPTIONS = 1 << 6, /* IPv4 options or IPv6 extension headers */
	PACKET_DHCP6_SERVER = 1 << 7,
};

struct packet {
	struct flow_tuple tuple;
	__u32 length; /* of the frame */
	__u32 link;   /* that it came in by; 0: the node made it */
	union {
		__be32 fragment_id_be; /* of a fragment */
		__u32 mtu; /* of the way out, once the packet was found too big for it */
	};
	__u16 l4;	 /* offset of the transport header */
	__u16 ip_length; /* what the IP header says, with the header */
	__u8 family;	 /* enum polder_family; 0: not IP */
	__u8 flags;	 /* enum packet_flag */
	__u8 tcp_flags;
	__u8 ttl;
	__u8 icmp_type;
	__u8 hook;	/* enum drop_hook */
	__u8 evaluated; /* the slow path has left its findings in `flow_verdicts` */
	__u8 frontend;	/* 1: from outside, for an address and port at which a Service is served */
};

/* What the frame carries. struct ethhdr is packed: of it the compiler reads single bytes. */
static __always_inline __be16 frame_kind(const void *frame)
{
	return *(const __be16 *)(frame + 2 * ETH_ALEN);
}

/* The packet's bytes; the same for struct __sk_buff and struct xdp_md. */
struct cursor {
	void *data;
	void *end;
};

#define CURSOR(ctx)                                                                                \
	{                                                                                          \
		(void *)(long)(ctx)->data, (void *)(long)(ctx)->data_end                           \
	}

static __always_inline bool is_loopback4(__be32 addr)
{
	return (addr & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000);
}

static __always_inline bool is_multicast4(__be32 addr)
{
	return (addr & bpf_htonl(0xf0000000)) == bpf_htonl(0xe0000000) || addr == 0xffffffff;
}

static __always_inline bool is_zero6(const __be32 *a)
{
	return !(a[0] | a[1] | a[2] | a[3]);
}

static __always_inline bool is_loopback6(const __be32 *a)
{
	return !(a[0] | a[1] | a[2]) && a[3] == bpf_htonl(1);
}

static __always_inline bool is_mapped6(const __be32 *a)
{
	return !(a[0] | a[1]) && a[2] == bpf_htonl(0xffff);
}

static __always_inline bool is_multicast6(const __be32 *a)
{
	return (a[0] & bpf_htonl(0xff000000)) == bpf_htonl(0xff000000);
}

static __always_inline bool is_link_local6(const __be32 *a)
{
	return (a[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000);
}

#define VLAN_ID_MASK 0xfff

/*
 * Redirects and router advertisements and solicitations (RFC 792, RFC 1256): between routers and
 * their neighbours. ICMPv6 has its own among PACKET_ND.
 */
static __always_inline bool is_router_message4(const struct packet *p)
{
	return p->tuple.proto == IPPROTO_ICMP &&
	       (p->icmp_type == 5 || p->icmp_type == 9 || p->icmp_type == 10);
}

/* Router advertisements and redirects (RFC 4861). */
static __always_inline bool is_router_message6(const struct packet *p)
{
	return p->icmp_type == 134 || p->icmp_type == 137;
}

static __always_inline struct polder_addr addr_from4(__be32 addr)
{
	struct polder_addr a = {.words_be = {0, 0, bpf_htonl(0xffff), addr}};

	return a;
}

static __always_inline struct polder_addr addr_from6(const __be32 *addr)
{
	struct polder_addr a = {.words_be = {addr[0], addr[1], addr[2], addr[3]}};

	return a;
}

static __always_inline bool addr_equal(const struct polder_addr *a, const struct polder_addr *b)
{
	return a->words_be[0] == b->words_be[0] && a->words_be[1] == b->words_be[1] &&
	       a->words_be[2] == b->words_be[2] && a->words_be[3] == b->words_be[3];
}

static __always_inline struct polder_addr tuple_saddr(const struct flow_tuple *tuple, __u8 family)
{
	return family == FAMILY_V4 ? addr_from4(tuple->v4.saddr_be)
				   : addr_from6(tuple->v6.saddr_be);
}

static __always_inline struct polder_addr tuple_daddr(const struct flow_tuple *tuple, __u8 family)
{
	return family == FAMILY_V4 ? addr_from4(tuple->v4.daddr_be)
				   : addr_from6(tuple->v6.daddr_be);
}

/* Do `size` bytes of the transport header lie in the packet, and not in what an Ethernet frame was
 * padded with? */
static __always_inline bool transport_has(struct cursor c, const struct packet *p, const __u8 *l4,
					  __u32 size)
{
	return (void *)l4 + size <= c.end && p->l4 + size <= p->ip_length + ETH_HLEN;
}

/* Transport header at p->l4: ports, flags, ICMP type. 0 or -reason. */
static __always_inline int parse_transport(struct cursor c, struct packet *p)
{
	struct flow_tuple *t = &p->tuple;
	__u32 offset = p->l4;
	__u8 *l4;

	if (p->flags & PACKET_LATER_FRAGMENT)
		return 0;
	if (offset > 512)
		return -REASON_SHORT;
	l4 = c.data + offset;
	switch (t->proto) {
	case IPPROTO_TCP:
		if (!transport_has(c, p, l4, 20))
			return p->flags & PACKET_FIRST_FRAGMENT ? -REASON_FRAGMENT_TINY
								: -REASON_SHORT;
		p->tcp_flags = l4[13];
		break;
	case IPPROTO_UDP:
	case IPPROTO_SCTP:
		if (!transport_has(c, p, l4, 8))
			return p->flags & PACKET_FIRST_FRAGMENT ? -REASON_FRAGMENT_TINY
								: -REASON_SHORT;
		break;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		if (!transport_has(c, p, l4, 8))
			return p->flags & PACKET_FIRST_FRAGMENT ? -REASON_FRAGMENT_TINY
								: -REASON_SHORT;
		p->icmp_type = l4[0];
		if (t->proto == IPPROTO_ICMP && p->family == FAMILY_V4) {
			if (l4[0] == ICMP_ECHO || l4[0] == ICMP_ECHO_REPLY)
				goto echo;
			if (l4[0] == 3 || l4[0] == 11 || l4[0] == 12)
				p->flags |= PACKET_ICMP_ERROR;
		} else if (t->proto == IPPROTO_ICMPV6 && p->family == FAMILY_V6) {
			if (l4[0] == ICMP6_ECHO || l4[0] == ICMP6_ECHO_REPLY)
				goto echo;
			if (l4[0] >= 1 && l4[0] <= 4)
				p->flags |= PACKET_ICMP_ERROR;
			if (l4[0] >= 130 && l4[0] <= 143)
				p->flags |= PACKET_ND;
		}
		/* Other messages are flows by their type. */
		t->dport_be = bpf_htons(l4[0] << 8);
		return 0;
	default:
		return 0;
	}
	t->sport_be = *(__be16 *)l4;
	t->dport_be = *(__be16 *)(l4 + 2);
	p->flags |= PACKET_HAS_PORTS;
	return 0;
echo:
	t->sport_be = *(__be16 *)(l4 + 4);
	t->dport_be = bpf_htons(l4[0] << 8);
	p->flags |= PACKET_HAS_PORTS;
	return 0;
}

/*
 * Two addresses, or parts of one, as a word of the tuple. The tuple is read by words: a load that
 * spans several smaller stores would wait until they have left the CPU's store buffer. BPF programs
 * have the byte order of the machine, here the low byte first.
 */
static __always_inline __u64 joined(__be32 first, __be32 second)
{
	return first | (__u64)second << 32;
}

static __always_inline int parse_ipv4(struct cursor c, struct packet *p)
{
	struct ipv4_header *ip = c.data + ETH_HLEN;
	__u32 header;
	__u16 fragment;

	if ((void *)(ip + 1) > c.end)
		return -REASON_SHORT;
	header = (ip->version_ihl & 0xf) * 4;
	p->ip_length = bpf_ntohs(ip->length_be);
	if (ip->version_ihl >> 4 != 4 || header < sizeof(*ip) || p->ip_length < header ||
	    p->ip_length + ETH_HLEN > p->length)
		return -REASON_SHORT;
	if (unlikely(header > sizeof(*ip)))
		p->flags |= PACKET_IP_OPTIONS;
	p->family = FAMILY_V4;
	p->tuple.proto = ip->proto;
	p->tuple.words[1] = joined(ip->saddr_be, ip->daddr_be);
	p->ttl = ip->ttl;
	p->l4 = ETH_HLEN + header;
	fragment = bpf_ntohs(ip->fragment_be);
	if (fragment & IPV4_DONT_FRAGMENT)
		p->flags |= PACKET_DONT_FRAGMENT;
	if (unlikely(fragment & (IPV4_MORE_FRAGMENTS | IPV4_OFFSET_MASK))) {
		p->fragment_id_be = ip->id_be;
		if (fragment & IPV4_OFFSET_MASK) {
			/* RFC 1858: nothing may overwrite the first 16 bytes of the transport
			 * header. */
			if ((fragment & IPV4_OFFSET_MASK) < 2)
				return -REASON_FRAGMENT_TINY;
			p->flags |= PACKET_LATER_FRAGMENT;
		} else {
			p->flags |= PACKET_FIRST_FRAGMENT;
		}
	}
	return parse_transport(c, p);
}

static __always_inline bool is_extension6(__u8 next)
{
	return next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING || next == IPPROTO_FRAGMENT ||
	       next == IPPROTO_DSTOPTS || next == IPPROTO_AH;
}

/* The fixed header. Returns the number of what comes next, or -reason. */
static __always_inline int parse_ipv6_fixed(struct cursor c, struct packet *p)
{
	struct ipv6_header *ip = c.data + ETH_HLEN;

	if ((void *)(ip + 1) > c.end)
		return -REASON_SHORT;
	p->ip_length = bpf_ntohs(ip->payload_be) + sizeof(*ip);
	if (bpf_ntohl(ip->version_class_label_be) >> 28 != 6 || p->ip_length + ETH_HLEN > p->length)
		return -REASON_SHORT;
	/* With the header it was more than 16 bits hold. */
	if (p->ip_length < sizeof(*ip))
		return -REASON_SHORT;
	p->family = FAMILY_V6;
	p->tuple.words[1] = joined(ip->saddr_be[0], ip->saddr_be[1]);
	p->tuple.words[2] = joined(ip->saddr_be[2], ip->saddr_be[3]);
	p->tuple.words[3] = joined(ip->daddr_be[0], ip->daddr_be[1]);
	p->tuple.words[4] = joined(ip->daddr_be[2], ip->daddr_be[3]);
	p->ttl = ip->hops;
	p->flags |= PACKET_DONT_FRAGMENT;
	p->l4 = ETH_HLEN + sizeof(*ip);
	return ip->next;
}

/* 1: a later fragment, the walk ends here; 0: go on; or -reason. `header` has 8 bytes. */
static __always_inline int parse_fragment6(const __u8 *header, struct packet *p)
{
	__u16 fragment = bpf_ntohs(*(__be16 *)(header + 2));

	if (p->flags & (PACKET_FIRST_FRAGMENT | PACKET_LATER_FRAGMENT))
		return -REASON_EXT_HEADERS;
	p->fragment_id_be = *(__be32 *)(header + 4);
	if (fragment & 0xfff8) {
		if ((fragment & 0xfff8) < 16)
			return -REASON_FRAGMENT_TINY;
		p->flags |= PACKET_LATER_FRAGMENT;
		return 1;
	}
	if (fragment & 1)
		p->flags |= PACKET_FIRST_FRAGMENT;
	return 0;
}

/* One extension header of the kind `next`, `i` headers into the packet. Like parse_fragment6(). */
static __always_inline int parse_extension6(const __u8 *header, struct packet *p, __u8 next, int i)
{
	/* What comes behind the fragment header of a first fragment would move the transport header
	 * to where a later one can write. */
	if (next == IPPROTO_FRAGMENT)
		return parse_fragment6(header, p);
	if (p->flags & PACKET_FIRST_FRAGMENT || (next == IPPROTO_HOPOPTS && i > 0))
		return -REASON_EXT_HEADERS;
	/* With segments left the packet is bound for somewhere else than its destination says (RFC
	 * 8200, 4.4). */
	if (next == IPPROTO_ROUTING && (header[2] == 0 || header[3]))
		return -REASON_IP_OPTIONS;
	return 0;
}

/*
 * RFC 8200: walks the extension headers to the transport header. For global functions, whose packet
 * the verifier knows nothing of: the ways through one header then meet again behind it.
 */
static __always_inline int parse_ipv6(struct cursor c, struct packet *p)
{
	int next = parse_ipv6_fixed(c, p), result, i;
	__u32 offset = ETH_HLEN + sizeof(struct ipv6_header);

	if (next < 0)
		return next;
	for (i = 0; i < IPV6_MAX_EXTENSIONS; i++) {
		__u8 *header = c.data + offset;

		if (!is_extension6(next))
			break;
		p->flags |= PACKET_IP_OPTIONS;
		if ((void *)header + 8 > c.end)
			return p->flags & PACKET_FIRST_FRAGMENT ? -REASON_FRAGMENT_TINY
								: -REASON_SHORT;
		result = parse_extension6(header, p, next, i);
		if (result < 0)
			return result;
		offset += next == IPPROTO_FRAGMENT ? 8
			  : next == IPPROTO_AH	   ? (header[1] + 2) * 4
						   : (header[1] + 1) * 8;
		next = header[0];
		if (result)
			break;
		if (offset > IPV6_MAX_OFFSET)
			return -REASON_EXT_HEADERS;
	}
	if (i == IPV6_MAX_EXTENSIONS && is_extension6(next))
		return -REASON_EXT_HEADERS;
	/* A header that says it is longer than the packet: what is behind it has no transport
	 * header to be asked for. */
	if (offset > p->ip_length + ETH_HLEN)
		return p->flags & PACKET_FIRST_FRAGMENT ? -REASON_FRAGMENT_TINY : -REASON_SHORT;
	p->tuple.proto = next;
	p->l4 = offset;
	return parse_transport(c, p);
}
