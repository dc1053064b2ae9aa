/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Next hops: a small number in a flow's entry says link, MAC addresses and MTU of its way to the
 * wire. The kernel's routes and neighbours are asked once a tick for each flow; its other packets
 * leave without asking.
 */
#pragma once

#include "flow_write.h"
#include "peer.h"

#define LINK_GONE (-19) /* -ENODEV */

static __always_inline struct next_hop *next_hop_at(__u32 index)
{
	return bpf_map_lookup_elem(&next_hops, &index);
}

/* One that the programs made: link and MAC addresses are known. */
static __always_inline bool next_hop_is_known(__u32 index)
{
	return index - NEXT_HOP_UPLINKS < NEXT_HOPS - NEXT_HOP_UPLINKS;
}

/* The index of an uplink; -1: the link is none. */
__noinline int uplink_hop(__u32 ifindex)
{
	const struct next_hop *hop;
	int i;

	for (i = 0; i < NEXT_HOP_UPLINKS; i++) {
		hop = next_hop_at(i);
		if (hop && hop->ifindex && hop->ifindex == ifindex)
			return i;
	}
	return -1;
}

static __always_inline bool next_hop_is(const struct next_hop *hop,
					const struct bpf_fib_lookup *fib, __u32 peer)
{
	return hop->ifindex == fib->ifindex && hop->mtu == fib->mtu_result && hop->peer == peer &&
	       *(const __u32 *)hop->mac == *(const __u32 *)fib->dmac &&
	       *(const __u16 *)(hop->mac + 4) == *(const __u16 *)(fib->dmac + 4) &&
	       *(const __u32 *)hop->source_mac == *(const __u32 *)fib->smac &&
	       *(const __u16 *)(hop->source_mac + 4) == *(const __u16 *)(fib->smac + 4);
}

static __always_inline void next_hop_fill(struct next_hop *hop, const struct bpf_fib_lookup *fib,
					  __u32 peer, __u32 now)
{
	hop->ifindex = fib->ifindex;
	hop->mtu = fib->mtu_result;
	__builtin_memcpy(hop->mac, fib->dmac, 6);
	__builtin_memcpy(hop->source_mac, fib->smac, 6);
	hop->peer = peer;
	hop->used = now;
	full_barrier();
	WRITE_ONCE(hop->claim, HOP_READY);
}

#define NEXT_HOP_TRIES 4

/* The index of what the kernel said, found or made; -1: all that it may stand in are in use. */
static __always_inline int next_hop_find(const struct bpf_fib_lookup *fib, __u32 peer, __u32 now)
{
	__u32 hash = fib->ifindex * 0x9e3779b1u ^ *(const __u32 *)(fib->dmac + 2) * 0x85ebca6bu ^
		     *(const __u16 *)fib->dmac * 0xc2b2ae35u ^ fib->mtu_result ^ peer * 0x27d4eb2fu;
	struct next_hop *hop;
	__u32 index, claim, i;

	hash ^= hash >> 15;
	for (i = 0; i < NEXT_HOP_TRIES; i++) {
		index = NEXT_HOP_UPLINKS + (hash + i) % (NEXT_HOPS - NEXT_HOP_UPLINKS);
		hop = next_hop_at(index);
		if (!hop)
			return -1;
		claim = READ_ONCE(hop->claim);
		load_barrier();
		if (claim == HOP_READY && next_hop_is(hop, fib, peer)) {
			hop->used = now;
			return index;
		}
		if (claim == HOP_BUSY ||
		    (claim == HOP_READY && flow_age(now, hop->used) < NEXT_HOP_IDLE))
			continue;
		if (__sync_val_compare_and_swap(&hop->claim, claim, HOP_BUSY) != claim)
			continue;
		next_hop_fill(hop, fib, peer, now);
		count_up(COUNTER_NEXT_HOPS_MADE);
		return index;
	}
	return -1;
}

/* A question about a node's own address, as the node itself would ask. */
static __always_inline void fib_towards(struct bpf_fib_lookup *fib, const struct polder_addr *to)
{
	if (is_v4_mapped(to)) {
		fib->family = 2; /* AF_INET */
		fib->ipv4_dst = to->words_be[3];
	} else {
		fib->family = 10; /* AF_INET6 */
		__builtin_memcpy(fib->ipv6_dst, to, 16);
	}
}

/* The peer's address as next hop of the family; all 0: it has none. */
static __always_inline struct polder_addr peer_address(const struct peer_entry *peer, __u8 family)
{
	return family == FAMILY_V4 ? addr_from4(peer->ipv4_be) : addr_from6(peer->ipv6_be);
}

/*
 * The peer that a place leads to is the next hop itself: whatever the node's routes say of its
 * pods. False: it is not reached natively any more.
 */
static __always_inline bool next_hop_towards(__u32 number, __u8 family, struct bpf_fib_lookup *fib)
{
	const struct peer_entry *peer = peer_at(number);
	struct polder_addr to;

	if (!peer || peer_way(peer, family) != PEER_NATIVE_V4)
		return false;
	to = peer_address(peer, family);
	fib_towards(fib, &to);
	return true;
}

/* Asks the kernel, for packets as the flow's entry makes them. 0: `fib` holds the answer; a
 * positive BPF_FIB_LKUP_RET_*: not; LINK_GONE. */
static __always_inline int next_hop_ask(packet_context *ctx, const struct packet *p,
					const struct flow_copy *flow, __u32 link, __u32 peer,
					struct bpf_fib_lookup *fib)
{
	const bool translated = flow->state & FLOW_TRANSLATED;

	__builtin_memset(fib, 0, sizeof(*fib));
	fib->ifindex = link;
	fib->l4_protocol = p->tuple.proto;
	fib->tot_len = 1; /* asks for the route's MTU */
	if (peer) {
		if (!next_hop_towards(peer, p->family, fib))
			return LINK_GONE;
	} else if (p->family == FAMILY_V4) {
		fib->family = 2; /* AF_INET */
		fib->ipv4_src = translated ? flow->new_saddr_be[0] : p->tuple.v4.saddr_be;
		fib->ipv4_dst = translated ? flow->new_daddr_be[0] : p->tuple.v4.daddr_be;
	} else {
		fib->family = 10; /* AF_INET6 */
		__builtin_memcpy(fib->ipv6_src,
				 translated ? flow->new_saddr_be : p->tuple.v6.saddr_be, 16);
		__builtin_memcpy(fib->ipv6_dst,
				 translated ? flow->new_daddr_be : p->tuple.v6.daddr_be, 16);
	}
	return bpf_fib_lookup(ctx, fib, sizeof(*fib), BPF_FIB_LOOKUP_OUTPUT);
}

/* Where nobody knows better: the neighbour is found for each packet. The MTU is the link's. */
static __always_inline int next_hop_fallback(packet_context *ctx, __u32 link)
{
	int index = uplink_hop(link);
	struct next_hop *hop = index < 0 ? NULL : next_hop_at(index);
	__u32 mtu = 0;

	if (!hop)
		return -1;
	bpf_check_mtu(ctx, link, &mtu, 0, 0);
	if (mtu && hop->mtu != mtu)
		WRITE_ONCE(hop->mtu, mtu);
	return index;
}

/* The same of what is routed natively to a peer. */
static __always_inline int next_hop_fallback_peer(packet_context *ctx, __u32 link, __u32 peer)
{
	struct next_hop *hop = next_hop_at(NEXT_HOP_PEERS + peer);
	__u32 mtu = 0;

	if (!hop)
		return -1;
	bpf_check_mtu(ctx, link, &mtu, 0, 0);
	if (hop->mtu_most && mtu > hop->mtu_most)
		mtu = hop->mtu_most;
	if (mtu && hop->mtu != mtu)
		WRITE_ONCE(hop->mtu, mtu);
	return NEXT_HOP_PEERS + peer;
}

/* A new flow's way: a packet to a link that is gone would be lost without a count. 0 or
 * -REASON_NO_ROUTE. */
static __always_inline int next_hop_begin(packet_context *ctx, const struct flow_copy *flow)
{
	const struct next_hop *hop = next_hop_at(flow->hop);
	__u32 mtu = 0;

	if (!hop || bpf_check_mtu(ctx, hop->ifindex, &mtu, 0, 0) == LINK_GONE)
		return -REASON_NO_ROUTE;
	return 0;
}

/* -reason, if the kernel says that the administrator's routes forbid the destination; 0: they do
 * not. */
static __always_inline int next_hop_forbidden(int fib_result)
{
	switch (fib_result) {
	case BPF_FIB_LKUP_RET_BLACKHOLE:
		return -REASON_ROUTE_BLACKHOLE;
	case BPF_FIB_LKUP_RET_UNREACHABLE:
		return -REASON_ROUTE_UNREACHABLE;
	case BPF_FIB_LKUP_RET_PROHIBIT:
		return -REASON_ROUTE_PROHIBITED;
	default:
		return 0;
	}
}

/* As the kernel asks for what it sends itself. */
#define LOOPBACK_LINK	1
#define FIB_LENGTH_MOST 0xffff

/*
 * What the underlay's path leaves for packets through the tunnel: the route's MTU, or what routers
 * have told the kernel of. 0, or -reason: the administrator's routes forbid the peer's end.
 */
__noinline int next_hop_tunnel(packet_context *ctx, __u32 index)
{
	const struct peer_entry *peer = peer_at(index - NEXT_HOP_PEERS);
	struct flow_scratch *scratch = flow_scratch_get();
	struct next_hop *hop = next_hop_at(index);
	struct bpf_fib_lookup *fib;
	__u32 overhead, mtu;
	int result;

	if (!hop || !scratch || !peer || !has_tunnel_end(peer))
		return -REASON_NO_ROUTE;
	fib = &scratch->fib;
	__builtin_memset(fib, 0, sizeof(*fib));
	fib->ifindex = LOOPBACK_LINK;
	fib->l4_protocol = IPPROTO_UDP;
	/* More than fits: the kernel says how much does before it looks for the neighbour, which
	 * may not be known as long as nothing fits. */
	fib->tot_len = FIB_LENGTH_MOST;
	fib_towards(fib, &peer->underlay);
	result = bpf_fib_lookup(ctx, fib, sizeof(*fib), 0);
	overhead = is_v4_mapped(&peer->underlay) ? TUNNEL_OVERHEAD_V4 : TUNNEL_OVERHEAD_V6;
	if (result && result != BPF_FIB_LKUP_RET_FRAG_NEEDED)
		return next_hop_forbidden(result);
	mtu = fib->mtu_result;
	mtu = mtu < TUNNEL_MTU_LEAST + overhead ? TUNNEL_MTU_LEAST : mtu - overhead;
	if (hop->mtu_most && mtu > hop->mtu_most)
		mtu = hop->mtu_most;
	if (hop->mtu != mtu)
		WRITE_ONCE(hop->mtu, mtu);
	return 0;
}

/*
 * Looks whether the flow's way to the wire is still what the kernel says, and writes a new one into
 * its entry. 0, or -reason: the link is gone, or the administrator's routes forbid the destination.
 */
__noinline int next_hop_follow(packet_context *ctx, struct packet *p, struct flow_copy *flow)
{
	struct next_hop *hop = flow ? next_hop_at(flow->hop) : NULL;
	struct flow_scratch *scratch = flow_scratch_get();
	struct bpf_fib_lookup *fib;
	struct flow_head *head;
	int index = -1, result;
	__u32 link, peer;

	if (!p || !flow || !hop || !scratch)
		return -REASON_INTERNAL;
	if (flow->action == FLOW_TO_TUNNEL)
		return next_hop_tunnel(ctx, flow->hop);
	fib = &scratch->fib;
	link = hop->ifindex;
	peer = hop->peer;
	result = next_hop_ask(ctx, p, flow, link, peer, fib);
	/* The link is no more, and the agent has not said so yet. */
	if (result == LINK_GONE)
		return -REASON_NO_ROUTE;
	if (next_hop_forbidden(result))
		return next_hop_forbidden(result);
	if (!result && fib->ifindex == link && (*(__u32 *)(fib->dmac + 2) || *(__u16 *)fib->dmac))
		index = next_hop_find(fib, peer, now_ticks());
	if (index < 0)
		index = peer ? next_hop_fallback_peer(ctx, link, peer)
			     : next_hop_fallback(ctx, link);
	if (index < 0 || index == flow->hop)
		return 0;
	head = flow_head_anywhere(flow->set, flow->way, p->family);
	if (head && flow_claim(head, flow->seq)) {
		head->hop = index;
		flow_release(head);
		flow->seq += 2;
	}
	flow->hop = index;
	return 0;
}
