/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The other nodes, by number, and what may come from them. */
#pragma once

#include "packet.h"

static __always_inline const struct peer_entry *peer_at(__u32 number)
{
	return bpf_map_lookup_elem(&peers, &number);
}

/* How the peer is reached with packets of the family: PEER_TUNNEL_V4 or PEER_NATIVE_V4, whatever
 * the family; 0: not by `peers`. */
static __always_inline __u32 peer_way(const struct peer_entry *peer, __u8 family)
{
	_Static_assert(PEER_TUNNEL_V6 == PEER_TUNNEL_V4 << 1 && PEER_NATIVE_V6 == PEER_NATIVE_V4
											  << 1,
		       "a family's bits stand behind the other's");
	return (family == FAMILY_V4 ? peer->flags : peer->flags >> 1) &
	       (PEER_TUNNEL_V4 | PEER_NATIVE_V4);
}

static __always_inline bool has_tunnel_end(const struct peer_entry *peer)
{
	const struct polder_addr *end = &peer->underlay;

	return end->words_be[0] | end->words_be[2] | end->words_be[3];
}

/* Is it one of the node's own addresses that `peers` names? */
static __always_inline bool peer_has_address(const struct peer_entry *peer,
					     const struct polder_addr *addr)
{
	struct polder_addr own =
		is_v4_mapped(addr) ? addr_from4(peer->ipv4_be) : addr_from6(peer->ipv6_be);

	return own.words_be[3] && addr_equal(&own, addr);
}

/*
 * May a peer send, through the tunnel, what has this source? `flags` and `behind` are those of the
 * source's entry in `addresses`, 0 if there is none. 0 or -reason.
 */
static __always_inline int peer_sends(__u32 number, const struct polder_addr *source, __u32 flags,
				      __u32 behind)
{
	const struct peer_entry *peer = peer_at(number);

	if (flags & ADDRESS_LOCAL)
		return -REASON_MARTIAN;
	if (!peer || !peer->flags)
		return -REASON_PEER_SOURCE;
	if (behind == number && flags & (ADDRESS_POD | ADDRESS_POD_RANGE | ADDRESS_NODE))
		return 0;
	return peer_has_address(peer, source) ? 0 : -REASON_PEER_SOURCE;
}
