/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The parser for socket buffers, whose headers may lie outside their linear part: short and inlined
 * for TCP and UDP behind a plain header, the one of packet.h for all others.
 */
#pragma once

#include "parse_plain.h"

/* Holds every header that the parser reads: the furthest transport header and what of it is read.
 */
#define PARSE_PULL (IPV6_MAX_OFFSET + 20)

/* The headers as far as they are in the linear part. Global: verified once. 0 or -reason. */
__noinline int parse_linear(struct __sk_buff *skb, struct packet *p)
{
	struct cursor c = CURSOR(skb);

	if (!p)
		return -REASON_INTERNAL;
	if (c.data + ETH_HLEN > c.end)
		return -REASON_SHORT;
	p->flags = 0;
	p->family = 0;
	if (frame_kind(c.data) == bpf_htons(ETH_P_IP))
		return parse_ipv4(c, p);
	return parse_ipv6(c, p);
}

/*
 * What the inlined parser leaves. Headers outside the linear part are pulled in here and nowhere
 * else: TCP keeps no more than its headers linear, and what it sends is a clone, so to ask for more
 * would copy the head of each segment. 0 or -reason.
 */
__noinline int parse_any(struct __sk_buff *skb, struct packet *p)
{
	__u32 wanted = skb->len < PARSE_PULL ? skb->len : PARSE_PULL;
	int result = p ? parse_linear(skb, p) : -REASON_INTERNAL;

	if ((result != -REASON_SHORT && result != -REASON_FRAGMENT_TINY) ||
	    (__u32)(skb->data_end - skb->data) >= skb->len)
		return result;
	if ((void *)(long)skb->data + wanted > (void *)(long)skb->data_end)
		bpf_skb_pull_data(skb, wanted);
	return parse_linear(skb, p);
}

/* `c`: the packet's bytes, which may have moved afterwards. 0 or -reason. */
static __always_inline int parse(struct __sk_buff *skb, struct packet *p, struct cursor c,
				 __u8 family)
{
	if (likely(family == FAMILY_V4 ? parse_plain4(c, p) : parse_plain6(c, p)))
		return 0;
	return parse_any(skb, p);
}
