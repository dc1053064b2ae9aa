/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* From a flow's entry to the packet's way out: size, translation, redirect. */
#pragma once

#include "follow.h"
#include "fragment_id.h"
#include "rewrite.h"
#include "tunnel.h"

/*
 * The largest IP packet that a GSO packet is cut into. Its transport header is repeated in each;
 * segments of SCTP say their own sizes (GSO_BY_FRAGS), nobody knows them here.
 */
static __always_inline __u32 segment_size(struct __sk_buff *skb, const struct packet *p)
{
	__u32 header = p->l4 - ETH_HLEN;
	__u8 offset = 5 << 4;

	switch (p->tuple.proto) {
	case IPPROTO_TCP:
		bpf_skb_load_bytes(skb, p->l4 + 12, &offset, 1);
		return header + (offset >> 4) * 4 + skb->gso_size;
	case IPPROTO_UDP:
		return header + 8 + skb->gso_size;
	default:
		return 0;
	}
}

/* 1: a packet, or one of the segments that it will be cut into, is larger than the way out allows.
 */
__noinline int larger_than(struct __sk_buff *skb, struct packet *p, __u32 mtu)
{
	if (!p)
		return 1;
	/* Cards and taps of virtual machines give the size alone, gso_segs is 0. */
	return skb->gso_size ? segment_size(skb, p) > mtu : 1;
}

static __always_inline int check_size(struct __sk_buff *skb, struct packet *p, __u16 mtu)
{
	if (!mtu || likely(p->length - ETH_HLEN <= mtu) || !larger_than(skb, p, mtu))
		return 0;
	p->mtu = mtu;
	return -REASON_TOO_BIG;
}

/* Addresses of the frame: the pod's, or the neighbour's. The cursor holds a frame's header. */
static __always_inline void write_macs(struct cursor c, const __u8 *destination, const __u8 *source)
{
	struct ethhdr *eth = c.data;

	copy_mac(eth->h_dest, destination);
	if (source)
		copy_mac(eth->h_source, source);
	else
		copy_gateway_mac(eth->h_source);
}

/* `pod`: whose address the frame gets, from the gateway; NULL: it keeps its own. */
static __always_inline int rewrite(struct __sk_buff *skb, struct packet *p, struct flow_copy *f,
				   const struct pod_entry *pod, bool hop, __u8 zone, __u8 family)
{
	const __u32 header =
		family == FAMILY_V4 ? sizeof(struct ipv4_header) : sizeof(struct ipv6_header);
	struct cursor c;

	opaque(skb); /* the context is read at fixed offsets only */
	c = (struct cursor)CURSOR(skb);
	if (c.data + ETH_HLEN + header > c.end)
		return -REASON_REWRITE;
	if (pod)
		write_macs(c, pod->mac, NULL);
	return family == FAMILY_V4 ? rewrite4(skb, c, p, f, hop, zone)
				   : rewrite6(skb, c, p, f, hop, zone);
}

/* Straight into the pod's namespace, unless a queue on its link limits what it gets. */
static __always_inline int redirect_to_pod(struct __sk_buff *skb, const struct pod_entry *pod)
{
	if (likely(!(pod->flags & POD_LIMITED)))
		return bpf_redirect_peer(pod->ifindex, 0);
	skb->mark = POD_LIMITED_MARK;
	return bpf_redirect(pod->ifindex, 0);
}

/* A fragment that leaves with an address that others use, too: its id has to be told from theirs.
 */
static __always_inline bool shares_source(const struct packet *p, const struct flow_copy *f)
{
	return unlikely(p->flags & (PACKET_FIRST_FRAGMENT | PACKET_LATER_FRAGMENT)) &&
	       f->state & FLOW_TRANSLATED;
}

/* Into the pod's namespace; what the node's stack sends is on the pod's link already. */
static __always_inline int forward_to_pod(struct __sk_buff *skb, struct packet *p,
					  struct flow_copy *f, __u8 zone, __u8 family)
{
	const struct pod_entry *pod = pod_at(f->hop);
	int result;

	if (!pod || !pod->ifindex)
		return -REASON_NOT_READY;
	/* Replies go as they come: who opened the flow knows what its own link takes. */
	result = f->state & FLOW_REPLY ? 0 : check_size(skb, p, pod->mtu);
	if (result)
		return result;
	if (zone == ZONE_HOST) {
		result = rewrite(skb, p, f, NULL, false, zone, family);
		return result ? result : TC_ACT_OK;
	}
	result = rewrite(skb, p, f, pod, true, zone, family);
	if (zone != ZONE_POD && shares_source(p, f) && !(f->state & FLOW_REPLY) && !result)
		result = fragment_id_rewrite(skb, p);
	return result ? result : redirect_to_pod(skb, pod);
}

/* To a peer as the neighbour: the kernel finds its MAC address. Global: verified once. */
__noinline int redirect_to_peer(__u32 link, __u32 number, __u8 family)
{
	const struct peer_entry *peer = peer_at(number);
	struct bpf_redir_neigh neighbour = {};

	if (!peer || peer_way(peer, family) != PEER_NATIVE_V4)
		return -REASON_NO_ROUTE;
	if (family == FAMILY_V4) {
		neighbour.nh_family = 2; /* AF_INET */
		neighbour.ipv4_nh = peer->ipv4_be;
	} else {
		neighbour.nh_family = 10; /* AF_INET6 */
		__builtin_memcpy(neighbour.ipv6_nh, peer->ipv6_be, 16);
	}
	return bpf_redirect_neigh(link, &neighbour, sizeof(neighbour), 0);
}

/* In the first packet of a tick the kernel finds the neighbour, and sees that it is in use: the
 * flow's first here, and the neighbour's where XDP sends the others. They know it. */
static __always_inline int forward_to_wire(struct __sk_buff *skb, struct packet *p,
					   struct flow_copy *f, __u8 zone, __u8 family)
{
	struct next_hop *hop = next_hop_at(f->hop);
	const __u32 now = now_ticks();
	struct cursor c;
	bool known;
	int result;

	if (!hop || !hop->ifindex)
		return -REASON_NO_ROUTE;
	result = check_size(skb, p, hop->mtu);
	if (result)
		return result;
	result = rewrite(skb, p, f, NULL, true, zone, family);
	if (zone != ZONE_HOST && shares_source(p, f) && !result)
		result = fragment_id_rewrite(skb, p);
	if (result)
		return result;
	/* By which to_wire knows it again: no socket and no pod's link does that for it. */
	if (zone == ZONE_WIRE || zone == ZONE_TUNNEL)
		skb->mark |= config.stack_mark;
	known = next_hop_is_known(f->hop);
	if (!known || f->last != now || hop->told != (__u16)now) {
		if (known)
			hop->told = now;
		return hop->peer ? redirect_to_peer(hop->ifindex, hop->peer, family)
				 : bpf_redirect_neigh(hop->ifindex, NULL, 0, 0);
	}
	opaque(skb);
	c = (struct cursor)CURSOR(skb); /* the sums' helpers may have moved the bytes */
	if (c.data + ETH_HLEN > c.end)
		return -REASON_REWRITE;
	write_macs(c, hop->mac, hop->source_mac);
	return bpf_redirect(hop->ifindex, 0);
}

/* To a peer: the tunnel's device does the rest. Global: verified once. */
__noinline int forward_to_tunnel(struct __sk_buff *skb, struct packet *p, struct flow_copy *f)
{
	const struct next_hop *hop = f ? next_hop_at(f->hop) : NULL;
	int result;

	if (!p || !f || !hop || !hop->ifindex)
		return -REASON_NO_ROUTE;
	result = check_size(skb, p, hop->mtu);
	if (result)
		return result;
	result = p->family == FAMILY_V4 ? rewrite(skb, p, f, NULL, true, p->tuple.zone, FAMILY_V4)
					: rewrite(skb, p, f, NULL, true, p->tuple.zone, FAMILY_V6);
	if (!result && shares_source(p, f))
		result = fragment_id_rewrite(skb, p);
	if (!result)
		result = tunnel_write_macs(skb);
	if (!result)
		result = tunnel_key_set(skb, f->hop - NEXT_HOP_PEERS);
	return result ? result : bpf_redirect(hop->ifindex, 0);
}

/*
 * Applies a flow's entry. Returns a TC action or -reason. TTL and size are looked at first: nothing
 * is changed in a packet that will be answered with an ICMP error. `zone` and `family` are
 * constants of the caller.
 */
static __always_inline int forward(struct __sk_buff *skb, struct packet *p, struct flow_copy *f,
				   __u8 zone, __u8 family)
{
	bool expired = zone != ZONE_HOST && p->ttl <= 1;
	int result;

	if (likely(f->action == FLOW_TO_POD))
		return unlikely(expired) ? -REASON_TTL_EXPIRED
					 : forward_to_pod(skb, p, f, zone, family);
	if (likely(f->action == FLOW_TO_WIRE))
		return unlikely(expired) ? -REASON_TTL_EXPIRED
					 : forward_to_wire(skb, p, f, zone, family);
	if (zone != ZONE_HOST && f->action == FLOW_TO_TUNNEL)
		return expired ? -REASON_TTL_EXPIRED : forward_to_tunnel(skb, p, f);
	if (f->action != FLOW_TO_HOST && f->action != FLOW_TO_STACK)
		return -REASON_INTERNAL;
	result = rewrite(skb, p, f, NULL, false, zone, family);
	return result ? result : TC_ACT_OK;
}

/* The rest of the way of a packet whose source has been checked. */
static __always_inline int follow_entry(struct __sk_buff *skb, struct packet *p, int outcome,
					struct flow_copy *flow, struct flow_head *head, __u8 zone,
					__u8 family)
{
	int result = follow_found(skb, p, flow, outcome, head, family);

	return result ? result : forward(skb, p, flow, zone, family);
}

static __always_inline int follow_flow(struct __sk_buff *skb, struct packet *p,
				       struct flow_copy *flow, __u8 zone, __u8 family)
{
	struct flow_head *head;
	int outcome = flow_of(p, flow, &head, family);

	return follow_entry(skb, p, outcome, flow, head, zone, family);
}
