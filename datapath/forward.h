/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* From a flow's entry to the packet's way out: connection state, translation, redirect. */
#pragma once

#include "judge.h"

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

/* Sets state bits on both entries of a flow. Rare: opening, closing, first answer. */
__noinline int flow_mark_both(struct flow_tuple *t, __u32 bits, __u8 family)
{
	const struct control *control = control_get();
	struct flow_tuple twin;
	struct flow_copy copy;
	struct flow_head *head;

	if (!t || !control)
		return 0;
	if (family == FAMILY_V4) {
		head = flow_find(t, flow_hash(t, FAMILY_V4, control), FAMILY_V4, &copy);
		if (!head)
			return 0;
		flow_mark(head, bits);
		flow_twin(t, &copy, FAMILY_V4, &twin);
		head = flow_find(&twin, flow_hash(&twin, FAMILY_V4, control), FAMILY_V4, &copy);
	} else {
		head = flow_find(t, flow_hash(t, FAMILY_V6, control), FAMILY_V6, &copy);
		if (!head)
			return 0;
		flow_mark(head, bits);
		flow_twin(t, &copy, FAMILY_V6, &twin);
		head = flow_find(&twin, flow_hash(&twin, FAMILY_V6, control), FAMILY_V6, &copy);
	}
	if (head)
		flow_mark(head, bits);
	return 0;
}

/* The bits that this packet adds to the flow's state. */
static __always_inline __u8 track(const struct packet *p, __u8 state)
{
	bool reply = state & FLOW_REPLY;
	__u8 bits = 0;

	if (reply && !(state & FLOW_REPLIED))
		bits |= FLOW_REPLIED;
	if (p->tuple.proto != IPPROTO_TCP) {
		if (reply && !(state & FLOW_ESTABLISHED) && !(p->flags & PACKET_ICMP_ERROR))
			bits |= FLOW_ESTABLISHED;
		return bits;
	}
	if (!reply && state & FLOW_REPLIED && !(state & FLOW_ESTABLISHED) &&
	    (p->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_ACK)
		bits |= FLOW_ESTABLISHED;
	if (p->tcp_flags & TCP_FIN)
		bits |= reply ? FLOW_FIN_REPLY : FLOW_FIN_ORIG;
	if (p->tcp_flags & TCP_RST)
		bits |= FLOW_RESET;
	return bits & ~state;
}

static __always_inline void track_packet(struct packet *p, __u8 state)
{
	__u8 bits;

	if (likely(state & FLOW_ESTABLISHED && !(p->tcp_flags & (TCP_FIN | TCP_RST))))
		return;
	bits = track(p, state);
	if (bits)
		flow_mark_both(&p->tuple, bits, p->family);
}

/* A new connection on the ports of a closed one is a new flow. */
static __always_inline bool flow_reopened(const struct packet *p, __u8 state)
{
	return unlikely((p->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN) && flow_closed(state);
}

/* Larger than the way out allows? GSO packets are cut later: their segments count. */
static __always_inline bool too_big(struct __sk_buff *skb, const struct packet *p, __u16 mtu)
{
	if (!mtu || likely(p->length - ETH_HLEN <= mtu))
		return false;
	if (skb->gso_segs > 1)
		return p->l4 - ETH_HLEN + 20 + skb->gso_size > mtu;
	return true;
}

/* Frames up to this size are no GSO packets, or such as carry their sum like others. */
#define WHOLE_FRAME_MAX (ETH_HLEN + 1500)

/*
 * Is the transport's checksum in the packet complete? One that is left to a device holds the sum of the pseudo header instead
 * (CHECKSUM_PARTIAL), and only the helpers can tell the two apart where it happens to look like that.
 */
static __always_inline bool check_is_whole(const struct packet *p, __u16 check, __u8 family)
{
	__u64 sum = bpf_htons(p->tuple.proto) + bpf_htons(p->ip_length + ETH_HLEN - p->l4) + (__u64)(__u16)~check;
	int i;

	if (family == FAMILY_V4)
		sum += (__u64)p->tuple.v4.saddr_be + p->tuple.v4.daddr_be;
	else
		for (i = 0; i < 4; i++)
			sum += (__u64)p->tuple.v6.saddr_be[i] + p->tuple.v6.daddr_be[i];
	return csum_fold16(sum) != 0xffff;
}

/*
 * Ports and checksum of TCP and UDP by direct writes, where the transport header stands in its usual place and its sum is complete:
 * two calls less. False: nothing was written.
 */
static __always_inline bool rewrite_transport_direct(struct cursor c, const struct packet *p,
						     const struct flow_copy *f, __u8 family)
{
	const __u32 l4 = ETH_HLEN + (family == FAMILY_V4 ? sizeof(struct ipv4_header) : sizeof(struct ipv6_header));
	__be16 *ports = c.data + l4;
	__u16 *check, new;

	if (unlikely(p->l4 != l4 || p->length > WHOLE_FRAME_MAX))
		return false;
	if (p->tuple.proto == IPPROTO_TCP) {
		check = c.data + l4 + 16;
	} else if (p->tuple.proto == IPPROTO_UDP) {
		check = c.data + l4 + 6;
	} else {
		return false;
	}
	if ((void *)(check + 1) > c.end || !check_is_whole(p, *check, family))
		return false;
	if (*check || p->tuple.proto == IPPROTO_TCP) {
		new = ~csum_fold16((__u64)(__u16)~*check + f->addr_diff + f->port_diff);
		*check = new || p->tuple.proto == IPPROTO_TCP ? new : 0xffff; /* UDP: 0 means none (RFC 768) */
	}
	ports[0] = f->new_sport_be;
	ports[1] = f->new_dport_be;
	return true;
}

/* The same by helpers, which know about offloads, and for ICMP's identifier. 0 or -reason. */
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
		return f->port_diff ? -REASON_NAT_PROTOCOL : 0;
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

/* A sum over the frame that the hardware gave (CHECKSUM_COMPLETE) comes from the wire only; the stack gives it up when it forwards. */
static __always_inline void frame_sum_update(struct __sk_buff *skb, __u8 zone, __u64 diff)
{
	if (zone == ZONE_WIRE)
		bpf_csum_update(skb, csum_fold16(diff));
}

static __always_inline bool ports_rewritten(const struct packet *p, const struct flow_copy *f)
{
	return f->state & FLOW_TRANSLATED && p->flags & PACKET_HAS_PORTS && !(p->flags & PACKET_LATER_FRAGMENT);
}

/* Addresses and TTL, then what the transport carries. 0 or -reason. `zone` and `family` are constants of the caller. */
static __always_inline int rewrite4(struct __sk_buff *skb, struct packet *p, struct flow_copy *f,
				    bool hop, __u8 zone)
{
	struct cursor c = CURSOR(skb);
	struct ipv4_header *ip = c.data + ETH_HLEN;
	__u64 sum;

	if ((void *)(ip + 1) > c.end)
		return -REASON_REWRITE;
	if (!hop && !(f->state & FLOW_TRANSLATED))
		return 0;
	sum = (__u16)~ip->check;
	if (f->state & FLOW_TRANSLATED) {
		ip->saddr_be = f->new_saddr_be[0];
		ip->daddr_be = f->new_daddr_be[0];
		sum += f->addr_diff;
	}
	if (hop) {
		ip->ttl--;
		sum += (__u16)~bpf_htons(0x0100);
	}
	ip->check = ~csum_fold16(sum);
	if (!ports_rewritten(p, f))
		return 0;
	if (likely(rewrite_transport_direct(c, p, f, FAMILY_V4))) {
		/* The header's own sum balances the header; the transport's has the addresses' difference as well. */
		frame_sum_update(skb, zone, (__u16)~f->addr_diff);
		return 0;
	}
	return rewrite_transport(skb, p, f);
}

static __always_inline int rewrite6(struct __sk_buff *skb, struct packet *p, struct flow_copy *f,
				    bool hop, __u8 zone)
{
	struct cursor c = CURSOR(skb);
	struct ipv6_header *ip = c.data + ETH_HLEN;
	__u64 hop_diff = hop ? (__u16)~bpf_htons(1) : 0;

	if ((void *)(ip + 1) > c.end)
		return -REASON_REWRITE;
	if (hop)
		ip->hops--;
	if (f->state & FLOW_TRANSLATED) {
		__builtin_memcpy(ip->saddr_be, f->new_saddr_be, 16);
		__builtin_memcpy(ip->daddr_be, f->new_daddr_be, 16);
	}
	if (ports_rewritten(p, f) && unlikely(!rewrite_transport_direct(c, p, f, FAMILY_V6))) {
		/* There is no header checksum to balance the addresses: the helper takes them off for the transport's. */
		bpf_csum_update(skb, csum_fold16(hop_diff + f->addr_diff));
		return rewrite_transport(skb, p, f);
	}
	frame_sum_update(skb, zone, ports_rewritten(p, f) ? hop_diff : hop_diff + f->addr_diff);
	return 0;
}

/* Into the pod's namespace: the frame gets the pod's address before it goes. */
static __always_inline int address_to_pod(struct __sk_buff *skb, const struct pod_entry *pod)
{
	struct cursor c = CURSOR(skb);
	struct ethhdr *eth = c.data;

	if ((void *)(eth + 1) > c.end)
		return -REASON_REWRITE;
	__builtin_memcpy(eth->h_dest, pod->mac, ETH_ALEN);
	copy_gateway_mac(eth->h_source);
	return 0;
}

/*
 * Applies a flow's entry. Returns a TC action or -reason. TTL and size are looked at first: nothing is changed in a
 * packet that will be answered with an ICMP error. `zone` and `family` are constants of the caller.
 */
static __always_inline int forward(struct __sk_buff *skb, struct packet *p, struct flow_copy *f,
				   __u8 zone, __u8 family)
{
	const struct pod_entry *pod = NULL;
	bool hop = zone != ZONE_HOST && f->action != FLOW_TO_HOST;
	int result;

	if (hop && unlikely(p->ttl <= 1))
		return -REASON_TTL_EXPIRED;
	if (unlikely(too_big(skb, p, f->mtu))) {
		p->mtu = f->mtu;
		return -REASON_TOO_BIG;
	}
	if (f->action == FLOW_TO_POD) {
		pod = pod_of_link(f->out_ifindex);
		if (!pod)
			return -REASON_NOT_READY;
		result = zone == ZONE_HOST ? 0 : address_to_pod(skb, pod);
		if (result)
			return result;
	}
	result = family == FAMILY_V4 ? rewrite4(skb, p, f, hop, zone) : rewrite6(skb, p, f, hop, zone);
	if (result)
		return result;
	if (f->action == FLOW_TO_POD)
		return zone == ZONE_HOST ? TC_ACT_OK : bpf_redirect_peer(f->out_ifindex, 0);
	if (f->action == FLOW_TO_WIRE)
		return bpf_redirect_neigh(f->out_ifindex, NULL, 0, 0);
	return TC_ACT_OK;
}

static __always_inline struct flow_head *flow_of(struct packet *p, struct flow_copy *flow, __u8 family)
{
	const struct control *control = control_get();

	return control ? flow_find(&p->tuple, flow_hash(&p->tuple, family, control), family, flow) : NULL;
}

/*
 * Nobody has answered yet: a flood of new flows may have evicted the entry that the answer needs, while this one is used again and
 * again. Once a tick such a flow is judged anew, which writes both.
 */
static __always_inline bool flow_in_doubt(const struct flow_copy *flow, __u32 now)
{
	return unlikely(!(flow->state & (FLOW_REPLY | FLOW_REPLIED))) && flow->last != now;
}

/*
 * The rest of the way of a packet whose source has been checked: judge it if need be, forward it. `head` is its flow's entry,
 * copied to `flow`; NULL: none.
 */
static __always_inline int follow_entry(struct __sk_buff *skb, struct packet *p, struct flow_head *head,
					struct flow_copy *flow, __u8 zone, __u8 family)
{
	const struct control *control = control_get();
	__u32 now = now_ticks();
	int result;

	if (!control)
		return -REASON_INTERNAL;
	if (likely(head && flow->generation == READ_ONCE(control->generation) && !flow_reopened(p, flow->state) &&
		   !flow_in_doubt(flow, now))) {
		head->last = now;
		head->packets++;
		head->bytes += p->length;
	} else {
		if (!head || flow_reopened(p, flow->state))
			flow->generation = 0;
		result = judge(skb, p, flow);
		if (result)
			return result;
	}
	track_packet(p, flow->state);
	return forward(skb, p, flow, zone, family);
}

/* `flow` is room for a copy: one for the whole program, the stack is small. */
static __always_inline int follow_flow(struct __sk_buff *skb, struct packet *p, struct flow_copy *flow, __u8 zone,
				       __u8 family)
{
	return follow_entry(skb, p, flow_of(p, flow, family), flow, zone, family);
}
