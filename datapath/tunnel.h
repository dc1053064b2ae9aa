/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The tunnel's own header: the kernel's device writes and reads it, the key of a packet says what
 * stands there. */
#pragma once

#include "next_hop.h"

#define TUNNEL_TTL 64

/* ------------------------------------------------------------------ out */

/*
 * Where the device sends the packet: to the peer's end. Over IPv4 without a UDP checksum, the one
 * inside does; over IPv6 a receiver may insist on one (RFC 6935). 0 or -reason. Global: verified
 * once.
 */
__noinline int tunnel_key_set(struct __sk_buff *skb, __u32 number)
{
	const struct next_hop *hop = next_hop_at(NEXT_HOP_PEERS + number);
	const struct peer_entry *peer = peer_at(number);
	struct bpf_tunnel_key key = {.tunnel_id = config.tunnel_vni, .tunnel_ttl = TUNNEL_TTL};
	__u64 flags = BPF_F_ZERO_CSUM_TX;

	if (!hop || !peer || !has_tunnel_end(peer))
		return -REASON_NO_ROUTE;
	if (is_v4_mapped(&peer->underlay)) {
		key.remote_ipv4 = bpf_ntohl(peer->underlay.words_be[3]);
		key.local_ipv4 = bpf_ntohl(peer->local.words_be[3]);
		/* Routers tell what is too big for them, see next_hop_tunnel(). */
		if (hop->mtu > TUNNEL_MTU_LEAST)
			flags |= BPF_F_DONT_FRAGMENT;
	} else {
		__builtin_memcpy(key.remote_ipv6, &peer->underlay, 16);
		__builtin_memcpy(key.local_ipv6, &peer->local, 16);
		flags = BPF_F_TUNINFO_IPV6;
	}
	return bpf_skb_set_tunnel_key(skb, &key, sizeof(key), flags) ? -REASON_REWRITE : 0;
}

/* Inside, Ethernet says nothing: the same addresses on all nodes, and no device's own, which would
 * take the frame for one that came back to it. */
static __always_inline int tunnel_write_macs(struct __sk_buff *skb)
{
	struct cursor c = CURSOR(skb);

	if (c.data + ETH_HLEN > c.end)
		return -REASON_REWRITE;
	copy_gateway_mac(c.data);
	copy_gateway_mac(c.data + ETH_ALEN);
	return 0;
}

/* ------------------------------------------------------------------ in */

/* The peer whose end the address is; 0: nobody's. */
static __always_inline __u32 tunnel_end_find(const struct polder_addr *from)
{
	__u32 hash = tunnel_end_hash(from), index, i;
	const struct tunnel_end *end;

	for (i = 0; i < PEER_PROBES; i++) {
		index = (hash + i) % TUNNEL_ENDS;
		end = bpf_map_lookup_elem(&tunnel_ends, &index);
		if (end && end->peer && addr_equal(&end->underlay, from))
			return end->peer;
	}
	return 0;
}

/*
 * The peer that the packet's key names; 0: there is no key, or it is not ours. The kernel calls the
 * outer source `remote`, whichever way the packet goes: of what is `sent` the peer's end is the
 * other one.
 */
__noinline int tunnel_key_peer(struct __sk_buff *skb, __u32 sent)
{
	struct bpf_tunnel_key key = {};
	struct polder_addr end;

	if (!bpf_skb_get_tunnel_key(skb, &key, sizeof(key), 0)) {
		end = addr_from4(bpf_htonl(sent ? key.local_ipv4 : key.remote_ipv4));
	} else {
		if (bpf_skb_get_tunnel_key(skb, &key, sizeof(key), BPF_F_TUNINFO_IPV6))
			return 0;
		end = addr_from6(sent ? key.local_ipv6 : key.remote_ipv6);
	}
	return key.tunnel_id == config.tunnel_vni ? tunnel_end_find(&end) : 0;
}
