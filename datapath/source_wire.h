/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Addresses that cannot be right, whoever sent them: shared by XDP and TC. */
#pragma once

#include "packet.h"

/* Addresses that never cross a link of the node. 0 or -reason. `family`, here and below: the
 * packet's, a constant where that is known. */
static __always_inline int check_addresses(const struct packet *p, __u8 family)
{
	if (family == FAMILY_V4) {
		if (is_loopback4(p->tuple.v4.saddr_be) || is_loopback4(p->tuple.v4.daddr_be))
			return -REASON_LOOPBACK;
		if (is_multicast4(p->tuple.v4.saddr_be))
			return -REASON_MARTIAN;
		return 0;
	}
	if (is_loopback6(p->tuple.v6.saddr_be) || is_loopback6(p->tuple.v6.daddr_be))
		return -REASON_LOOPBACK;
	if (is_multicast6(p->tuple.v6.saddr_be) || is_mapped6(p->tuple.v6.saddr_be) ||
	    is_mapped6(p->tuple.v6.daddr_be))
		return -REASON_MARTIAN;
	return 0;
}

/* Does the node's own pod range hold the source? Then it did not come from the wire. */
static __always_inline bool source_is_own_pod(const struct packet *p, __u8 family)
{
	struct polder_addr source = tuple_saddr(&p->tuple, family);
	__u32 i;

	for (i = 0; i < POLDER_MAX_OWN_RANGES; i++) {
		const volatile struct polder_range *range = &config.own_range[i];

		if (i >= config.own_range_count)
			break;
		/* The last word first: of an IPv4 address it is the one that tells. */
		if ((source.words_be[3] & range->mask.words_be[3]) == range->addr.words_be[3] &&
		    (source.words_be[0] & range->mask.words_be[0]) == range->addr.words_be[0] &&
		    (source.words_be[1] & range->mask.words_be[1]) == range->addr.words_be[1] &&
		    (source.words_be[2] & range->mask.words_be[2]) == range->addr.words_be[2])
			return true;
	}
	return false;
}

/* Is the source the node's own address? */
static __always_inline bool source_is_node(const struct packet *p, __u8 family)
{
	const struct node_addresses *node = this_node_get();

	if (!node)
		return false;
	if (family == FAMILY_V4)
		return p->tuple.v4.saddr_be == node->ipv4_be && node->ipv4_be;
	return p->tuple.v6.saddr_be[3] == node->ipv6_be[3] &&
	       p->tuple.v6.saddr_be[0] == node->ipv6_be[0] &&
	       p->tuple.v6.saddr_be[1] == node->ipv6_be[1] &&
	       p->tuple.v6.saddr_be[2] == node->ipv6_be[2] && node->ipv6_be[0];
}

/* Is the packet for the node's own address? Its first: others are found in the maps. */
static __always_inline bool to_node(const struct packet *p, __u8 family)
{
	const struct node_addresses *node = this_node_get();

	if (!node)
		return false;
	if (family == FAMILY_V4)
		return p->tuple.v4.daddr_be == node->ipv4_be;
	return p->tuple.v6.daddr_be[3] == node->ipv6_be[3] &&
	       p->tuple.v6.daddr_be[0] == node->ipv6_be[0] &&
	       p->tuple.v6.daddr_be[1] == node->ipv6_be[1] &&
	       p->tuple.v6.daddr_be[2] == node->ipv6_be[2];
}

/* A packet from the wire. 0 or -reason. */
static __always_inline int check_wire_source(const struct packet *p, __u8 family)
{
	int result = check_addresses(p, family);

	if (result)
		return result;
	return source_is_own_pod(p, family) || source_is_node(p, family) ? -REASON_MARTIAN : 0;
}

/* The tunnel's outer packets: what is in them is looked at behind the tunnel. */
static __always_inline bool is_tunnelled(const struct packet *p)
{
	return p->tuple.proto == IPPROTO_UDP && config.tunnel_port_be &&
	       p->tuple.dport_be == config.tunnel_port_be && !(p->flags & PACKET_LATER_FRAGMENT);
}
