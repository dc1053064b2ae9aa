/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The parser for socket buffers, whose headers may lie outside their linear part. */
#pragma once

#include "packet.h"

/* Holds every header that the parser reads: the furthest transport header and what of it is read. */
#define PARSE_PULL (IPV6_MAX_OFFSET + 20)

/*
 * What the inlined parser leaves: extension headers, and headers outside the linear part. Those are pulled in here and nowhere else: TCP
 * keeps no more than its headers linear, and what it sends is a clone, so to ask for more would copy the head of each
 * segment.
 */
__noinline int parse_again(struct __sk_buff *skb, struct packet *p)
{
	__u32 wanted = skb->len < PARSE_PULL ? skb->len : PARSE_PULL;
	struct cursor c;

	if (!p)
		return -REASON_INTERNAL;
	if ((void *)(long)skb->data + wanted > (void *)(long)skb->data_end)
		bpf_skb_pull_data(skb, wanted);
	c = (struct cursor)CURSOR(skb);
	if (c.data + ETH_HLEN > c.end)
		return -REASON_SHORT;
	p->flags = 0;
	p->family = 0;
	if (((struct ethhdr *)c.data)->h_proto == bpf_htons(ETH_P_IP))
		return parse_ipv4(c, p);
	return parse_ipv6(c, p);
}

/* Is the result worth another try with all headers in the linear part? */
static __always_inline bool parse_was_short(struct __sk_buff *skb, int result)
{
	return (result == -REASON_SHORT || result == -REASON_FRAGMENT_TINY) &&
	       (__u32)(skb->data_end - skb->data) < skb->len;
}

/* Headers in their usual places. 0, 1 for extension headers, or -reason. */
static __always_inline int parse_usual(struct cursor c, struct packet *p, __u8 family)
{
	int next;

	if (family == FAMILY_V4)
		return parse_ipv4(c, p);
	next = parse_ipv6_fixed(c, p);
	if (next < 0)
		return next;
	if (unlikely(is_extension6(next)))
		return 1;
	p->tuple.proto = next;
	return parse_transport(c, p);
}

/* The verifier would carry each way through the parser through all that follows. */
static __always_inline void parse_forget(struct packet *p)
{
	__u64 flags = p->flags, proto = p->tuple.proto, icmp_type = p->icmp_type, tcp_flags = p->tcp_flags, l4 = p->l4;
	__u64 unknown = p->ip_length;

	forget(flags, unknown);
	forget(proto, unknown);
	forget(icmp_type, unknown);
	forget(tcp_flags, unknown);
	forget(l4, unknown);
	p->flags = flags;
	p->tuple.proto = proto;
	p->icmp_type = icmp_type;
	p->tcp_flags = tcp_flags;
	p->l4 = l4;
}

/* 0 or -reason. The packet's bytes may have moved. */
static __always_inline int parse(struct __sk_buff *skb, struct packet *p, __u8 family)
{
	struct cursor c = CURSOR(skb);
	int result = parse_usual(c, p, family);

	if (unlikely(result > 0 || parse_was_short(skb, result)))
		result = parse_again(skb, p);
	if (!result)
		parse_forget(p);
	return result;
}
